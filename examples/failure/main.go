// Command failure shows what the policies of a mesh are for: a chain of real processes
// (checkout over HTTP, payments over gRPC, four ledgers over HTTP) in which one ledger is
// slow, failing, hung or dead, or too much is asked of all of them. Each trouble is met twice, first
// without and then with a policy, under the same traffic.
//
//	go run ./examples/failure                # the whole story, about a minute
//	go run ./examples/failure --only hung    # one trouble of it
//
// One program plays every part: started without arguments it directs, and starts
// itself again for the rest. Read policies/*.yaml first: they are all that differs.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/weftmesh/weft/examples/stage"
)

func main() {
	var p part
	var d director
	flag.StringVar(&p.role, "role", "", "play one part: control, checkout, payments or ledger")
	flag.StringVar(&p.name, "name", "", "name of the part")
	flag.StringVar(&p.control, "control", "", "address of the control server")
	flag.StringVar(&p.config, "config", "", "directory with the configuration (control)")
	flag.DurationVar(&d.length, "for", 60*time.Second, "how long the story takes")
	flag.IntVar(&d.rate, "rate", 100, "calls per second")
	flag.StringVar(&d.only, "only", "", "one trouble: slow, failing, hung, killed or overload")
	flag.Parse()

	if p.role != "" {
		os.Exit(p.play())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	held, err := d.run(ctx)
	err = stage.Interrupted(ctx, err)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "failure:", err)
		os.Exit(1)
	case !held:
		os.Exit(1)
	}
}
