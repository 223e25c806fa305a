package resilience

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

// Percentiles are within 6 % of those of the sorted list.
func TestPercentiles(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	for _, scale := range []time.Duration{50 * time.Microsecond, 3 * ms, time.Second} {
		l := NewLatencies(start)
		var all []time.Duration
		for range 10_000 {
			d := time.Duration(rnd.ExpFloat64() * float64(scale))
			l.Observe(start, d)
			all = append(all, d)
		}
		slices.Sort(all)
		for _, p := range []float64{50, 90, 95, 99, 99.9} {
			got, ok := l.Percentile(start, p)
			want := all[int(float64(len(all))*p/100)]
			if off := math.Abs(float64(got-want)) / float64(want); !ok || off > 0.06 {
				t.Errorf("p%v of about %v: %v, want %v (%.1f %% off)", p, scale, got, want, 100*off)
			}
		}
	}
}

func TestHistogramKeepsEveryDuration(t *testing.T) {
	for _, d := range []time.Duration{-1, 0, 1, 1023, 1024, 16 << 10, ms, time.Second, time.Minute, time.Hour, math.MaxInt64} {
		var h histogram
		h.observe(d)
		if got := quantile(50, &h); got <= 0 || d <= time.Minute && d > 20*time.Microsecond && (got < d*94/100 || got > d*106/100) {
			t.Errorf("%v is kept as %v", d, got)
		}
	}
	for i := 1; i < histogramBuckets; i++ {
		if middle(i) <= middle(i-1) {
			t.Errorf("bucket %d: %v after %v", i, middle(i), middle(i-1))
		}
	}
}

func TestPercentileForgets(t *testing.T) {
	l := NewLatencies(start)
	fill := func(at, d time.Duration) {
		for range 200 {
			l.Observe(start.Add(at), d)
		}
	}
	p50 := func(at time.Duration) time.Duration {
		d, _ := l.Percentile(start.Add(at), 50)
		return d.Round(100 * ms)
	}
	fill(0, time.Second)
	fill(31*time.Second, 100*ms)
	if l.Observe(start.Add(32*time.Second), 0); p50(32*time.Second) == 0 {
		t.Error("nothing is known within a minute")
	}
	if got := p50(61 * time.Second); got != 100*ms {
		t.Errorf("after a minute: %v", got)
	}
	if got := p50(5 * time.Minute); got != 0 {
		t.Errorf("after five minutes of silence: %v", got)
	}
}

func TestHedge(t *testing.T) {
	known := NewLatencies(start)
	for range 200 {
		known.Observe(start, 10*ms)
	}
	for _, tc := range []struct {
		name string
		h    Hedge
		sent uint32
		l    *Latencies
		roll uint32
		wait time.Duration
		ok   bool
	}{
		{"none", Hedge{}, 1, known, 0, 0, false},
		{"not sent yet", Hedge{Delay: ms}, 0, known, 0, 0, false},
		{"delay", Hedge{Delay: ms}, 1, nil, 0, ms, true},
		{"one more by default", Hedge{Delay: ms}, 2, nil, 0, 0, false},
		{"two more", Hedge{Delay: ms, Max: 2}, 2, nil, 0, ms, true},
		{"and no third", Hedge{Delay: ms, Max: 2}, 3, nil, 0, 0, false},
		{"percentile", Hedge{Delay: ms, Percentile: 95}, 1, known, 0, 10 * ms, true},
		{"percentile not known", Hedge{Delay: ms, Percentile: 95}, 1, NewLatencies(start), 0, ms, true},
		{"percentile not known, no delay", Hedge{Percentile: 95}, 1, NewLatencies(start), 0, 0, false},
		{"by chance", Hedge{Chance: Percent(1)}, 1, nil, 9_999, 0, true},
		{"not by chance", Hedge{Chance: Percent(1)}, 1, nil, 10_000, 0, false},
		{"chance is of the first only", Hedge{Delay: ms, Max: 2, Chance: Percent(100)}, 2, nil, 0, ms, true},
	} {
		wait, ok := tc.h.Next(tc.sent, tc.l, start, tc.roll)
		if wait.Round(ms) != tc.wait || ok != tc.ok {
			t.Errorf("%s: %v, %v", tc.name, wait, ok)
		}
	}
}

func TestFraction(t *testing.T) {
	for _, tc := range []struct {
		f    Fraction
		want int // of a million
	}{
		{Fraction{}, 0}, {Percent(1), 10_000}, {Percent(100), million}, {Percent(200), million},
		{Fraction{1, 10_000}, 100}, {Fraction{1, million}, 1}, {Fraction{math.MaxUint32, 100}, million},
	} {
		got := 0
		for roll := range uint32(million) {
			if tc.f.Holds(roll) {
				got++
			}
		}
		if got != tc.want {
			t.Errorf("%+v: %d, want %d", tc.f, got, tc.want)
		}
	}
}

func TestHedgeAllocatesNothing(t *testing.T) {
	l := NewLatencies(start)
	for range 200 {
		l.Observe(start, 10*ms)
	}
	h := Hedge{Percentile: 95}
	ceiling(t, "a hedge", 0, func() {
		l.Observe(start, 10*ms)
		h.Next(1, l, start, 0)
	})
}
