// Command identity shows how a mesh gets from "anybody may call anybody" to "no stranger gets in" while it
// is used: plaintext, permissive, strict, and back and forth; a root replaced; a policy tightened; an identity revoked. Two services, accounts
// over HTTP and payments over gRPC, are called all the time by three processes of the bank, and by two that do not
// belong to it. What is claimed is counted, by who calls and by the handlers that are called.
//
//	go run ./examples/identity    # the whole story, about a minute
//
// One program plays every part: started without arguments it directs, and starts itself
// again for the rest. Read steps/*.yaml first: they are what an operator does. Then see part.go
// for what a process does to have an identity, and acts.go for the story.
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
	flag.StringVar(&p.role, "role", "", "play one part: control, accounts, payments, member, plain or impostor")
	flag.StringVar(&p.name, "name", "", "name of the part")
	flag.StringVar(&p.control, "control", "", "address of the control server")
	flag.StringVar(&p.config, "config", "", "directory with the configuration (control)")
	flag.StringVar(&p.state, "state", "", "directory of the authority (control)")
	flag.StringVar(&p.accounts, "accounts", "", "address of a server, for those who are not of the mesh")
	flag.StringVar(&p.payments, "payments", "", "address of a server, for those who are not of the mesh")
	flag.IntVar(&p.rate, "rate", 20, "calls per second of each caller and protocol")
	flag.DurationVar(&d.length, "for", 60*time.Second, "how long the story takes; 25 s of it are the life of certificates")
	flag.Parse()
	d.rate = p.rate

	if p.role != "" {
		os.Exit(p.play())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	held, err := d.run(ctx)
	err = stage.Interrupted(ctx, err)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "identity:", err)
		os.Exit(1)
	case !held:
		os.Exit(1)
	}
}
