package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/weftmesh/weft/examples/shop/shoppb"
	"github.com/weftmesh/weft/mesh"
)

// visitors are the calls that reached a handler: by who the caller says he is, and by who he proved to be.
type visitors struct {
	mu      sync.Mutex
	seen    map[string]map[string]int
	running int // calls over plaintext
}

// enter counts a call, which ends when leave is called.
func (v *visitors) enter(ctx context.Context, says string) (leave func()) {
	proved, plain := "", 1
	if peer, ok := mesh.PeerFromContext(ctx); ok {
		proved, plain = peer.ID.String(), 0
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.seen[says] == nil {
		v.seen[says] = map[string]int{}
	}
	v.seen[says][proved]++
	v.running += plain
	return func() {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.running -= plain
	}
}

func (v *visitors) list() map[string]map[string]int {
	v.mu.Lock()
	defer v.mu.Unlock()
	out := map[string]map[string]int{}
	for says, by := range v.seen {
		out[says] = maps.Clone(by)
	}
	return out
}

func (v *visitors) plain() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.running
}

// served is what a server tells the director.
type served struct {
	papers
	Seen  map[string]map[string]int
	Plain int // calls that run over plaintext now
}

// accounts tell a balance, over HTTP.
type accounts struct{ *visitors }

func (a accounts) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer a.enter(r.Context(), r.FormValue("from"))()
	fmt.Fprintln(w, "19.99")
}

// payments move money, over gRPC.
type payments struct {
	shoppb.UnimplementedPaymentsServer
	*visitors
}

// Charge implements shoppb.PaymentsServer.
func (p payments) Charge(ctx context.Context, r *shoppb.ChargeRequest) (*shoppb.ChargeReply, error) {
	defer p.enter(ctx, r.GetOrder())()
	return &shoppb.ChargeReply{Receipt: "paid"}, nil
}

// postings are told as they happen, for as long as somebody listens.
type postings struct {
	shoppb.UnimplementedShippingServer
	*visitors
}

// Track implements shoppb.ShippingServer.
func (p postings) Track(r *shoppb.TrackRequest, stream grpc.ServerStreamingServer[shoppb.TrackEvent]) error {
	defer p.enter(stream.Context(), r.GetOrder())()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		if err := stream.Send(&shoppb.TrackEvent{Place: "posted"}); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-stream.Context().Done():
			return stream.Context().Err()
		}
	}
}
