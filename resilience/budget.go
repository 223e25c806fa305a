package resilience

import "time"

// A Budget bounds the retries of a cluster, hedges among them, to a share of its
// calls, so that retries can't add up to a storm. Its values are literal; see DefaultBudget.
type Budget struct {
	// Percent is how many retries there may be to a hundred calls (Envoy budget_percent).
	Percent float64
	// MinConcurrent is how many retries may be in flight whatever the share (Envoy
	// min_retry_concurrency). It counts only without an Interval.
	MinConcurrent uint32
	// Interval is over what time the share holds. 0 compares the retries in flight with the
	// calls in flight (Envoy's default). Else it is the retries begun with the calls
	// begun in that time (Gateway API retryConstraint), which also stops storms of
	// retries that fail too fast to ever be in flight together.
	Interval time.Duration
	// MinRate is how many retries a second are always allowed, with an Interval (Gateway API minRetryRate).
	MinRate float64
}

// DefaultBudget is Envoy's: 20 % of what is in flight, and at least 3.
func DefaultBudget() Budget { return Budget{Percent: 20, MinConcurrent: 3} }

// Spending is what a cluster has spent of its Budget. It takes no lock; with an Interval, callers who
// ask at the same moment may all get the last of it.
type Spending struct {
	calls  Gauge
	spent  Gauge // retries in flight
	recent rolling
}

// NewSpending returns the Spending of a cluster without calls.
func NewSpending(now time.Time) *Spending { return &Spending{recent: rolling{start: now}} }

// Begin counts a call in, and leaves its retries out. Each Begin is followed by one End.
func (s *Spending) Begin(b *Budget, now time.Time) {
	s.calls.Begin()
	if b.Interval > 0 {
		s.recent.window(b.Interval).add(now, 1, 0)
	}
}

// End counts a call out.
func (s *Spending) End() { s.calls.Leave() }

// Retry reports whether the budget has room for a retry, and takes it. Each Retry
// that succeeded is followed by one Retried.
func (s *Spending) Retry(b *Budget, now time.Time) bool {
	if b.Interval > 0 {
		w := s.recent.window(b.Interval)
		calls, retries := w.sums(now)
		if float64(retries)+1 > max(float64(calls)*b.Percent/100, b.MinRate*b.Interval.Seconds()) {
			return false
		}
		w.add(now, 0, 1)
		s.spent.Begin()
		return true
	}
	share := float64(s.calls.Count()) * b.Percent / 100
	return s.spent.Enter(max(uint32(min(share, 1<<31)), b.MinConcurrent))
}

// Retried gives back what a retry took: it has ended.
func (s *Spending) Retried() { s.spent.Leave() }

// InFlight is how many calls and retries are running.
func (s *Spending) InFlight() (calls, retries int64) { return s.calls.Count(), s.spent.Count() }
