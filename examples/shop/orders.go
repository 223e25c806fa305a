package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"

	"github.com/weftmesh/weft/examples/shop/shoppb"
	"github.com/weftmesh/weft/mesh"
)

// A hop is one call an order took, as its caller saw it. Hops travel back with
// the answer, so that the director knows who did the work.
type hop struct {
	Service  string  `json:"service"`
	Version  string  `json:"version"`
	Instance string  `json:"instance"`
	Millis   float64 `json:"millis"`
	Error    string  `json:"error,omitempty"`
}

// A receipt is the answer to an order.
type receipt struct {
	Order   string `json:"order"`
	Receipt string `json:"receipt,omitempty"`
	Error   string `json:"error,omitempty"`
	Hops    []hop  `json:"hops"`
}

// orders takes an order: it reserves the goods (HTTP), takes the money (gRPC)
// and waits for the parcel to be on its way (gRPC stream).
type orders struct {
	client   *http.Client
	payments *grpc.ClientConn
	shipping *grpc.ClientConn
}

func newOrders(m *mesh.Mesh) (*orders, error) {
	o := &orders{client: &http.Client{Transport: m.RoundTripper()}}
	var err error
	if o.payments, err = grpc.NewClient("mesh:///payments", m.DialOptions()...); err != nil {
		return nil, err
	}
	o.shipping, err = grpc.NewClient("mesh:///shipping", m.DialOptions()...)
	return o, err
}

func (o *orders) close() {
	o.payments.Close()
	o.shipping.Close()
}

func (o *orders) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	out := receipt{Order: r.URL.Query().Get("order")}
	ctx := r.Context()
	if t := r.Header.Get("X-Tester"); t != "" {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-tester", t)
	}
	for _, step := range []func(context.Context, *receipt) error{o.reserve, o.charge, o.ship} {
		if err := step(ctx, &out); err != nil {
			out.Error = err.Error()
			w.WriteHeader(http.StatusBadGateway)
			break
		}
	}
	json.NewEncoder(w).Encode(out) // the caller went away, if anything
}

// reserve is a plain HTTP call: the host is the name of the service.
func (o *orders) reserve(ctx context.Context, out *receipt) error {
	h, _, err := get(ctx, o.client, "http://inventory/reserve?order="+out.Order, "inventory", "")
	out.Hops = append(out.Hops, h)
	return err
}

// charge is a unary RPC.
func (o *orders) charge(ctx context.Context, out *receipt) error {
	start := time.Now()
	reply, err := shoppb.NewPaymentsClient(o.payments).Charge(ctx, &shoppb.ChargeRequest{Order: out.Order, Cents: 1999})
	h := hop{Service: "payments", Version: reply.GetVersion(), Instance: reply.GetInstance(), Millis: millis(start)}
	if err != nil {
		h.Error = err.Error()
	}
	out.Receipt, out.Hops = reply.GetReceipt(), append(out.Hops, h)
	return err
}

// ship is a server stream.
func (o *orders) ship(ctx context.Context, out *receipt) error {
	start := time.Now()
	h := hop{Service: "shipping", Version: "v1"}
	err := func() error {
		stream, err := shoppb.NewShippingClient(o.shipping).Track(ctx, &shoppb.TrackRequest{Order: out.Order})
		if err != nil {
			return err
		}
		for {
			event, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				return nil
			}
			if err != nil {
				return err
			}
			h.Instance = event.GetInstance()
		}
	}()
	h.Millis = millis(start)
	if err != nil {
		h.Error = err.Error()
	}
	out.Hops = append(out.Hops, h)
	return err
}

// get calls a service over HTTP and returns the hop and the body.
func get(ctx context.Context, client *http.Client, url, service, tester string) (hop, []byte, error) {
	start := time.Now()
	h := hop{Service: service}
	body, err := func() ([]byte, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return nil, err
		}
		if tester != "" {
			req.Header.Set("X-Tester", tester)
		}
		resp, err := client.Do(req)
		if err != nil {
			return nil, err
		}
		defer resp.Body.Close()
		h.Version, h.Instance = resp.Header.Get("X-Version"), resp.Header.Get("X-Instance")
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode >= 500 {
			err = fmt.Errorf("%s answers %s", service, resp.Status)
		}
		return body, err
	}()
	h.Millis = millis(start)
	if err != nil {
		h.Error = err.Error()
	}
	return h, body, err
}

func millis(start time.Time) float64 { return float64(time.Since(start)) / float64(time.Millisecond) }
