package resilience

import (
	"math"
	"slices"
	"testing"
	"time"
)

func TestParseCriticality(t *testing.T) {
	for _, c := range []Criticality{Sheddable, SheddablePlus, Critical, CriticalPlus} {
		if got, ok := ParseCriticality(c.String()); got != c || !ok {
			t.Errorf("%v: %v, %v", c, got, ok)
		}
	}
	if got, ok := ParseCriticality("CRITICAL-PLUS"); got != CriticalPlus || !ok {
		t.Errorf("in capitals: %v, %v", got, ok)
	}
	for _, bad := range []string{"", "health", "critical+", "5"} {
		if got, ok := ParseCriticality(bad); got != Critical || ok {
			t.Errorf("%q: %v, %v", bad, got, ok)
		}
	}
}

// A queue before a server that does one call each millisecond.
type queue struct {
	shedder *Shedder
	now     time.Time
	waiting []struct {
		since time.Time
		c     Criticality
	}
	served, refused map[Criticality]int
	longest         time.Duration // that one who was refused had waited
}

// offer runs for d, with so many calls each millisecond.
func (q *queue) offer(d time.Duration, of map[Criticality]int) {
	q.served, q.refused, q.longest = map[Criticality]int{}, map[Criticality]int{}, 0
	for range d / ms {
		for c, n := range of {
			for range n {
				q.waiting = append(q.waiting, struct {
					since time.Time
					c     Criticality
				}{q.now, c})
			}
		}
		for len(q.waiting) > 0 {
			w := q.waiting[0]
			q.waiting = q.waiting[1:]
			waited := q.now.Sub(w.since)
			if q.shedder.Admit(Shedding{}, w.c, q.now, waited) {
				q.served[w.c]++
				break
			}
			q.refused[w.c]++
			q.longest = max(q.longest, waited)
		}
		q.now = q.now.Add(ms)
	}
}

func TestSheddingKeepsTheQueueShort(t *testing.T) {
	q := &queue{shedder: NewShedder(start), now: start}
	q.offer(time.Second, map[Criticality]int{Critical: 1})
	if q.refused[Critical] != 0 || q.shedder.Overloaded() {
		t.Fatalf("%d refused without overload", q.refused[Critical])
	}
	q.offer(time.Second, map[Criticality]int{Critical: 5}) // it takes an interval to be noticed
	q.offer(5*time.Second, map[Criticality]int{Critical: 5})
	if q.served[Critical] < 4900 || q.longest > 10*ms {
		t.Errorf("five times the load: %d of 5000 served, refused after up to %v", q.served[Critical], q.longest)
	}
	for i := range 500 {
		q.offer(ms, map[Criticality]int{Critical: 1})
		if i > 150 && (q.refused[Critical] != 0 || q.shedder.Overloaded()) {
			t.Fatalf("%d refused, %v after the overload", q.refused[Critical], time.Duration(i)*2*ms)
		}
		q.offer(ms, nil)
	}
}

func TestSheddingSparesWhatMatters(t *testing.T) {
	for _, spared := range []Criticality{Critical, CriticalPlus, Health} {
		q := &queue{shedder: NewShedder(start), now: start}
		for range 200 { // a tenth of the capacity matters; the rest is twelve times the capacity
			q.offer(9*ms, map[Criticality]int{Sheddable: 12})
			q.offer(ms, map[Criticality]int{Sheddable: 12, spared: 1})
		}
		lost := 0
		for range 500 {
			q.offer(9*ms, map[Criticality]int{Sheddable: 12})
			lost += q.refused[spared]
			q.offer(ms, map[Criticality]int{Sheddable: 12, spared: 1})
			lost += q.refused[spared]
		}
		if lost > 3 {
			t.Errorf("%v: %d of 500 refused", spared, lost)
		}
	}
}

func TestHealthChecksAreNeverShed(t *testing.T) {
	s := NewShedder(start)
	if !s.Admit(Shedding{}, Health, start, math.MaxInt64) {
		t.Error("refused")
	}
	if s.Admit(Shedding{}, CriticalPlus, start, 101*ms) {
		t.Error("anything else may wait for ever")
	}
}

func TestSilenceIsNoOverload(t *testing.T) {
	s := NewShedder(start)
	for i := range 3 {
		s.Admit(Shedding{}, Critical, start.Add(time.Duration(i)*100*ms), 50*ms)
	}
	if !s.Overloaded() {
		t.Fatal("a queue that stands for two intervals is no overload")
	}
	if !s.Admit(Shedding{}, Critical, start.Add(time.Minute), 50*ms) || s.Overloaded() {
		t.Error("overload outlasts a minute without calls")
	}
}

// A short queue drains now and then by chance, which is not the end of an overload.
func TestOverloadEndsWithTheThirdCalmInterval(t *testing.T) {
	s, now := NewShedder(start), start
	see := func(waits ...time.Duration) (overloaded []bool) {
		for _, w := range waits {
			s.Observe(Shedding{}, now, w)
			overloaded = append(overloaded, s.Overloaded())
			now = now.Add(100 * ms)
		}
		return overloaded
	}
	if got := see(50*ms, 50*ms, 0, 50*ms, 0, 0, 0, 0); !slices.Equal(got, []bool{false, true, true, true, true, true, true, false}) {
		t.Errorf("overloaded: %v", got)
	}
}

// Where the newest are served first, the oldest says how long the queue is.
func TestObserveIsAdmitWithoutTheVerdict(t *testing.T) {
	s := NewShedder(start)
	for i := range 2 {
		s.Observe(Shedding{}, start.Add(time.Duration(i)*100*ms), 50*ms)
	}
	if !s.Overloaded() || s.Patience(Shedding{}, Critical) != 5*ms {
		t.Errorf("overloaded %v, patience %v", s.Overloaded(), s.Patience(Shedding{}, Critical))
	}
}

func TestSheddingAllocatesNothing(t *testing.T) {
	s, now := NewShedder(start), start
	ceiling(t, "shedding", 0, func() {
		now = now.Add(30 * ms)
		s.Admit(Shedding{}, Critical, now, ms)
	})
}
