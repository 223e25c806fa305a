// Command load measures what the policies of the mesh are worth: it drives real processes on
// loopback by an open loop (calls are made when they are due, whether or not the last ones
// were answered), breaks them, and prints what the callers saw beside plain gRPC and net/http and
// beside Envoy sidecars with the same configuration.
//
//	go run ./load                                  # all figures, about 20 minutes
//	go run ./load --only faults --for 30s          # one of: faults storm overload outage hedge flood rotation csr
//
// Envoy is measured where WEFT_ENVOY names its binary. Packets are lost where the
// process may make a network namespace and nft is installed.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/weftmesh/weft/examples/stage"
)

// A bench is one run of the program.
type bench struct {
	*stage.Cast
	length time.Duration
	rate   int
	sides  []string
	dir    string // for configurations and logs
	envoys int    // so far

	trouble string // which, of the figure faults; "" is all
}

func main() {
	var p part
	b := &bench{}
	flag.StringVar(&p.role, "role", "", "play one part: backend, hop, control, authority or member")
	flag.StringVar(&p.name, "name", "", "name of the part")
	flag.StringVar(&p.ip, "ip", "", "where the part listens")
	flag.StringVar(&p.control, "control", "", "address of the control server")
	flag.StringVar(&p.next, "next", "", "service that a hop calls")
	flag.StringVar(&p.config, "config", "", "directory with the configuration (control)")
	flag.StringVar(&p.state, "state", "", "directory of the authority")
	flag.StringVar(&p.roots, "roots", "", "file of the certificates that the authority is verified by")
	flag.DurationVar(&p.ttl, "ttl", 0, "life of certificates")
	flag.IntVar(&p.tries, "tries", 0, "how often a hop without the mesh tries")
	flag.IntVar(&p.workers, "workers", 0, "how many calls a backend works on at a time; 0 is any number")
	flag.Int64Var(&p.limit, "limit", 0, "how many calls a backend lets in at a time, refusing others at once; 0 is any number")
	flag.DurationVar(&p.work, "work", time.Millisecond, "how long a backend works on a call")
	only := flag.String("only", "", "figures, separated by commas")
	sides := flag.String("sides", "weft,plain,envoy", "who is measured")
	flag.DurationVar(&b.length, "for", 60*time.Second, "how long each fault, and the rotation, is measured")
	flag.IntVar(&b.rate, "rate", 1000, "calls a second over each protocol, of the figures faults and rotation")
	flag.StringVar(&b.trouble, "trouble", "", "one trouble of the figure faults, such as hung")
	flag.Parse()
	b.sides = strings.Split(*sides, ",")

	if p.role != "" {
		os.Exit(stage.Play("load: "+p.name, p.serve, p.hear))
	}
	if code, done := isolate(); done {
		os.Exit(code)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := b.run(ctx, *only)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "load:", stage.Interrupted(ctx, err))
		os.Exit(1)
	}
}

func (b *bench) run(ctx context.Context, only string) (err error) {
	if b.dir, err = os.MkdirTemp("", "weft-load-"); err != nil {
		return err
	}
	defer os.RemoveAll(b.dir) //nolint:errcheck // it is a temporary one
	if os.Getenv("WEFT_ENVOY") == "" && slices.Contains(b.sides, "envoy") {
		fmt.Println("Envoy is left out: WEFT_ENVOY does not name its binary.")
		b.sides = slices.DeleteFunc(b.sides, func(s string) bool { return s == "envoy" })
	}
	for _, f := range []struct {
		name    string
		measure func(context.Context) error
	}{
		{"faults", b.faults}, {"storm", b.storm}, {"overload", b.overload}, {"outage", b.outage}, {"hedge", b.hedge}, {"flood", b.flood},
		{"rotation", b.rotation}, {"csr", b.csr},
	} {
		if only != "" && !slices.Contains(strings.Split(only, ","), f.name) {
			continue
		}
		if err := f.measure(ctx); err != nil {
			return fmt.Errorf("%s: %w", f.name, err)
		}
	}
	return nil
}

// among plays a scene with a cast of its own.
func (b *bench) among(scene func() error) error {
	cast, err := stage.NewCast("control")
	if err != nil {
		return err
	}
	b.Cast = cast
	defer cast.Stop()
	return scene()
}
