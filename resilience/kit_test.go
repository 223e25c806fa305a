package resilience

import (
	"errors"
	"strings"
	"testing"
	"time"
)

var (
	errBroken = errors.New("broken")
	// start is when the tests' clocks begin.
	start = time.Date(2026, 8, 20, 12, 0, 0, 0, time.UTC)
)

const ms = time.Millisecond

// web is the headers of net/http.
type web map[string][]string

func (h web) Values(n HeaderName) []string { return h[n.Canonical] }

// metadata is the headers of gRPC.
type metadata map[string][]string

func (h metadata) Values(n HeaderName) []string { return h[n.Lower] }

// ceiling fails the test if f allocates more than most.
func ceiling(t *testing.T, what string, most float64, f func()) {
	t.Helper()
	if underRace {
		return
	}
	if got := testing.AllocsPerRun(200, f); got > most {
		t.Errorf("%s allocates %v times, at most %v are allowed", what, got, most)
	}
}

// lines are the texts of errors, one a line.
func lines(errs []error) string {
	var b strings.Builder
	for _, err := range errs {
		b.WriteString(err.Error() + "\n")
	}
	return b.String()
}
