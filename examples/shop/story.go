package main

import (
	"cmp"
	"context"
	"embed"
	"fmt"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/examples/stage"
)

//go:embed mesh/*.yaml
var configuration embed.FS

// A director tells the story.
type director struct {
	length   time.Duration
	rate     int
	keep     bool
	insecure bool

	*stage.Screen
	*stage.Cast
	*traffic
	dir     string // of the configuration
	state   string // directory of the authority; empty if there is none
	control string // address of the control server, once it has told it
	sum     tally  // of all acts
}

// An act is one thing done to the shop, and what must be true after it.
type act struct {
	title string
	do    func(context.Context) error
	// v2 is the share of payments that v2 must have, of all customers and of testers.
	v2, testersV2 float64
	// crash allows for the orders that were under way in a process that was killed.
	crash bool
	// undo, if not nil, happens halfway.
	undo func(context.Context) error
}

func (d *director) acts() []act {
	return []act{
		{title: "all orders are paid by v1", do: func(context.Context) error { return nil }},
		{title: "canary: 10 % of payments to v2", do: d.weights(90, 10), v2: .1, testersV2: .1},
		{title: "canary: 50 %", do: d.weights(50, 50), v2: .5, testersV2: .5},
		{title: "canary: 100 %", do: d.weights(0, 100), v2: 1, testersV2: 1},
		{title: "back to v1, but testers (header x-tester) get v2", do: d.testers, testersV2: 1},
		{title: "kill -9 one instance of payments v1 and one of inventory; they come back", do: d.crash("payments-v1-1", "inventory-1"),
			undo: func(ctx context.Context) error {
				if err := d.begin(ctx, "payments", "v1", "payments-v1-1"); err != nil {
					return err
				}
				return d.begin(ctx, "inventory", "v1", "inventory-1")
			}, testersV2: 1, crash: true},
		{title: "kill -9 the control server; it comes back", do: d.crash("control"),
			undo: func(ctx context.Context) error { return d.begin(ctx, "control", "v1", "control") }, testersV2: 1},
	}
}

// run tells the story and reports whether it held.
func (d *director) run(ctx context.Context) (held bool, err error) {
	d.Screen = stage.NewScreen()
	if d.rate <= 0 || d.rate > 5000 {
		return false, fmt.Errorf("--rate %d is not between 1 and 5000", d.rate)
	}
	if d.dir, err = stage.Unpack("weft-shop-", configuration); err != nil {
		return false, err
	}
	defer os.RemoveAll(d.dir)
	if !d.insecure {
		defer func() { _ = os.RemoveAll(d.state) }()
		if err := d.secure(); err != nil {
			return false, err
		}
	}
	if d.Cast, err = stage.NewCast("control"); err != nil {
		return false, err
	}
	defer d.Stop()
	if err := d.open(ctx); err != nil {
		return false, stage.Interrupted(ctx, err)
	}
	m, leave, err := d.customer(ctx)
	if err != nil {
		return false, err
	}
	defer leave()
	d.traffic = &traffic{client: &http.Client{Transport: m.RoundTripper()}, rate: d.rate, tally: newTally()}

	buying, stop := context.WithCancel(ctx)
	sold := make(chan struct{})
	go func() {
		defer close(sold)
		d.traffic.run(buying)
	}()
	held, err = d.tell(ctx)
	if err == nil && d.keep {
		d.wait(ctx)
	}
	stop()
	<-sold
	if err != nil {
		err = stage.Interrupted(ctx, err)
	}
	return held, err
}

// open starts all processes.
func (d *director) open(ctx context.Context) error {
	if err := d.begin(ctx, "control", "v1", "control"); err != nil {
		return err
	}
	var web string
	d.control, web, _ = strings.Cut(d.Line("control"), " ")
	d.Say("control server on %s, status page http://%s/, configuration in %s", d.control, web, d.dir)
	if d.insecure {
		d.Say("INSECURE: the parts of the shop speak plaintext, and answer whoever asks")
	} else {
		d.Say("all parts speak mutual TLS, by identities of %s; the storefront's customers need none", trustDomain)
	}
	for _, p := range []struct{ role, version string }{
		{"storefront", "v1"}, {"orders", "v1"}, {"inventory", "v1"}, {"payments", "v1"}, {"payments", "v2"}, {"shipping", "v1"},
	} {
		for i := 1; i <= 2; i++ {
			name := fmt.Sprintf("%s-%d", p.role, i)
			if p.role == "payments" {
				name = fmt.Sprintf("%s-%s-%d", p.role, p.version, i)
			}
			if err := d.begin(ctx, p.role, p.version, name); err != nil {
				return err
			}
		}
	}
	d.Say("%d processes are up; the storefront is at http://%s/", d.Parts(), d.Line("storefront-1"))
	return nil
}

func (d *director) begin(ctx context.Context, role, version, instance string) error {
	var variables []string
	if role != "control" && !d.insecure {
		cfg, err := d.invite(role)
		if err != nil {
			return err
		}
		variables = environment(cfg)
	}
	_, err := d.StartWith(ctx, variables, instance, "--role", role, "--version", version, "--instance", instance,
		"--control", cmp.Or(d.control, "127.0.0.1:0"), "--config", d.dir, "--state", d.state)
	return err
}

// tell plays the acts, and judges each by the orders made after its change has settled.
func (d *director) tell(ctx context.Context) (held bool, err error) {
	d.sum = newTally()
	if err := d.warm(ctx); err != nil {
		return false, err
	}
	acts := d.acts()
	each := d.length / time.Duration(len(acts))
	settle := min(time.Second, each/3)
	held = true
	for i, a := range acts {
		d.Say("%d. %s", i+1, a.title)
		if err := a.do(ctx); err != nil {
			return false, err
		}
		if err := d.watch(ctx, settle); err != nil {
			return false, err
		}
		change := d.reset() // what came while the change was on its way counts for failures, not for shares
		half := (each - settle) / 2
		if err := d.watch(ctx, half); err != nil {
			return false, err
		}
		if a.undo != nil {
			if err := a.undo(ctx); err != nil {
				return false, err
			}
		}
		if err := d.watch(ctx, each-settle-half); err != nil {
			return false, err
		}
		held = d.judge(a, change, d.reset()) && held
	}
	d.summary(held)
	return held, nil
}

// warm waits until every service has answered.
func (d *director) warm(ctx context.Context) error {
	why := "nothing is sold"
	late := time.NewTimer(15 * time.Second)
	defer late.Stop()
	for {
		if err := d.watch(ctx, 100*time.Millisecond); err != nil {
			return err
		}
		if got := d.reset(); got.orders > d.rate/20 && got.failed == 0 {
			return nil
		} else if len(got.errors) > 0 {
			why = slices.Sorted(maps.Keys(got.errors))[0]
		}
		select {
		case <-late.C:
			return fmt.Errorf("the shop does not work after 15 s: %s", why)
		default:
		}
	}
}

// watch shows the table for a while.
func (d *director) watch(ctx context.Context, length time.Duration) error {
	end := time.After(length)
	tick := time.NewTicker(500 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-end:
			return nil
		case <-tick.C:
			rows := d.rows()
			d.Show(table(rows), line(rows))
		}
	}
}

// judge says what an act came to. change is what was ordered while it took
// effect, got what was ordered after.
func (d *director) judge(a act, change, got tally) bool {
	failed, orders := change.failed+got.failed, change.orders+got.orders
	allowed := 0
	if a.crash {
		// A charge whose answer died with the process is not repeated: it may have been made.
		allowed = max(change.peak, got.peak)
	}
	everybody, n := share(got.everybody)
	testers, m := share(got.testers)
	ok := failed <= allowed && near(everybody, a.v2, n) && near(testers, a.testersV2, m) && n > 0
	word := "held"
	if !ok {
		word = "DID NOT HOLD"
	}
	d.Say("   %s: %d orders, %d failed; payments v2 %.1f %% (asked %.0f %%), testers %.1f %% (asked %.0f %%)",
		word, orders, failed, 100*everybody, 100*a.v2, 100*testers, 100*a.testersV2)
	for _, t := range []tally{change, got} {
		for _, text := range slices.Sorted(maps.Keys(t.errors)) {
			d.Say("   %d x %s", t.errors[text], text)
		}
		d.sum.orders += t.orders
		d.sum.failed += t.failed
	}
	return ok
}

// share is what part of the payments v2 had, of how many.
func share(versions map[string]int) (float64, int) {
	n := 0
	for _, c := range versions {
		n += c
	}
	if n == 0 {
		return 0, 0
	}
	return float64(versions["v2"]) / float64(n), n
}

// near reports whether a share is what was asked for, within four standard
// deviations of chance. Shares of none and all leave nothing to chance.
func near(got, want float64, n int) bool {
	if n == 0 {
		return true
	}
	return math.Abs(got-want) <= 4*math.Sqrt(want*(1-want)/float64(n))+1e-9
}

func (d *director) summary(held bool) {
	d.Say("")
	d.Say("%d orders, %d failed (%.3f %%)", d.sum.orders, d.sum.failed, 100*float64(d.sum.failed)/float64(max(d.sum.orders, 1)))
	if held {
		d.Say("The story held.")
	} else {
		d.Say("The story did NOT hold.")
	}
}

// wait leaves the shop running until Ctrl-C, which is how it is meant to end.
func (d *director) wait(ctx context.Context) {
	d.Say("The shop stays open; edit %s/*.yaml and watch. Ctrl-C closes it.", d.dir)
	for d.watch(ctx, time.Minute) == nil {
		continue
	}
}

// weights edits the weights of payments' two versions.
func (d *director) weights(v1, v2 int) func(context.Context) error {
	return func(context.Context) error {
		return d.edit("payments.yaml", func(text string) string {
			text = regexp.MustCompile(`(subset: v1}, weight: )\d+`).ReplaceAllString(text, fmt.Sprintf("${1}%d", v1))
			return regexp.MustCompile(`(subset: v2}, weight: )\d+`).ReplaceAllString(text, fmt.Sprintf("${1}%d", v2))
		})
	}
}

// testers puts a route before the canary.
func (d *director) testers(ctx context.Context) error {
	if err := d.weights(100, 0)(ctx); err != nil {
		return err
	}
	return d.edit("payments.yaml", func(text string) string {
		return strings.Replace(text, "  - name: canary\n", `  - name: testers
    match:
    - headers: {x-tester: {exact: "yes"}}
    route:
    - destination: {host: payments, subset: v2}
  - name: canary
`, 1)
	})
}

// edit changes a file of the configuration.
func (d *director) edit(name string, change func(string) string) error {
	path := filepath.Join(d.dir, name)
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	next := change(string(data))
	if next == string(data) {
		return fmt.Errorf("%s: nothing to edit", name)
	}
	return stage.Save(path, []byte(next))
}

func (d *director) crash(instances ...string) func(context.Context) error {
	return func(context.Context) error {
		for _, i := range instances {
			d.Kill(i)
		}
		return nil
	}
}
