package engine

import (
	"context"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// A machine does as many calls at once as it has cores, each in base; more share it. Calls
// whose context ends are left undone, but what was done for them is lost.
type machine struct {
	cores    int
	base     time.Duration
	inFlight atomic.Int64
}

func (m *machine) handle(ctx context.Context) resilience.Outcome {
	n := m.inFlight.Add(1)
	defer m.inFlight.Add(-1)
	took := max(m.base, m.base*time.Duration(n)/time.Duration(m.cores))
	if pause(ctx, took) != nil {
		return resilience.Outcome{Err: ctx.Err(), Cause: resilience.Canceled}
	}
	return resilience.Outcome{Status: 200}
}

// peak is what the machine can do in a second.
func (m *machine) peak() int { return m.cores * int(time.Second/m.base) }

// A crowd is calls of one criticality that are made whether earlier ones were answered or not.
type crowd struct {
	criticality string
	perSecond   int

	offered, good, refused atomic.Int64
	waited                 atomic.Int64 // refused after more than 10 ms
}

func (c *crowd) reset() { c.offered.Store(0); c.good.Store(0); c.refused.Store(0); c.waited.Store(0) }

func (c *crowd) share() float64 { return float64(c.good.Load()) / float64(max(c.offered.Load(), 1)) }

// offer lets the crowds call for d; callers wait for a quarter of a second.
func (m *machine) offer(ctx context.Context, s *server, d time.Duration, crowds ...*crowd) {
	var calls sync.WaitGroup
	var sources sync.WaitGroup
	for _, c := range crowds {
		sources.Go(func() {
			for end := time.Now().Add(d); ; {
				if pause(ctx, time.Duration(rand.ExpFloat64()*float64(time.Second)/float64(c.perSecond))) != nil || !time.Now().Before(end) {
					return
				}
				calls.Go(func() { m.call(ctx, s, c) })
			}
		})
	}
	sources.Wait()
	calls.Wait()
}

func (m *machine) call(ctx context.Context, s *server, c *crowd) {
	ctx, cancel := context.WithTimeout(ctx, 250*ms)
	defer cancel()
	start := time.Now()
	c.offered.Add(1)
	out, r := s.Serve(ctx, inboundCall("/", header{"x-weft-criticality": c.criticality}), m.handle)
	switch {
	case r != nil:
		c.refused.Add(1)
		if time.Since(start) > 10*ms {
			c.waited.Add(1)
		}
	case out.OK():
		c.good.Add(1)
	}
}

func TestOverload(t *testing.T) {
	seconds := 10
	if testing.Short() || raced {
		seconds = 3
	}
	for name, v := range map[string]resilience.Serving{
		"shedding":            {Shedding: &resilience.Shedding{}},
		"adaptive, refusing":  {Adaptive: &resilience.Adaptive{}},
		"fixed, and shedding": {MaxRequests: 25, Shedding: &resilience.Shedding{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &machine{cores: 20, base: 10 * ms}
				s := newServer(t, v)
				c := &crowd{perSecond: m.peak() * 3 / 4}
				m.offer(t.Context(), s, 3*time.Second, c) // to get to know each other
				c.reset()
				c.perSecond = 5 * m.peak()
				m.offer(t.Context(), s, time.Duration(seconds)*time.Second, c)
				perSecond := int(c.good.Load()) / seconds
				t.Logf("%d good of %d a second, %d of %d refusals after more than 10 ms, %+v", perSecond, m.peak(), c.waited.Load(), c.refused.Load(), s.State())
				if perSecond < m.peak()*8/10 {
					t.Errorf("%d good a second, of a peak of %d", perSecond, m.peak())
				}
				// Until it is seen to be one, which takes two intervals, calls wait in hope.
				if late := c.waited.Load(); late > 4*int64(m.peak())/5 {
					t.Errorf("%d of %d refusals took more than 10 ms", late, c.refused.Load())
				}
				c.reset()
				c.perSecond = m.peak() * 3 / 4
				m.offer(t.Context(), s, 5*time.Second, c)
				c.reset()
				m.offer(t.Context(), s, 3*time.Second, c)
				t.Logf("then %.2f %% good", 100*c.share())
				if c.share() < 0.99 {
					t.Errorf("%.1f %% good when it is long over", 100*c.share())
				}
				idleServer(t, s)
				s.Engine.Close()
			})
		})
	}
}

// Twelve times what the machine can do of what nobody will miss must not be felt by those who matter.
func TestFloodOfSheddableCalls(t *testing.T) {
	seconds := 10
	if testing.Short() || raced {
		seconds = 3
	}
	for name, v := range map[string]resilience.Serving{
		"adaptive": {Shedding: &resilience.Shedding{}},
		"fixed":    {MaxRequests: 15, Shedding: &resilience.Shedding{}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m := &machine{cores: 10, base: 10 * ms}
				s := newServer(t, v)
				matters := &crowd{criticality: "critical-plus", perSecond: m.peak() / 3}
				flood := &crowd{criticality: "sheddable", perSecond: 12 * m.peak()}
				m.offer(t.Context(), s, 3*time.Second, matters)
				matters.reset()
				m.offer(t.Context(), s, time.Duration(seconds)*time.Second, matters, flood)
				t.Logf("%.2f %% and %.2f %% of the flood good, %d of %d refusals after more than 10 ms, %+v", 100*matters.share(), 100*flood.share(),
					flood.waited.Load(), flood.refused.Load(), s.State())
				// Of ten seconds, however short the test is: some are lost in the first two tenths, before the flood is seen to be one.
				if lost := matters.offered.Load() - matters.good.Load(); lost > int64(matters.perSecond)*10*6/1000 {
					t.Errorf("%d of %d calls lost", lost, matters.offered.Load())
				}
				if all := int(matters.good.Load()+flood.good.Load()) / seconds; all < m.peak()*8/10 {
					t.Errorf("%d good a second, of a peak of %d", all, m.peak())
				}
				idleServer(t, s)
				s.Engine.Close()
			})
		})
	}
}

// A million calls whose callers give up anywhere on their way leave nothing behind.
func TestCanceledCallsLeaveNothing(t *testing.T) {
	each := 250_000
	if testing.Short() || raced {
		each = 2500
	}
	limiter := &answering{}
	s := newServer(t, resilience.Serving{
		Rate:        &resilience.Rate{Descriptors: []resilience.DescriptorRate{{Entries: []resilience.Entry{{Key: "caller"}}, TokenBucket: resilience.TokenBucket{MaxTokens: 1e9, FillInterval: time.Second}}}},
		Global:      &resilience.GlobalRate{Descriptors: [][]resilience.Entry{{{Key: "path"}}}},
		MaxRequests: 3, Adaptive: &resilience.Adaptive{Max: 4, Update: ms}, Shedding: &resilience.Shedding{},
		Fault: &resilience.Fault{Delay: time.Hour, DelayPercent: resilience.Percent(50)},
	}, func(c *Config) { c.Limiter = limiter })
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	var calls, callers sync.WaitGroup
	leaving := make(chan context.CancelFunc)
	callers.Go(func() {
		for cancel := range leaving {
			cancel()
		}
	})
	for i := range 4 {
		calls.Go(func() {
			for n := range each {
				ctx := ended
				if n%2 == 0 {
					var cancel context.CancelFunc
					ctx, cancel = context.WithCancel(context.Background())
					leaving <- cancel
				}
				c := inboundCall("/", header{"x-weft-criticality": resilience.Criticality(i - 2).String()})
				s.Serve(ctx, c, func(ctx context.Context) resilience.Outcome {
					<-ctx.Done()
					return resilience.Outcome{Err: ctx.Err(), Cause: resilience.Canceled}
				})
			}
		})
	}
	calls.Wait()
	close(leaving)
	callers.Wait()
	idleServer(t, s)
	if st := s.State(); st.Refused[Canceled] == 0 {
		t.Errorf("%+v", st)
	}
}
