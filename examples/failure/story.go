package main

import (
	"cmp"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/weftmesh/weft/examples/stage"
	"github.com/weftmesh/weft/mesh"
)

var (
	//go:embed mesh/*.yaml
	configuration embed.FS
	//go:embed policies/*.yaml
	policies embed.FS
)

// sick is the ledger that the troubles befall.
const sick = "ledger-1"

// A trouble is something that goes wrong, and how it ends.
type trouble struct {
	name, title string
	begin, end  func(context.Context) error
	// held reports whether a policy kept the trouble from the callers, but for what a busy machine may do.
	held func(row) bool
}

func (d *director) troubles() []trouble {
	tell := func(line string) func(context.Context) error {
		return func(context.Context) error { return d.Tell(sick, line) }
	}
	signal := func(s syscall.Signal) func(context.Context) error {
		return func(context.Context) error { return d.Signal(sick, s) }
	}
	rate := func(times int64) func(context.Context) error {
		return func(context.Context) error { d.traffic.rate.Store(int64(d.rate) * times); return nil }
	}
	unseen := func(r row) bool { return r.calls > 0 && float64(r.failed) <= .03*float64(r.calls) }
	fast := func(r row) bool { return unseen(r) && r.share(sick) < .2 }
	return []trouble{
		{"slow", "one of four ledgers takes 500 ms longer", tell("slow 500ms"), tell("heal"), fast},
		{"failing", "one of four ledgers answers 503, at once", tell("fail"), tell("heal"), fast},
		{"hung", "one of four ledgers stops in the middle of what it does (SIGSTOP)", signal(syscall.SIGSTOP), signal(syscall.SIGCONT), fast},
		{"killed", "one of four ledgers is killed (SIGKILL)",
			func(context.Context) error { d.Kill(sick); return nil },
			func(ctx context.Context) error { return d.begin(ctx, "ledger", sick) }, unseen},
		{"overload", "eight times the calls, twice what the ledgers can do; one in ten of them is vital", rate(8), rate(1), func(r row) bool {
			return float64(r.calls-r.failed)/r.seconds > 1.5*float64(d.rate) && float64(r.refused) <= .1*float64(r.vital)
		}},
	}
}

// A director tells the story.
type director struct {
	length time.Duration
	rate   int
	only   string

	*stage.Screen
	*stage.Cast
	traffic *traffic
	dir     string // of the configuration
	control string // address of the control server, once it has told it
	rows    []row
}

// run tells the story and reports whether it held.
func (d *director) run(ctx context.Context) (held bool, err error) {
	d.Screen = stage.NewScreen()
	if d.rate <= 0 || d.rate > 1000 {
		return false, fmt.Errorf("--rate %d is not between 1 and 1000", d.rate)
	}
	troubles := slices.DeleteFunc(d.troubles(), func(t trouble) bool { return d.only != "" && t.name != d.only })
	if len(troubles) == 0 {
		return false, fmt.Errorf("--only %s: no such trouble", d.only)
	}
	if d.dir, err = stage.Unpack("weft-failure-", configuration); err != nil {
		return false, err
	}
	defer os.RemoveAll(d.dir)
	if d.Cast, err = stage.NewCast("control"); err != nil {
		return false, err
	}
	defer d.Stop()
	if err := d.open(ctx); err != nil {
		return false, err
	}
	m, err := mesh.New(ctx, mesh.WithControlServer(d.control), mesh.WithService("customer.shop", nil), mesh.WithLogger(stage.Quiet("customer")))
	if err != nil {
		return false, err
	}
	defer m.Close()
	d.traffic = &traffic{client: &http.Client{Transport: m.RoundTripper()}}
	d.traffic.rate.Store(int64(d.rate))
	d.traffic.begin()

	calling, stop := context.WithCancel(ctx)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		d.traffic.run(calling)
	}()
	held, err = d.tell(ctx, troubles)
	stop()
	<-ended
	return held, err
}

// open starts all processes.
func (d *director) open(ctx context.Context) error {
	if err := d.begin(ctx, "control", "control"); err != nil {
		return err
	}
	var web string
	d.control, web, _ = strings.Cut(d.Line("control"), " ")
	d.Say("control server on %s, status page http://%s/, configuration in %s", d.control, web, d.dir)
	for _, role := range []string{"checkout", "payments"} {
		if err := d.begin(ctx, role, role); err != nil {
			return err
		}
	}
	for i := 1; i <= 4; i++ {
		if err := d.begin(ctx, "ledger", fmt.Sprintf("ledger-%d", i)); err != nil {
			return err
		}
	}
	d.Say("checkout (HTTP) -> payments (gRPC) -> 4 ledgers (HTTP), each a process; %d calls a second, each waits %v at most", d.rate, patience)
	return nil
}

func (d *director) begin(ctx context.Context, role, name string) error {
	_, err := d.Start(ctx, name, "--role", role, "--name", name, "--control", cmp.Or(d.control, "127.0.0.1:0"), "--config", d.dir)
	return err
}

// tell meets each trouble without and with its policy.
func (d *director) tell(ctx context.Context, troubles []trouble) (held bool, err error) {
	each := d.length / time.Duration(2*len(troubles))
	held = true
	for _, t := range troubles {
		d.Say("")
		d.Say("%s: first without a policy, then with policies/%s.yaml.", strings.ToUpper(t.title[:1])+t.title[1:], t.name)
		d.Say("%s", head)
		for _, with := range []bool{false, true} {
			r, err := d.meet(ctx, t, with, each)
			if err != nil {
				return false, err
			}
			d.Say("%s", r.String())
			for _, why := range slices.Sorted(maps.Keys(r.why)) {
				d.Say("      %d x %s", r.why[why], why)
			}
			if with && !t.held(r) {
				d.Say("  The policy did NOT hold.")
				held = false
			}
		}
	}
	d.Say("%s", table(d.rows))
	if held {
		d.Say("The story held.")
	} else {
		d.Say("The story did NOT hold.")
	}
	return held, nil
}

// meet has one trouble befall the chain, and returns how the calls went that were made meanwhile.
func (d *director) meet(ctx context.Context, t trouble, with bool, length time.Duration) (row, error) {
	r := row{trouble: t.name, policy: "none", seconds: 1}
	file := "mesh/policy.yaml"
	var from fs.FS = configuration
	if with {
		r.policy, file, from = "with", "policies/"+t.name+".yaml", policies
	}
	text, err := fs.ReadFile(from, file)
	if err != nil {
		return r, err
	}
	if err := stage.Save(filepath.Join(d.dir, "policy.yaml"), text); err != nil {
		return r, err
	}
	const settle = time.Second // the policy is on its way
	if err := d.watch(ctx, nil, settle); err != nil {
		return r, err
	}
	if err := d.warm(ctx); err != nil { // what was before has left calls behind
		return r, err
	}
	d.traffic.begin()
	start := time.Now()
	if err := t.begin(ctx); err != nil {
		return r, err
	}
	if err := d.watch(ctx, &r, max(length-settle-patience, time.Second)); err != nil {
		return r, err
	}
	// What began under the trouble may end after it.
	sum := d.traffic.tally
	d.traffic.begin()
	r.seconds = time.Since(start).Seconds()
	if err := t.end(ctx); err != nil {
		return r, err
	}
	if err := d.watch(ctx, nil, patience); err != nil {
		return r, err
	}
	r.tally = *sum
	d.rows = append(d.rows, r)
	return r, nil
}

// warm waits until calls are answered by all ledgers.
func (d *director) warm(ctx context.Context) error {
	late := time.NewTimer(15 * time.Second)
	defer late.Stop()
	for {
		d.traffic.begin()
		if err := d.watch(ctx, nil, 300*time.Millisecond); err != nil {
			return err
		}
		got := d.traffic.sum()
		if len(got.ledgers) == 4 && got.failed == 0 {
			return nil
		}
		select {
		case <-late.C:
			return fmt.Errorf("the chain does not work after 15 s: %v", slices.Sorted(maps.Keys(got.why)))
		default:
		}
	}
}

// watch shows the table for a while, with the row that is being filled if there is one.
func (d *director) watch(ctx context.Context, filling *row, length time.Duration) error {
	start := time.Now()
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
			rows := d.rows
			if filling != nil {
				r := *filling
				r.tally, r.seconds = d.traffic.sum(), time.Since(start).Seconds()
				rows = append(slices.Clone(rows), r)
			}
			d.Show(table(rows), "")
		}
	}
}
