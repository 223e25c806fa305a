package wire

import (
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// The time of a try holds where nothing is repeated, too (Envoy per_try_timeout); as a hedge's it ends no try.
func TestTimeOfATryWithoutRetries(t *testing.T) {
	const bound = `per_try_timeout { seconds: 2 }`
	const none = `route.hedge_policy.hedge_on_per_try_timeout: has no effect without retries and a per_try_timeout`
	const other = `route.retry_policy.retriable_request_headers[0]: a match of this kind is not supported yet, has no effect`
	for _, c := range []struct {
		text string
		want time.Duration
		warn []string
	}{
		{`retry_policy { ` + bound + ` }`, 2 * time.Second, nil},
		{`retry_policy { retry_on: "5xx" num_retries { } ` + bound + ` }`, 2 * time.Second, nil},
		{`retry_policy { retry_on: "5xx" num_retries { } ` + bound + ` } hedge_policy { hedge_on_per_try_timeout: true }`, 0, []string{none}},
		// What can't be asked of a request must not let it be repeated.
		{`retry_policy { retry_on: "5xx" ` + bound + ` retriable_request_headers { name: "a" safe_regex_match { regex: "x" } } }`, 2 * time.Second, []string{other}},
	} {
		p, warn := understood(t, ``, ``, c.text)
		if want := (resilience.Retry{TryTimeout: c.want}); !reflect.DeepEqual(p.Retry, want) || p.Hedge != nil || !slices.Equal(warn, c.warn) {
			t.Errorf("%s: got %+v, %+v, %q", c.text, p.Retry, p.Hedge, warn)
		}
	}
}

// What decodes is written so that it decodes to the same.
func TestRetriesOfSomeRequestsAreKept(t *testing.T) {
	for _, want := range []resilience.Retry{
		{TryTimeout: time.Second},
		{Attempts: 2, On: resilience.On5xx, Answers: &resilience.Answers{Requests: []resilience.HeaderMatch{
			{Name: headerName(":method"), Kind: resilience.MatchExact, Value: "GET"}, {Name: headerName("X-Again"), Invert: true}}}},
	} {
		m := encodeRoute(&resolver.Route{To: []resolver.Target{{Cluster: "c"}}, Policy: resilience.Policy{Retry: want}})
		p := &place{}
		if got := decodeRetry(p, m.GetRoute().GetRetryPolicy()); !reflect.DeepEqual(got, want) {
			t.Errorf("got %+v, want %+v", got, want)
		}
	}
}
