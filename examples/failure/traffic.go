package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/mesh"
)

// traffic asks checkout at a steady rate, whether or not it keeps up, and remembers how that went.
type traffic struct {
	client *http.Client
	rate   atomic.Int64 // calls a second

	mu    sync.Mutex
	tally *tally // of the calls that begin now
}

// A tally is how calls went that began within some time.
type tally struct {
	calls, failed  int
	vital, refused int // calls that matter most, and those of them that failed
	millis         []float64
	ledgers        map[string]int // who answered
	why            map[string]int
}

// patience is how long a customer waits.
const patience = time.Second

// vitalEvery is which calls matter most: one in ten.
const vitalEvery = 10

// run calls until ctx is done, and returns when the last call is through.
func (t *traffic) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	next := time.Now()
	for n := 0; ; n++ {
		next = next.Add(time.Second / time.Duration(t.rate.Load()))
		if !wait(ctx, time.Until(next)) || ctx.Err() != nil {
			return
		}
		wg.Go(func() { t.call(context.WithoutCancel(ctx), n) })
	}
}

func (t *traffic) call(ctx context.Context, n int) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	t.mu.Lock()
	sum := t.tally
	t.mu.Unlock()
	start := time.Now()
	vital := n%vitalEvery == 0
	ledger, err := t.ask(ctx, n, vital)
	took := time.Since(start)

	t.mu.Lock()
	defer t.mu.Unlock()
	sum.calls++
	if vital {
		sum.vital++
	}
	sum.millis = append(sum.millis, took.Seconds()*1000)
	if err == nil {
		sum.ledgers[ledger]++
		return
	}
	sum.failed++
	sum.why[reason(err)]++
	if vital {
		sum.refused++
	}
}

// reason is an error without what differs from call to call.
func reason(err error) string {
	if e, ok := errors.AsType[*mesh.Error](err); ok {
		return e.Kind.String()
	}
	return err.Error()
}

// ask makes one call and returns which ledger answered in the end.
func (t *traffic) ask(ctx context.Context, n int, vital bool) (ledger string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://checkout.shop/buy?order="+strconv.Itoa(n), nil)
	if err != nil {
		return "", err
	}
	// Said once, at the first of the chain; the mesh hands it on.
	req.Header.Set("X-Weft-Criticality", "sheddable")
	if vital {
		req.Header.Set("X-Weft-Criticality", "critical-plus")
	}
	resp, err := t.client.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("checkout answers %s", resp.Status)
	}
	return string(body), err
}

// begin counts the calls that begin from now on by themselves.
func (t *traffic) begin() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tally = &tally{ledgers: map[string]int{}, why: map[string]int{}}
}

// sum is the tally of the calls since begin, as far as they have ended.
func (t *traffic) sum() tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	sum := *t.tally
	sum.millis, sum.ledgers, sum.why = slices.Clone(sum.millis), maps.Clone(sum.ledgers), maps.Clone(sum.why)
	return sum
}

// share is the part of the answers that a ledger gave.
func (t *tally) share(ledger string) float64 {
	return float64(t.ledgers[ledger]) / float64(max(t.calls-t.failed, 1))
}

// percentile is in milliseconds.
func (t *tally) percentile(p int) float64 {
	if len(t.millis) == 0 {
		return 0
	}
	slices.Sort(t.millis)
	return t.millis[(len(t.millis)-1)*p/100]
}
