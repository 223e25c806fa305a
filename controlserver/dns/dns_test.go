package dns

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAddressesAreFollowedAndKeptWhenALookupFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []struct {
			addresses []string
			err       error
		}{
			{[]string{"10.0.0.2", "10.0.0.1", "10.0.0.1"}, nil},
			{nil, errors.New("no such host")},
			{[]string{"10.0.0.3"}, nil},
			{[]string{"10.0.0.3"}, nil},
		}
		var n, changes atomic.Int32
		r := New(Config{
			Logger: slog.New(slog.DiscardHandler),
			Lookup: func(_ context.Context, name string) ([]string, error) {
				if name != "ledger.example" {
					t.Errorf("looked up %q", name)
				}
				a := answers[min(int(n.Add(1))-1, len(answers)-1)]
				return a.addresses, a.err
			},
		}, func() { changes.Add(1) })
		defer r.Close()
		r.Want(map[string]bool{"ledger.example": true})
		for i, want := range [][]string{{"10.0.0.1", "10.0.0.2"}, {"10.0.0.1", "10.0.0.2"}, {"10.0.0.3"}, {"10.0.0.3"}} {
			synctest.Wait()
			if got := r.Known()["ledger.example"]; !slices.Equal(got, want) {
				t.Errorf("after look-up %d: %v, want %v", i+1, got, want)
			}
			time.Sleep(5 * time.Second) // the bubble's clock
		}
		if changes.Load() != 2 {
			t.Errorf("%d changes told, want 2", changes.Load())
		}
		r.Want(nil)
		synctest.Wait()
		if got := r.Known()["ledger.example"]; got != nil {
			t.Errorf("a name no longer wanted has %v", got)
		}
	})
}
