package catalog

import (
	"net/http"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// retryConditions are the words of retryOn (Envoy x-envoy-retry-on, x-envoy-retry-grpc-on).
var retryConditions = []string{
	"5xx", "cancelled", "connect-failure", "deadline-exceeded", "envoy-ratelimited", "gateway-error",
	"http3-post-connect-failure", "internal", "refused-stream", "reset", "reset-before-request", "resource-exhausted",
	"retriable-4xx", "retriable-headers", "retriable-status-codes", "unavailable",
}

// retries checks how a rule's calls are repeated.
func (v *validator) retries(p *path, rule *networking.HTTPRoute) {
	r := rule.GetRetries()
	if r == nil {
		return
	}
	switch {
	case r.GetAttempts() < 0:
		v.fail(p.field("attempts"), "must not be negative")
	case r.GetAttempts() == 0 && (r.GetRetryOn() != "" || r.GetPerTryTimeout() != nil || r.GetRetryRemoteLocalities() != nil):
		v.fail(p, "attempts is 0, which turns retries off, and more is set")
	}
	v.duration(p.field("perTryTimeout"), r.GetPerTryTimeout())
	if try, all := r.GetPerTryTimeout(), rule.GetTimeout(); try != nil && all != nil && try.AsDuration() >= all.AsDuration() {
		v.warn(p.field("perTryTimeout"), "%s has no effect: the timeout of the call is %s", try.AsDuration(), all.AsDuration())
	}
	v.duration(p.field("backoff"), r.GetBackoff())
	if same := r.GetRetryIgnorePreviousHosts(); same != nil && !same.GetValue() {
		v.warn(p.field("retryIgnorePreviousHosts"), "false is not supported yet: a retry goes to a host that was not tried where there is one")
	}
	v.retryOn(p.field("retryOn"), r.GetRetryOn())
}

// retryOn checks a list of conditions and HTTP statuses.
func (v *validator) retryOn(p *path, list string) {
	if list == "" {
		return
	}
	listed, statuses := false, false
	for word := range strings.SplitSeq(list, ",") {
		if code, err := strconv.Atoi(word); err == nil {
			statuses = true
			if http.StatusText(code) == "" {
				v.fail(p, "%d is not an HTTP status", code)
			}
			continue
		}
		v.condition(p, word)
		listed = listed || word == "retriable-status-codes"
	}
	if listed && !statuses {
		v.warn(p, "\"retriable-status-codes\" never holds without statuses beside it, such as 503")
	}
}

func (v *validator) condition(p *path, word string) {
	switch word {
	case "":
		v.fail(p, "a condition is empty")
		return
	case "retriable-headers":
		v.warn(p, "%q never holds: a VirtualService cannot name the headers", word)
	case "http3-post-connect-failure":
		v.warn(p, "%q never holds: nothing is sent by HTTP/3", word)
	}
	if slices.Contains(retryConditions, word) {
		return
	}
	if near := closest(word, retryConditions); near != "" {
		v.fail(p, "unknown condition %q; did you mean %q?", word, near)
		return
	}
	v.fail(p, "unknown condition %q; there are HTTP statuses and %s", word, strings.Join(retryConditions, ", "))
}
