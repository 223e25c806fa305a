package main

import (
	"context"
	"embed"
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/examples/stage"
)

//go:embed mesh/*.yaml
var configuration embed.FS

//go:embed steps/*.yaml
var steps embed.FS

// A director tells the story.
type director struct {
	length time.Duration
	rate   int

	*stage.Screen
	*stage.Cast
	client  *http.Client
	dir     string // of the configuration
	state   string // directory of the authority
	control string // address of the control server, once it has told it
	names   []string
	rows    []row
}

// run tells the story and reports whether it held.
func (d *director) run(ctx context.Context) (held bool, err error) {
	d.Screen = stage.NewScreen()
	if d.rate <= 0 || d.rate > 500 {
		return false, fmt.Errorf("--rate %d is not between 1 and 500", d.rate)
	}
	if d.dir, err = stage.Unpack("weft-identity-", configuration); err != nil {
		return false, err
	}
	defer os.RemoveAll(d.dir)
	if d.state, err = os.MkdirTemp("", "weft-identity-authority-"); err != nil {
		return false, err
	}
	defer os.RemoveAll(d.state)
	if d.Cast, err = stage.NewCast("control"); err != nil {
		return false, err
	}
	defer d.Stop()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	d.client = &http.Client{Transport: transport}
	if err := d.open(ctx); err != nil {
		return false, err
	}
	return d.tell(ctx)
}

// open starts all who are of the bank.
func (d *director) open(ctx context.Context) error {
	if err := d.begin(ctx, "control", "control"); err != nil {
		return err
	}
	var web string
	d.control, web, _ = strings.Cut(d.Line("control"), " ")
	d.Say("control server and authority of %s on %s, status page http://%s/, configuration in %s", trustDomain, d.control, web, d.dir)
	for _, p := range []struct{ role, name string }{
		{"accounts", "accounts-1"}, {"accounts", "accounts-2"}, {"payments", "payments-1"}, {"payments", "payments-2"},
		{"member", "branch"}, {"member", "audit"}, {"plain", "old-till"},
	} {
		if err := d.begin(ctx, p.role, p.name); err != nil {
			return err
		}
	}
	d.Say("branch, audit and an old till call accounts (HTTP) and payments (gRPC), two processes each, %d times a second each", d.rate)
	return nil
}

// begin starts a part. Who is to be of the mesh is given what it takes.
func (d *director) begin(ctx context.Context, role, name string) error {
	args := []string{"--role", role, "--name", name, "--rate", strconv.Itoa(d.rate)}
	var variables []string
	switch role {
	case "control":
		args = append(args, "--config", d.dir, "--state", d.state)
	case "plain", "impostor":
		args = append(args, "--accounts", d.address("accounts-1"), "--payments", d.address("payments-1"))
	default:
		account := role
		if role == "member" {
			account = name
		}
		var err error
		if variables, err = d.invite(account); err != nil {
			return err
		}
		args = append(args, "--control", d.control)
	}
	if _, err := d.StartWith(ctx, variables, name, args...); err != nil {
		return err
	}
	if role != "control" {
		d.names = append(d.names, name)
	}
	return nil
}

// address is where a server listens.
func (d *director) address(name string) string {
	addr, _, _ := strings.Cut(d.Line(name), " ")
	return addr
}

// tell plays the acts, one after the other.
func (d *director) tell(ctx context.Context) (held bool, err error) {
	if err := d.warm(ctx); err != nil {
		return false, err
	}
	acts := d.acts()
	const lives = leafTTL + overlap + 10*time.Second // a rotation waits for what was signed to expire, whatever --for says
	each := max(time.Second, (d.length-lives)/time.Duration(len(acts)))
	held = true
	for i, a := range acts {
		d.Say("%d. %s", i+1, a.title)
		r, err := d.play(ctx, a, each)
		if err != nil {
			return false, fmt.Errorf("%d. %s: %w", i+1, a.title, err)
		}
		held = held && r.held()
		d.rows = append(d.rows, r)
	}
	d.Say("%s", summary(d.rows))
	if held {
		d.Say("The story held.")
	} else {
		d.Say("The story did NOT hold.")
	}
	return held, nil
}

// warm waits until all callers are answered.
func (d *director) warm(ctx context.Context) error {
	_, err := d.until(ctx, func(s span) string {
		for name, c := range s.now.callers {
			if last := s.last.callers[name]; c.HTTP.Answered == last.HTTP.Answered || c.GRPC.Answered == last.GRPC.Answered || !c.Listening {
				return fmt.Sprintf("%s is not answered: %s", name, c.Error)
			}
		}
		return ""
	})
	return err
}

// play plays an act and judges it.
func (d *director) play(ctx context.Context, a act, length time.Duration) (row, error) {
	r := row{title: a.title}
	was, err := d.look(ctx)
	if err != nil {
		return r, err
	}
	start := time.Now()
	if err := a.do(ctx); err != nil {
		return r, err
	}
	s, err := d.until(ctx, func(s span) string {
		if a.missing == nil {
			return ""
		}
		s.was = was
		return a.missing(s)
	})
	if err != nil {
		return r, err
	}
	r.took = time.Since(start)
	s.was, s.begin = was, s.now
	if err := d.watch(ctx, length); err != nil {
		return r, err
	}
	if s.now, err = d.look(ctx); err != nil {
		return r, err
	}
	r.wrong = unharmed(s.was, s.now, a.unharmed...)
	if a.wrong != nil {
		r.wrong = append(r.wrong, a.wrong(s)...)
	}
	r.count(s, a.unharmed)
	if a.tell != nil {
		for _, line := range a.tell(s) {
			d.Say("   %s", line)
		}
	}
	d.Say("   %s", r.verdict())
	for _, w := range r.wrong {
		d.Say("   WRONG: %s", w)
	}
	return r, nil
}

// until waits until nothing is missing, at two looks in a row: a call may have been on its way. A busy machine may take its time.
func (d *director) until(ctx context.Context, missing func(span) string) (s span, err error) {
	late := time.NewTimer(time.Minute)
	defer late.Stop()
	if s.now, err = d.look(ctx); err != nil {
		return s, err
	}
	for whole := 0; ; {
		s.last = s.now
		rest(ctx, 250*time.Millisecond)
		if s.now, err = d.look(ctx); err != nil {
			return s, err
		}
		what := missing(s)
		if whole++; what != "" {
			whole = 0
		}
		if whole == 2 {
			return s, nil
		}
		d.Show(table(d.names, s.now), "")
		select {
		case <-late.C:
			return s, fmt.Errorf("not within a minute: %s", what)
		default:
		}
	}
}

// watch shows the table for a while.
func (d *director) watch(ctx context.Context, length time.Duration) error {
	for end := time.Now().Add(length); time.Now().Before(end); {
		rest(ctx, min(500*time.Millisecond, time.Until(end)))
		now, err := d.look(ctx)
		if err != nil {
			return err
		}
		d.Show(table(d.names, now), line(now))
	}
	return ctx.Err()
}
