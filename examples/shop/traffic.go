package main

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"time"
)

// traffic buys from the storefront at a steady rate, whether or not it keeps up,
// and remembers who did the work.
type traffic struct {
	client *http.Client
	rate   int

	mu      sync.Mutex
	samples []sample // of the last few seconds, oldest first
	tally   tally    // since the last reset
	flying  int
}

// A sample is one call of one order.
type sample struct {
	at     time.Time
	tester bool
	hop
}

// A tally counts orders and who served payments.
type tally struct {
	orders, failed int
	peak           int // orders under way at once
	everybody      map[string]int
	testers        map[string]int
	errors         map[string]int
}

func newTally() tally {
	return tally{everybody: map[string]int{}, testers: map[string]int{}, errors: map[string]int{}}
}

// window is how far back the table looks.
const window = 2 * time.Second

// testerEvery is which customers are testers: one in ten.
const testerEvery = 10

// run buys until ctx is done, and returns when the last order is through.
func (t *traffic) run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(time.Second / time.Duration(t.rate))
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			wg.Go(func() { t.order(context.WithoutCancel(ctx), n) })
		}
	}
}

func (t *traffic) order(ctx context.Context, n int) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	t.mu.Lock()
	t.flying++
	t.tally.peak = max(t.tally.peak, t.flying)
	t.mu.Unlock()

	tester := n%testerEvery == 0
	header := ""
	if tester {
		header = "yes"
	}
	first, body, err := get(ctx, t.client, "http://storefront.shop/buy?order="+strconv.Itoa(n), "storefront", header)
	var out receipt
	if len(body) > 0 {
		json.Unmarshal(body, &out) // what is not a receipt has no hops
	}
	now := time.Now()

	t.mu.Lock()
	defer t.mu.Unlock()
	t.flying--
	t.tally.orders++
	if err != nil || out.Error != "" {
		t.tally.failed++
		t.tally.errors[cmp.Or(out.Error, first.Error)]++
	}
	for _, h := range append([]hop{first}, out.Hops...) {
		t.samples = append(t.samples, sample{now, tester, h})
		if h.Service == "payments" && h.Error == "" {
			if tester {
				t.tally.testers[h.Version]++
			} else {
				t.tally.everybody[h.Version]++
			}
		}
	}
}

// reset begins a new tally and returns the old one.
func (t *traffic) reset() tally {
	t.mu.Lock()
	defer t.mu.Unlock()
	old := t.tally
	t.tally = newTally()
	t.tally.peak = t.flying
	return old
}

// A row is a line of the table: one version of one service over the window.
type row struct {
	service, version string
	rate             float64 // per second
	share            float64 // of the service's calls
	success          float64
	p50, p99         float64 // milliseconds
}

// rows sums up the window, in the order in which an order meets the services.
func (t *traffic) rows() []row {
	t.mu.Lock()
	from := time.Now().Add(-window)
	i, _ := slices.BinarySearchFunc(t.samples, from, func(s sample, at time.Time) int { return s.at.Compare(at) })
	t.samples = slices.Delete(t.samples, 0, i)
	recent := slices.Clone(t.samples)
	t.mu.Unlock()

	type key struct{ service, version string }
	millis, failed, total := map[key][]float64{}, map[key]int{}, map[string]int{}
	for _, s := range recent {
		k := key{s.Service, cmp.Or(s.Version, "?")}
		millis[k] = append(millis[k], s.Millis)
		total[s.Service]++
		if s.Error != "" {
			failed[k]++
		}
	}
	var out []row
	for k, m := range millis {
		slices.Sort(m)
		n := float64(len(m))
		out = append(out, row{
			service: k.service, version: k.version,
			rate: n / window.Seconds(), share: n / float64(total[k.service]),
			success: 1 - float64(failed[k])/n,
			p50:     m[len(m)/2], p99: m[len(m)*99/100],
		})
	}
	slices.SortFunc(out, func(a, b row) int {
		return cmp.Or(cmp.Compare(place[a.service], place[b.service]), cmp.Compare(a.version, b.version))
	})
	return out
}

var place = map[string]int{"storefront": 0, "orders": 1, "inventory": 2, "payments": 3, "shipping": 4}
