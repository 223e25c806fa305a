package engine

import "time"

// A moment is a time that is asked for once, when it is first wanted: steps that do not wait are all taken at the same, and each
// look at the clock costs what a step does. The zero moment has not been asked for.
type moment struct{ at time.Time }

func (m *moment) now() time.Time {
	if m.at.IsZero() {
		m.at = time.Now()
	}
	return m.at
}

// pass is called after a wait.
func (m *moment) pass() { *m = moment{} }
