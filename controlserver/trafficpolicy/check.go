package trafficpolicy

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Finding is what is wrong with a field of a Spec.
type Finding struct {
	// Field is its path below the spec, such as "client.hedge.delay".
	Field   string
	Message string
}

// Check returns all that makes no sense in s; name is "NAMESPACE/NAME" of the policy.
func (s *Spec) Check(name string) []Finding {
	var c checker
	c.rules(reflect.ValueOf(s).Elem(), "", "")
	c.spec(s, name)
	return c.found
}

// Fields returns what is wrong with fields by their types and tags alone, of the spec of any kind that is ours.
func Fields(spec reflect.Value) []Finding {
	var c checker
	c.rules(spec, "", "")
	return c.found
}

// A checker collects findings, one a field.
type checker struct{ found []Finding }

func (c *checker) say(field, format string, args ...any) {
	if !slices.ContainsFunc(c.found, func(f Finding) bool { return f.Field == field }) {
		c.found = append(c.found, Finding{field, fmt.Sprintf(format, args...)})
	}
}

// values says what is wrong with the value that the block at a path stands for. Its errors begin with the
// value's field; words are pairs of what these are called there and in YAML.
func (c *checker) values(at string, errs []error, words ...string) {
	r := strings.NewReplacer(words...)
	for _, err := range errs {
		field, message, _ := strings.Cut(err.Error(), ": ")
		c.say(at+"."+r.Replace(field), "%s", message)
	}
}

// rules checks what types and tags demand of each field.
func (c *checker) rules(v reflect.Value, at, rule string) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			c.rules(v.Elem(), at, rule)
		}
	case reflect.Struct:
		for _, f := range reflect.VisibleFields(v.Type()) {
			name, rule, value := f.Tag.Get("json"), f.Tag.Get("rule"), v.FieldByIndex(f.Index)
			if at != "" {
				name = at + "." + name
			}
			if slices.Contains(strings.Split(rule, ","), "required") && value.IsZero() {
				c.say(name, "is missing")
				continue
			}
			c.rules(value, name, rule)
		}
	case reflect.Slice:
		if v.Type() == reflect.TypeFor[Base64]() {
			return
		}
		for i := range v.Len() {
			c.rules(v.Index(i), at+"["+strconv.Itoa(i)+"]", "")
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			c.rules(k, at+"["+k.String()+"]", "")
		}
	case reflect.String:
		c.text(v, at)
	case reflect.Float64:
		limit := math.MaxFloat64
		if v.Type() == reflect.TypeFor[Percent]() {
			limit = 100
		}
		if x := v.Float(); !(x >= 0 && x <= limit) { // NaN is neither
			c.say(at, "%v is no %s", x, map[bool]string{true: "percentage", false: "amount"}[limit == 100])
		}
	case reflect.Int64:
		if v.Int() < 0 {
			c.say(at, "%s is negative", v)
		}
	case reflect.Uint32, reflect.Uint64:
		if low, high := Bounds(v.Type(), rule); v.Uint() != 0 && (v.Uint() < low || v.Uint() > high) {
			c.say(at, "%d is out of range: %d to %d", v.Uint(), low, high)
		}
	}
}

// text checks a text of a type that has words or a pattern.
func (c *checker) text(v reflect.Value, at string) {
	if v.String() == "" {
		return
	}
	switch t := v.Interface().(type) {
	case interface{ Words() []string }:
		if words := t.Words(); !slices.Contains(words, v.String()) {
			c.say(at, "unknown value %q; there are %s", v, strings.Join(words, ", "))
		}
	case interface{ Pattern() string }:
		if !regexp.MustCompile(t.Pattern()).MatchString(v.String()) {
			c.say(at, "%q does not match %s", v, t.Pattern())
		}
	}
}

// Bounds are the least and the greatest number that a field of an unsigned type may have, by its tag "rule".
func Bounds(t reflect.Type, rule string) (low, high uint64) {
	low, high = 1, math.MaxUint32
	if t.Kind() == reflect.Uint64 {
		high = 1 << 50
	}
	for word := range strings.SplitSeq(rule, ",") {
		if n, ok := strings.CutPrefix(word, "min="); ok {
			low, _ = strconv.ParseUint(n, 10, 64)
		}
		if n, ok := strings.CutPrefix(word, "max="); ok {
			high, _ = strconv.ParseUint(n, 10, 64)
		}
	}
	return low, high
}

// spec checks what fields demand of each other.
func (c *checker) spec(s *Spec, name string) {
	if s.Client == nil && s.Server == nil && len(s.Disable) == 0 {
		c.say("", "says nothing: it needs client, server or disable")
	}
	if t := s.Target; t != nil {
		if t.Service == "*" {
			c.say("target.service", "\"*\" is not one service; without a target a policy holds for all")
		}
		if t.Route != "" && s.Server != nil {
			c.say("server", "a server knows no routes: leave target.route out")
		}
	}
	if f := s.From; f != nil {
		if f.Namespace == "" && f.ServiceAccount == "" && len(f.Labels) == 0 {
			c.say("from", "is empty: leave it out for all callers")
		}
		if s.Server != nil {
			c.say("server", "is the same for all callers: leave from out; a rateLimit tells them apart by the fact caller")
		}
	}
	c.disable(s)
	if s.Client != nil {
		c.client(s.Client, s.Target, name)
	}
	if s.Server != nil {
		c.server(s.Server, name)
	}
}

// What is a server's, and what all routes to a service share.
var (
	serversOwn  = []Switch{"deadlines", "concurrency", "shedding"}
	clustersOwn = []Switch{"budgets", "breakers", "thresholds", "outliers", "admission"}
)

func (c *checker) disable(s *Spec) {
	for i, kind := range s.Disable {
		at := "disable[" + strconv.Itoa(i) + "]"
		if first := slices.Index(s.Disable, kind); first < i {
			c.say(at, "%q given twice, first as disable[%d]", kind, first)
		}
		route := s.Target != nil && s.Target.Route != ""
		switch {
		case slices.Contains(serversOwn, kind) && (route || s.From != nil):
			c.say(at, "%q is a server's, which knows neither routes nor this policy's callers: leave target.route and from out", kind)
		case slices.Contains(clustersOwn, kind) && route:
			c.say(at, "%q is the same for all routes to a service: leave target.route out", kind)
		}
	}
}

func (c *checker) client(b *Client, t *Target, name string) {
	const at = "client"
	if reflect.ValueOf(*b).IsZero() {
		c.say(at, "is empty")
	}
	if t != nil && t.Route != "" {
		const shared = "is the same for all routes to a service: leave target.route out"
		if b.Breaker != nil {
			c.say(at+".breaker", shared)
		}
		if b.HostBreaker != nil {
			c.say(at+".hostBreaker", shared)
		}
		if b.Admission != nil {
			c.say(at+".admission", shared)
		}
	}
	c.rateLimit(at+".rateLimit", b.RateLimit, false)
	c.globalRateLimit(at+".globalRateLimit", b.GlobalRateLimit, false, name)
	c.hedge(at+".hedge", b.Hedge)
	c.breaker(at+".breaker", b.Breaker)
	c.breaker(at+".hostBreaker", b.HostBreaker)
	if b.Admission != nil {
		c.values(at+".admission", b.Admission.value().Check())
	}
	c.fallback(at+".fallback", b.Fallback)
	c.fault(at+".fault", b.Fault)
	c.bandwidth(at+".bandwidth", b.Bandwidth)
}

func (c *checker) server(b *Server, name string) {
	const at = "server"
	if reflect.ValueOf(*b).IsZero() {
		c.say(at, "is empty")
	}
	c.rateLimit(at+".rateLimit", b.RateLimit, true)
	c.globalRateLimit(at+".globalRateLimit", b.GlobalRateLimit, true, name)
	c.concurrency(at+".concurrency", b.Concurrency)
	if b.Shedding != nil {
		c.values(at+".shedding", b.Shedding.value().Check())
	}
	if b.Lateness != nil {
		c.values(at+".lateness", b.Lateness.value().Check())
	}
	c.fault(at+".fault", b.Fault)
	c.bandwidth(at+".bandwidth", b.Bandwidth)
	if b.TrustedCallers == nil {
		return
	}
	for i, p := range *b.TrustedCallers {
		if first := slices.Index(*b.TrustedCallers, p); first < i {
			c.say(at+".trustedCallers["+strconv.Itoa(i)+"]", "%q given twice, first as trustedCallers[%d]", p, first)
		}
	}
}
