package resilience

import (
	"math"
	"strings"
	"testing"
	"time"
)

// A checker is a value that says what is wrong with it.
type checker interface{ Check() []error }

func TestCheckAcceptsWhatMakesSense(t *testing.T) {
	budget, thresholds := DefaultBudget(), DefaultThresholds()
	if thresholds.MaxRetries != 3 {
		t.Errorf("%+v", thresholds)
	}
	for _, v := range []checker{
		Policy{}, Retry{}, &Answers{}, Fraction{}, &Budget{}, &budget, &Hedge{}, Lateness{}, Trip{}, &Lease{}, Adaptive{}, Admission{},
		Shedding{}, Bandwidth{}, &Fault{}, &Fallback{}, Switches(0),
		Retry{Attempts: 3, On: allConditions, Base: ms, Max: ms, TryTimeout: ms, Answers: &Answers{
			Statuses: []int{200, 599}, Headers: []HeaderMatch{{Name: retryAfter, Kind: MatchContains}}, Resets: []ResetHeader{{Name: retryAfter}}}},
		Retry{Base: time.Minute}, Fraction{million, million}, Fraction{100, 100}, &Budget{Percent: 100, MinRate: 0.1, Interval: 1},
		&Hedge{Percentile: 99.99, Chance: Percent(1)}, Trip{Percent: 100}, TokenBucket{1, 0, 50 * ms},
		&Rate{TokenBucket: TokenBucket{1, 1, time.Second}},
		&Rate{Descriptors: []DescriptorRate{{[]Entry{{"a", ""}, {"b", "x"}}, TokenBucket{1, 1, time.Second}}}},
		&Lease{Batch: 1}, &Lease{Ahead: 99}, Adaptive{Min: 2000}, Admission{Threshold: 1, Aggression: 1}, Bandwidth{BytesPerSecond: math.MaxUint64, Fill: time.Second},
		&Fault{Abort: Abort{GRPC: true, Code: 16}}, &Fallback{Answer: &Answer{GRPC: true}}, NoFaults,
	} {
		if found := v.Check(); len(found) > 0 {
			t.Errorf("%T %+v:\n%s", v, v, lines(found))
		}
	}
}

func TestCheckFindsAll(t *testing.T) {
	nan, inf := math.NaN(), math.Inf(1)
	more := Fraction{101, 0}
	for _, tc := range []struct {
		v    checker
		want string // one line a finding
	}{
		{Policy{Timeout: -1, Retry: Retry{Base: -1, Max: -2, TryTimeout: -3, On: 1 << 31}}, `
timeout: -1ns is negative
retry.on: unknown conditions 0x80000000
retry.base: -1ns is negative
retry.max: -2ns is negative
retry.tryTimeout: -3ns is negative`},
		{Retry{Base: 2 * ms, Max: ms}, `
max: 1ms is less than base 2ms`},
		{Retry{Answers: &Answers{Statuses: []int{200, 100, 600, 0, -1}, Headers: []HeaderMatch{{Kind: 9}}, Resets: []ResetHeader{{Name: HeaderName{Lower: "x"}}}, MaxReset: -1}}, `
answers.statuses[1]: 100 is not in 200 to 599
answers.statuses[2]: 600 is not in 200 to 599
answers.statuses[3]: 0 is not in 200 to 599
answers.statuses[4]: -1 is not in 200 to 599
answers.headers[0].name: not in both forms
answers.headers[0].kind: unknown kind 9
answers.resets[0].name: not in both forms
answers.maxReset: -1ns is negative`},
		{Fraction{101, 100}, `
numerator: 101 is more than 100`},
		{Fraction{1, 1000}, `
per: 1000 is not 100, 10000 or 1000000`},
		{&Budget{Percent: nan, Interval: -1, MinRate: inf}, `
percent: NaN is no percentage
interval: -1ns is negative
minRate: +Inf is no amount`},
		{&Budget{Percent: 100.1, MinRate: nan}, `
percent: 100.1 is no percentage
minRate: NaN is no amount`},
		{&Budget{Percent: -1, MinRate: -1}, `
percent: -1 is no percentage
minRate: -1 is no amount`},
		{&Hedge{Delay: -1, Percentile: 100, Chance: more}, `
delay: -1ns is negative
percentile: 100 is not in 0 to 100, without 100
chance: numerator: 101 is more than 100`},
		{&Hedge{Percentile: nan}, `
percentile: NaN is not in 0 to 100, without 100`},
		{Lateness{-1, 200, -1}, `
tolerance: -1ns is negative
maxPercent: 200 is no percentage
interval: -1ns is negative`},
		{Trip{Percent: inf, Window: -1, Open: -1}, `
percent: +Inf is no percentage
window: -1ns is negative
open: -1ns is negative`},
		{TokenBucket{0, 0, 0}, `
maxTokens: 0 is not in 1 to 2147483647
fillInterval: 0s is less than 50ms`},
		{TokenBucket{1 << 31, 1, 49 * ms}, `
maxTokens: 2147483648 is not in 1 to 2147483647
fillInterval: 49ms is less than 50ms`},
		{&Rate{}, `
tokenBucket.maxTokens: 0 is not in 1 to 2147483647
tokenBucket.fillInterval: 0s is less than 50ms`},
		{&Rate{MaxKeys: -1, Descriptors: []DescriptorRate{{}, {[]Entry{{"", ""}, {"a", ""}, {"a", "b"}}, TokenBucket{1, 1, -1}}}}, `
descriptors[0].tokenBucket.maxTokens: 0 is not in 1 to 2147483647
descriptors[0].tokenBucket.fillInterval: 0s is less than 50ms
descriptors[0].entries: none
descriptors[1].tokenBucket.fillInterval: -1ns is less than 50ms
descriptors[1].entries[0].key: empty
descriptors[1].entries[2].key: "a" is there already
maxKeys: -1 is negative`},
		{&Lease{Batch: 5, Ahead: 5, Holds: -1, Again: -1}, `
ahead: 5 is not less than batch 5
holds: -1ns is negative
again: -1ns is negative`},
		{Adaptive{Percentile: 101, Min: 5, Max: 4, Update: -1, Remeasure: -1, Jitter: nan, Fixed: -1, Buffer: -1}, `
percentile: 101 is no percentage
max: 4 is less than min 5
update: -1ns is negative
remeasure: -1ns is negative
jitter: NaN is no percentage
fixed: -1ns is negative
buffer: -1 is no percentage`},
		{Adaptive{Max: 2}, `
max: 2 is less than min 3`},
		{Admission{-1, 0.5, 0.5, -1, 101}, `
window: -1ns is negative
threshold: 0.5 is less than 1
aggression: 0.5 is less than 1
minRate: -1 is no amount
maxPercent: 101 is no percentage`},
		{Admission{Window: 999 * ms, MinRate: 1 << 33}, `
window: 999ms is less than 1s
minRate: 8.589934592e+09 is more than 4294967295`},
		{Shedding{Target: 100 * ms}, `
target: 100ms is not less than interval 100ms`},
		{Shedding{Target: -1, Interval: -1}, `
target: -1ns is negative
interval: -1ns is negative`},
		{Bandwidth{Fill: 19 * ms}, `
fill: 19ms is not in 20ms to 1s`},
		{Bandwidth{Fill: -1}, `
fill: -1ns is not in 20ms to 1s`},
		{&Fault{Delay: -1, DelayPercent: more, Abort: Abort{Status: 199}, AbortPercent: more, SlowPercent: more, Break: Break{9, -1, -1}, BreakPercent: more}, `
delay: -1ns is negative
delayPercent: numerator: 101 is more than 100
abort.status: 199 is not in 200 to 599
abortPercent: numerator: 101 is more than 100
slowPercent: numerator: 101 is more than 100
break.kind: unknown kind 9
break.after: -1 is negative
break.pause: -1ns is negative
breakPercent: numerator: 101 is more than 100`},
		{&Fault{Abort: Abort{GRPC: true, Code: 17}, Break: Break{Kind: SlowBody}}, `
abort.code: 17 is no gRPC status code
break.pause: none, so that nothing is slow`},
		{&Fault{Abort: Abort{Status: 503, GRPC: true}}, `
abort: both an HTTP status and a gRPC code`},
		{&Fallback{Answer: &Answer{}, MaxAge: -1, MaxAnswers: -1, MaxBytes: -1}, `
answer.status: 0 is not in 200 to 599
maxAge: -1ns is negative
maxAnswers: -1 is negative
maxBytes: -1 is negative`},
		{&Fallback{Answer: &Answer{GRPC: true, Code: 99}}, `
answer.code: 99 is no gRPC status code`},
		{Switches(1 << 20), `
switches: unknown kinds 0x100000`},
	} {
		if got := strings.TrimSpace(lines(tc.v.Check())); got != strings.TrimSpace(tc.want) {
			t.Errorf("%T:\n%s\nwant:\n%s", tc.v, got, strings.TrimSpace(tc.want))
		}
	}
}
