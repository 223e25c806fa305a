// Command bench measures what the mesh costs and prints it as tables, each
// figure beside that of a peer measured in the same run. `make bench` runs it.
// docs/performance.md says how to read what it prints.
//
// Exit status 1 means that an allocation ceiling is broken. Times depend on the machine
// and what else it does: they are shown against their ceiling and fail nothing.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"google.golang.org/grpc"
)

// The roles in which the command starts itself again. Backends run in a process of
// their own, so that the client's counters are the client's alone.
const (
	roleBackends = "backends"
	roleCalls    = "calls"
)

func main() {
	var err error
	switch role := strings.Join(os.Args[1:min(2, len(os.Args))], ""); role {
	case roleBackends:
		err = serveBackends(os.Stdin, os.Stdout)
	case roleCalls:
		err = callBackends(os.Stdin, os.Stdout)
	default:
		err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// effort is how much is measured.
type effort struct {
	Rounds  int // of every comparison
	Calls   int // in each turn of a round, by one caller
	Changes int // of the configuration
	Profile string
}

func run() error {
	quick := flag.Bool("quick", false, "a few calls only: enough to hold the allocation ceilings, too few for times")
	count := flag.Int("rounds", 30, "how often each side has its turn")
	calls := flag.Int("calls", 500, "how many calls a turn has")
	profile := flag.String("profile", "", "profile one kind of call instead of comparing: gRPC, \"h2c GET\", \"HTTP/1.1 POST\" or \"plain \" and one of these; files go to out/")
	mtls := flag.Bool("mtls", false, "calls over mTLS alone")
	flag.Parse()
	e := effort{Rounds: *count, Calls: *calls, Changes: 20, Profile: *profile}
	if *quick {
		e.Rounds, e.Calls, e.Changes = 3, 300, 3
	}
	fmt.Printf("%s, grpc-go %s, %s/%s, %d processors, load %s, %s\n", runtime.Version(), grpc.Version, runtime.GOOS, runtime.GOARCH,
		runtime.NumCPU(), load(), time.Now().Format(time.DateOnly))
	measure := measureAll
	if *mtls {
		measure = func(e effort) ([]table, error) {
			t, err := compareSecure(e)
			return []table{t}, err
		}
	}
	tables, err := measure(e)
	if err != nil {
		return err
	}
	broken := false
	for _, t := range tables {
		t.print(os.Stdout)
		broken = broken || t.broken()
	}
	fmt.Printf("\nload at the end %s\n", load())
	if broken {
		return errors.New("a ceiling on allocations is broken")
	}
	return nil
}

// measureAll takes the parts one after the other, so that none disturbs another.
func measureAll(e effort) ([]table, error) {
	calls, err := compareCalls(e)
	if err != nil {
		return nil, fmt.Errorf("calls: %w", err)
	}
	if e.Profile != "" {
		return nil, nil
	}
	engine, err := measureEngine(e)
	if err != nil {
		return nil, fmt.Errorf("engine: %w", err)
	}
	spread, err := comparePropagation(e)
	if err != nil {
		return nil, fmt.Errorf("propagation: %w", err)
	}
	secure, err := compareSecure(e)
	if err != nil {
		return nil, fmt.Errorf("mTLS: %w", err)
	}
	return append(append([]table{engine}, calls...), secure, spread), nil
}

// compareCalls has a process of backends and one of clients, each on processors
// of its own where there are two or more, and waits for what the clients measure.
func compareCalls(e effort) ([]table, error) {
	client, server := processors()
	backends, err := start(server, roleBackends)
	if err != nil {
		return nil, err
	}
	defer backends.stop()
	calls, err := start(client, roleCalls)
	if err != nil {
		return nil, err
	}
	defer calls.stop()
	var where addresses
	if err := backends.answer(&where); err != nil {
		return nil, err
	}
	if err := calls.ask(order{e, where}); err != nil {
		return nil, err
	}
	for {
		// The clients ask the backends' process how much it allocated.
		var n note
		if err := calls.answer(&n); err != nil {
			return nil, err
		}
		if n.Tables != nil || e.Profile != "" {
			return n.Tables, nil
		}
		var mallocs uint64
		if err := backends.ask(struct{}{}); err != nil {
			return nil, err
		}
		if err := backends.answer(&mallocs); err != nil {
			return nil, err
		}
		if err := calls.ask(mallocs); err != nil {
			return nil, err
		}
	}
}

// An order is what the clients' process is told.
type order struct {
	Effort effort
	Where  addresses
}

// A note of the clients' process holds what it has measured, or without that asks how much the backends allocated.
type note struct{ Tables []table }

// A child is this command in another role. It is spoken to in JSON.
type child struct {
	cmd *exec.Cmd
	in  *json.Encoder
	out *json.Decoder
	end func() error
}

func start(cpus []int, role string) (*child, error) {
	c := &child{cmd: exec.Command(os.Args[0], role)} //nolint:noctx,gosec // ends with its input; it is this command
	c.cmd.Stderr = os.Stderr
	in, err := c.cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c.in, c.out, c.end = json.NewEncoder(in), json.NewDecoder(out), in.Close
	return c, startOn(cpus, c.cmd)
}

func (c *child) ask(v any) error    { return c.in.Encode(v) }
func (c *child) answer(v any) error { return c.out.Decode(v) }

// stop ends the child, which does so when its input ends, and waits for it.
func (c *child) stop() {
	if err := errors.Join(c.end(), c.cmd.Wait()); err != nil {
		fmt.Fprintf(os.Stderr, "bench: %s: %v\n", c.cmd.Args[1], err)
	}
}

// load is the machine's, of the last minutes.
func load() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	return strings.Join(strings.Fields(string(b))[:3], " ")
}
