package resilience

import (
	"fmt"
	"math"
	"time"
)

// findings are what is wrong with a value: each error begins with the field.
type findings []error

func (f *findings) say(field, format string, args ...any) {
	*f = append(*f, fmt.Errorf("%s: %w", field, fmt.Errorf(format, args...)))
}

// in adds what was found below field.
func (f *findings) in(field string, below []error) {
	for _, err := range below {
		*f = append(*f, fmt.Errorf("%s.%w", field, err))
	}
}

func (f *findings) notNegative(field string, d time.Duration) {
	if d < 0 {
		f.say(field, "%v is negative", d)
	}
}

// percent wants 0 to 100.
func (f *findings) percent(field string, p float64) {
	if !(p >= 0 && p <= 100) { // NaN is neither
		f.say(field, "%v is no percentage", p)
	}
}

// amount wants a number that is not negative.
func (f *findings) amount(field string, n float64) {
	if !(n >= 0) || math.IsInf(n, 0) {
		f.say(field, "%v is no amount", n)
	}
}

func (f *findings) fraction(field string, share Fraction) {
	for _, err := range share.Check() {
		*f = append(*f, fmt.Errorf("%s: %w", field, err))
	}
}

// status wants an answer's: an informational one ends no call.
func (f *findings) status(field string, s int) {
	if s < 200 || s > 599 {
		f.say(field, "%d is not in 200 to 599", s)
	}
}

func (f *findings) code(field string, c uint32) {
	if c > lastCode {
		f.say(field, "%d is no gRPC status code", c)
	}
}

// Check returns all that makes no sense in p.
func (p Policy) Check() []error {
	var f findings
	f.notNegative("timeout", p.Timeout)
	f.in("retry", p.Retry.Check())
	return f
}

// Check returns all that makes no sense in r. No attempts, or no conditions, are how retries are turned off.
func (r Retry) Check() []error {
	var f findings
	if unknown := r.On &^ allConditions; unknown != 0 {
		f.say("on", "unknown conditions %#x", uint32(unknown))
	}
	f.notNegative("base", r.Base)
	f.notNegative("max", r.Max)
	if r.Max > 0 && r.Max < r.Base {
		f.say("max", "%v is less than base %v", r.Max, r.Base)
	}
	f.notNegative("tryTimeout", r.TryTimeout)
	if r.Answers != nil {
		f.in("answers", r.Answers.Check())
	}
	return f
}

// Check returns all that makes no sense in a.
func (a *Answers) Check() []error {
	var f findings
	for i, s := range a.Statuses {
		f.status(fmt.Sprintf("statuses[%d]", i), s)
	}
	f.matches("headers", a.Headers)
	f.matches("requests", a.Requests)
	for i, r := range a.Resets {
		f.name(fmt.Sprintf("resets[%d].name", i), r.Name)
	}
	f.notNegative("maxReset", a.MaxReset)
	return f
}

func (f *findings) matches(field string, all []HeaderMatch) {
	for i, h := range all {
		at := fmt.Sprintf("%s[%d]", field, i)
		f.name(at+".name", h.Name)
		if h.Kind > MatchContains {
			f.say(at+".kind", "unknown kind %d", h.Kind)
		}
	}
}

func (f *findings) name(field string, n HeaderName) {
	if n.Lower == "" || n.Canonical == "" {
		f.say(field, "not in both forms")
	}
}

// Check returns all that makes no sense in f. More than all of the calls is refused (Envoy fault
// filter; where Envoy takes it for all, the decoder may).
func (f Fraction) Check() []error {
	var found findings
	switch f.Per {
	case 0, 100, 10_000, million:
		if f.Numerator > f.per() {
			found.say("numerator", "%d is more than %d", f.Numerator, f.per())
		}
	default:
		found.say("per", "%d is not 100, 10000 or 1000000", f.Per)
	}
	return found
}

// Check returns all that makes no sense in b.
func (b *Budget) Check() []error {
	var f findings
	f.percent("percent", b.Percent)
	f.notNegative("interval", b.Interval)
	f.amount("minRate", b.MinRate)
	return f
}

// Check returns all that makes no sense in h.
func (h *Hedge) Check() []error {
	var f findings
	f.notNegative("delay", h.Delay)
	if !(h.Percentile >= 0 && h.Percentile < 100) {
		f.say("percentile", "%v is not in 0 to 100, without 100", h.Percentile)
	}
	f.fraction("chance", h.Chance)
	return f
}

// Check returns all that makes no sense in l.
func (l Lateness) Check() []error {
	var f findings
	f.notNegative("tolerance", l.Tolerance)
	f.percent("maxPercent", l.MaxPercent)
	f.notNegative("interval", l.Interval)
	return f
}

// Check returns all that makes no sense in t.
func (t Trip) Check() []error {
	var f findings
	f.percent("percent", t.Percent)
	f.notNegative("window", t.Window)
	f.notNegative("open", t.Open)
	return f
}

// Check returns all that makes no sense in b (Envoy local_ratelimit).
func (b TokenBucket) Check() []error {
	var f findings
	if b.MaxTokens < 1 || b.MaxTokens > math.MaxInt32 {
		f.say("maxTokens", "%d is not in 1 to %d", b.MaxTokens, math.MaxInt32)
	}
	if b.FillInterval < 50*time.Millisecond {
		f.say("fillInterval", "%v is less than 50ms", b.FillInterval)
	}
	return f
}

// Check returns all that makes no sense in r. The common bucket may be missing where there are descriptors.
func (r *Rate) Check() []error {
	var f findings
	if len(r.Descriptors) == 0 || r.TokenBucket != (TokenBucket{}) {
		f.in("tokenBucket", r.TokenBucket.Check())
	}
	for i := range r.Descriptors {
		d := &r.Descriptors[i]
		at := fmt.Sprintf("descriptors[%d]", i)
		f.in(at+".tokenBucket", d.Check())
		if len(d.Entries) == 0 {
			f.say(at+".entries", "none")
		}
		seen := map[string]bool{}
		for j, e := range d.Entries {
			switch field := fmt.Sprintf("%s.entries[%d].key", at, j); {
			case e.Key == "":
				f.say(field, "empty")
			case seen[e.Key]:
				f.say(field, "%q is there already", e.Key)
			}
			seen[e.Key] = true
		}
	}
	if r.MaxKeys < 0 {
		f.say("maxKeys", "%d is negative", r.MaxKeys)
	}
	if r.Status != 0 && (r.Status < 400 || r.Status > 599) {
		f.say("status", "%d is not in 400 to 599", r.Status)
	}
	return f
}

// Check returns all that makes no sense in l.
func (l *Lease) Check() []error {
	var f findings
	if l.Ahead > 0 && l.Ahead >= l.batch() {
		f.say("ahead", "%d is not less than batch %d", l.Ahead, l.batch())
	}
	f.notNegative("holds", l.Holds)
	f.notNegative("again", l.Again)
	return f
}

// Check returns all that makes no sense in a.
func (a Adaptive) Check() []error {
	var f findings
	f.percent("percentile", a.Percentile)
	if full := a.filled(); full.Min > full.Max {
		f.say("max", "%d is less than min %d", full.Max, full.Min)
	}
	f.notNegative("update", a.Update)
	f.notNegative("remeasure", a.Remeasure)
	f.percent("jitter", a.Jitter)
	f.notNegative("fixed", a.Fixed)
	f.percent("buffer", a.Buffer)
	return f
}

// Check returns all that makes no sense in a.
func (a Admission) Check() []error {
	var f findings
	if f.notNegative("window", a.Window); a.Window > 0 && a.Window < time.Second { // Envoy counts in seconds
		f.say("window", "%v is less than 1s", a.Window)
	}
	f.percent("threshold", a.Threshold)
	if a.Threshold > 0 && a.Threshold < 1 {
		f.say("threshold", "%v is less than 1", a.Threshold)
	}
	if f.amount("aggression", a.Aggression); a.Aggression > 0 && a.Aggression < 1 {
		f.say("aggression", "%v is less than 1", a.Aggression)
	}
	if f.amount("minRate", a.MinRate); a.MinRate > math.MaxUint32 && !math.IsInf(a.MinRate, 0) {
		f.say("minRate", "%v is more than %d", a.MinRate, uint32(math.MaxUint32))
	}
	f.percent("maxPercent", a.MaxPercent)
	return f
}

// Check returns all that makes no sense in s.
func (s Shedding) Check() []error {
	var f findings
	f.notNegative("target", s.Target)
	f.notNegative("interval", s.Interval)
	if full := s.filled(); full.Target >= full.Interval {
		f.say("target", "%v is not less than interval %v", full.Target, full.Interval)
	}
	return f
}

// Check returns all that makes no sense in b.
func (b Bandwidth) Check() []error {
	var f findings
	if b.Fill != 0 && (b.Fill < 20*time.Millisecond || b.Fill > time.Second) {
		f.say("fill", "%v is not in 20ms to 1s", b.Fill)
	}
	return f
}

// Check returns all that makes no sense in f.
func (f *Fault) Check() []error {
	var found findings
	found.notNegative("delay", f.Delay)
	found.fraction("delayPercent", f.DelayPercent)
	switch a := f.Abort; {
	case a.GRPC && a.Status != 0:
		found.say("abort", "both an HTTP status and a gRPC code")
	case a.GRPC:
		found.code("abort.code", a.Code)
	case a != Abort{}:
		found.status("abort.status", a.Status)
	}
	found.fraction("abortPercent", f.AbortPercent)
	found.fraction("slowPercent", f.SlowPercent)
	b := f.Break
	if b.Kind > CorruptCertificate {
		found.say("break.kind", "unknown kind %d", b.Kind)
	}
	if b.After < 0 {
		found.say("break.after", "%d is negative", b.After)
	}
	if found.notNegative("break.pause", b.Pause); b.Kind == SlowBody && b.Pause == 0 {
		found.say("break.pause", "none, so that nothing is slow")
	}
	found.fraction("breakPercent", f.BreakPercent)
	return found
}

// Check returns all that makes no sense in f.
func (f *Fallback) Check() []error {
	var found findings
	if a := f.Answer; a != nil {
		if a.GRPC {
			found.code("answer.code", a.Code)
		} else {
			found.status("answer.status", a.Status)
		}
	}
	found.notNegative("maxAge", f.MaxAge)
	if f.MaxAnswers < 0 {
		found.say("maxAnswers", "%d is negative", f.MaxAnswers)
	}
	if f.MaxBytes < 0 {
		found.say("maxBytes", "%d is negative", f.MaxBytes)
	}
	return found
}

// Check returns all that makes no sense in s.
func (s Switches) Check() []error {
	var f findings
	if unknown := s &^ (1<<len(switches) - 1); unknown != 0 {
		f.say("switches", "unknown kinds %#x", uint32(unknown))
	}
	return f
}
