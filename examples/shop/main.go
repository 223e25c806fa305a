// Command shop is weft's showpiece: a shop of real processes on loopback that
// call each other through the mesh, over HTTP and gRPC, while their routing is
// changed by editing YAML and some of them are killed.
//
//	go run ./examples/shop            # the whole story, about 45 seconds
//	go run ./examples/shop --keep     # the same, and then the shop stays open
//
// Its parts speak mutual TLS, and know each other by the identities that the control server
// certifies: see identity/identity.yaml for who may call whom, and identity.go. --insecure does without.
//
// One program plays every part: started without arguments it directs, and starts
// itself again as the control server and as each instance of each service. Read
// orders.go first: it is what a service looks like.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

func main() {
	var p part
	var d director
	flag.StringVar(&p.role, "role", "", "play one part: control, storefront, orders, inventory, payments or shipping")
	flag.StringVar(&p.version, "version", "v1", "version of the part")
	flag.StringVar(&p.instance, "instance", "", "name of the instance")
	flag.StringVar(&p.control, "control", "", "address of the control server")
	flag.StringVar(&p.config, "config", "", "directory with the configuration (control)")
	flag.StringVar(&p.state, "state", "", "directory of the authority; without, there is none (control)")
	flag.DurationVar(&d.length, "for", 45*time.Second, "how long the story takes")
	flag.IntVar(&d.rate, "rate", 100, "orders per second")
	flag.BoolVar(&d.keep, "keep", false, "leave the shop running when the story is over, until Ctrl-C")
	flag.BoolVar(&d.insecure, "insecure", false, "no identities: plaintext, and whoever asks is answered")
	flag.Parse()

	if p.role != "" {
		os.Exit(p.play())
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	held, err := d.run(ctx)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "shop:", err)
		os.Exit(1)
	case !held:
		os.Exit(1)
	}
}
