package resilience

import "time"

// A Hedge says when a call that has no answer yet is sent a second time, to another
// host; the first answer counts, the others are cancelled. The zero Hedge never
// does. What it sends is to be paid from the cluster's Budget, like a retry, and only
// calls that are idempotent are to be hedged.
type Hedge struct {
	// Delay is how long to wait for an answer before each further attempt. With a Percentile it
	// is what holds while there is too little to tell it by; 0 then sends nothing.
	Delay time.Duration
	// Percentile of what the cluster's answers took lately takes the place of Delay, in
	// (0, 100): 95 sends one call in twenty again. 0 means Delay.
	Percentile float64
	// Max is how many attempts may be added to a call; 0 means 1.
	Max uint32
	// Chance is the share of calls that get a second attempt at once, without waiting
	// (Envoy additional_request_chance).
	Chance Fraction
}

// Next says how long to wait for an answer before the call is sent once more, after
// it was sent so often. roll is a random number below a million, the same for all questions of a call.
func (h *Hedge) Next(sent uint32, l *Latencies, now time.Time, roll uint32) (wait time.Duration, ok bool) {
	if sent == 0 || sent > max(h.Max, 1) {
		return 0, false
	}
	if sent == 1 && h.Chance.Holds(roll) {
		return 0, true
	}
	wait = h.Delay
	if h.Percentile > 0 {
		if d, known := l.Percentile(now, h.Percentile); known {
			wait = d
		}
	}
	return wait, wait > 0
}
