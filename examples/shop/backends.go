package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	"google.golang.org/grpc"

	"github.com/weftmesh/weft/examples/shop/shoppb"
)

// work takes a few milliseconds, as real work would, unless the caller gives up.
func work(ctx context.Context, least, most time.Duration) error {
	t := time.NewTimer(least + rand.N(most-least))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// inventory reserves goods.
type inventory struct{}

func (inventory) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if work(r.Context(), time.Millisecond, 3*time.Millisecond) == nil {
		fmt.Fprintf(w, "reserved for order %s\n", r.FormValue("order"))
	}
}

// payments takes the money.
type payments struct {
	shoppb.UnimplementedPaymentsServer
	part *part
}

func (p payments) register(s *grpc.Server) { shoppb.RegisterPaymentsServer(s, p) }

func (p payments) Charge(ctx context.Context, r *shoppb.ChargeRequest) (*shoppb.ChargeReply, error) {
	if err := work(ctx, 2*time.Millisecond, 5*time.Millisecond); err != nil {
		return nil, err
	}
	return &shoppb.ChargeReply{Receipt: "R" + r.GetOrder(), Version: p.part.version, Instance: p.part.instance}, nil
}

// shipping tells where a parcel is.
type shipping struct {
	shoppb.UnimplementedShippingServer
	part *part
}

func (p shipping) register(s *grpc.Server) { shoppb.RegisterShippingServer(s, p) }

func (p shipping) Track(r *shoppb.TrackRequest, stream grpc.ServerStreamingServer[shoppb.TrackEvent]) error {
	for _, place := range []string{"packed", "at the depot", "delivered"} {
		if err := work(stream.Context(), time.Millisecond, 2*time.Millisecond); err != nil {
			return err
		}
		if err := stream.Send(&shoppb.TrackEvent{Place: place, Instance: p.part.instance}); err != nil {
			return err
		}
	}
	return nil
}
