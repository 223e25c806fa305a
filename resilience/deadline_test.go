package resilience

import (
	"math"
	"testing"
	"time"
)

func TestParseGRPCTimeout(t *testing.T) {
	for _, tc := range []struct {
		v    string
		want time.Duration
		ok   bool
	}{
		{"1H", time.Hour, true}, {"2M", 2 * time.Minute, true}, {"3S", 3 * time.Second, true},
		{"4m", 4 * ms, true}, {"5u", 5000, true}, {"6n", 6, true}, {"0n", 0, true}, {"00000001S", time.Second, true},
		{"99999999H", math.MaxInt64, true}, {"99999999M", 99999999 * time.Minute, true},
		{"", 0, false}, {"S", 0, false}, {"1", 0, false}, {"1s", 0, false}, {"-1S", 0, false}, {"+1S", 0, false},
		{"1.5S", 0, false}, {"123456789S", 0, false}, {"99999999999999999999S", 0, false}, {" 1S", 0, false}, {"１S", 0, false},
	} {
		if got, ok := ParseGRPCTimeout(tc.v); got != tc.want || ok != tc.ok {
			t.Errorf("%q: %v, %v", tc.v, got, ok)
		}
	}
}

func TestAppendGRPCTimeout(t *testing.T) {
	for d, want := range map[time.Duration]string{
		-1: "0n", 0: "0n", 1: "1n", 99_999_999: "99999999n", 100_000_000: "100000u", 15 * time.Second: "15000000u",
		100*time.Second + 999: "100000m", 30 * time.Hour: "108000S", 100_000_000 * time.Second: "1666666M", math.MaxInt64: "2562047H",
	} {
		if got := string(AppendGRPCTimeout(nil, d)); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func TestTimeoutMillis(t *testing.T) {
	for _, tc := range []struct {
		v    string
		want time.Duration
		ok   bool
	}{
		{"1", ms, true}, {"15000", 15 * time.Second, true}, {"9223372036854", 9223372036854 * ms, true},
		{"9223372036855", math.MaxInt64, true}, {"18446744073709551615", math.MaxInt64, true},
		{"0", 0, false}, {"-1", 0, false}, {"1.5", 0, false}, {"", 0, false}, {"18446744073709551616", 0, false},
	} {
		if got, ok := ParseTimeoutMillis(tc.v); got != tc.want || ok != tc.ok {
			t.Errorf("%q: %v, %v", tc.v, got, ok)
		}
	}
	for d, want := range map[time.Duration]string{15 * time.Second: "15000", 1999 * time.Microsecond: "1", 1: "1", -time.Second: "1"} {
		if got := string(AppendTimeoutMillis(nil, d)); got != want {
			t.Errorf("%v: %s, want %s", d, got, want)
		}
	}
}

func FuzzTimeouts(f *testing.F) {
	f.Add("15S", int64(time.Second))
	f.Add("99999999H", int64(math.MaxInt64))
	f.Add("9223372036855", int64(math.MinInt64))
	f.Fuzz(func(t *testing.T, v string, n int64) {
		if d, ok := ParseGRPCTimeout(v); ok {
			if again, ok := ParseGRPCTimeout(string(AppendGRPCTimeout(nil, d))); !ok || again > d || d-again > d/1_000_000 {
				t.Errorf("%q: %v becomes %v", v, d, again)
			}
		}
		if d, ok := ParseTimeoutMillis(v); ok && d <= 0 {
			t.Errorf("%q: %v", v, d)
		}
		// On its way a deadline gets no later, but by less than a millisecond where none would be left.
		d := time.Duration(n)
		if got, ok := ParseGRPCTimeout(string(AppendGRPCTimeout(nil, d))); !ok || got > max(d, 0) {
			t.Errorf("%v becomes %v, %v", d, got, ok)
		}
		if got, ok := ParseTimeoutMillis(string(AppendTimeoutMillis(nil, d))); !ok || got > max(d, ms) {
			t.Errorf("%v becomes %v, %v", d, got, ok)
		}
	})
}

func TestLateCallsAreRefused(t *testing.T) {
	late, early := start.Add(-time.Second), start.Add(time.Second)
	p := Lateness{MaxPercent: 100, Tolerance: 500 * ms}
	l := NewLateCalls(start)
	for _, tc := range []struct {
		deadline time.Time
		want     bool
	}{{early, false}, {start, false}, {late, true}, {start.Add(-500 * ms), false}, {start.Add(-501 * ms), true}} {
		if got := l.Refuse(p, start, tc.deadline); got != tc.want {
			t.Errorf("deadline %v ago: %v", start.Sub(tc.deadline), got)
		}
	}
}

// A clock that is wrong makes every call late: most are served all the same.
func TestLatenessStopsNotEverything(t *testing.T) {
	l := NewLateCalls(start)
	now, refused := start, 0
	for range 10_000 {
		now = now.Add(10 * ms)
		if l.Refuse(Lateness{}, now, now.Add(-time.Hour)) {
			refused++
		}
	}
	if refused < 1800 || refused > 2100 {
		t.Errorf("%d of 10000 refused", refused)
	}
}

func TestDeadlinesAllocateNothing(t *testing.T) {
	l := NewLateCalls(start)
	l.Refuse(Lateness{}, start, start)
	buf := make([]byte, 0, 32)
	ceiling(t, "a deadline", 0, func() {
		ParseGRPCTimeout("15000m")
		AppendGRPCTimeout(buf, 15*time.Second)
		AppendTimeoutMillis(buf, 15*time.Second)
		l.Refuse(Lateness{}, start, start)
	})
}
