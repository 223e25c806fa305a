package interop

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// patience bounds every wait; what takes longer fails the test.
const patience = 20 * time.Second

// A request is what a test sends through a door.
type request struct {
	path   string // of HTTP, perhaps with a query; or the full method of gRPC
	method string // of HTTP; empty means GET
	host   string // of HTTP: the Host header if it is not the name of the service
	header map[string]string
}

// A door sends a request and returns the name of the backend that answered it.
type door func(ctx context.Context, r request) (string, error)

// grpcDoor calls over a connection.
func grpcDoor(conn *grpc.ClientConn) door {
	return func(ctx context.Context, r request) (string, error) {
		ctx = metadata.NewOutgoingContext(ctx, metadata.New(r.header))
		var reply wrapperspb.StringValue
		err := conn.Invoke(ctx, cmp.Or(r.path, "/shop.Payments/Charge"), &emptypb.Empty{}, &reply)
		return reply.GetValue(), err
	}
}

// httpDoor calls a base URL such as "http://payments". An answer other than 200 is an error.
func httpDoor(client *http.Client, base string) door {
	return func(ctx context.Context, r request) (string, error) {
		req, err := http.NewRequestWithContext(ctx, cmp.Or(r.method, http.MethodGet), base+r.path, http.NoBody)
		if err != nil {
			return "", err
		}
		req.Host = r.host
		for k, v := range r.header {
			req.Header.Set(k, v)
		}
		resp, err := client.Do(req)
		if err != nil {
			return "", err
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != http.StatusOK {
			err = fmt.Errorf("status %d: %s", resp.StatusCode, body)
		}
		return string(body), err
	}
}

// version is the part of a backend's name before the dot: "v1" of "v1.2".
func version(backend string) string {
	v, _, _ := strings.Cut(backend, ".")
	return v
}

// one sends one request, which must be answered, and returns the version that did.
func (d door) one(t *testing.T, r request) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	who, err := d(ctx, r)
	if err != nil {
		t.Fatalf("%+v: %v", r, err)
	}
	return version(who)
}

// many sends a request n times; all must be answered. It counts who did.
func (d door) many(t *testing.T, n int, r request) map[string]int {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	counts := map[string]int{}
	for range n {
		who, err := d(ctx, r)
		if err != nil {
			t.Fatalf("%+v: %v", r, err)
		}
		counts[who]++
	}
	return counts
}

// split checks that the versions' shares of n calls are as wanted, in percent,
// within four standard deviations.
func (d door) split(t *testing.T, n int, r request, want map[string]int) {
	t.Helper()
	checkSplit(t, d.many(t, n, r), want)
}

func checkSplit(t *testing.T, counts map[string]int, want map[string]int) {
	t.Helper()
	n, got := 0, map[string]int{}
	for who, c := range counts {
		got[version(who)] += c
		n += c
	}
	for v := range got {
		if want[v] == 0 {
			t.Errorf("%s answered %d of %d calls, and should have answered none", v, got[v], n)
		}
	}
	for v, percent := range want {
		p := float64(percent) / 100
		expect, sigma := p*float64(n), math.Sqrt(p*(1-p)*float64(n))
		if math.Abs(float64(got[v])-expect) > 4*sigma {
			t.Errorf("%s answered %d of %d calls, want %.0f ± %.0f", v, got[v], n, expect, 4*sigma)
		}
	}
}

// settles waits until the request is answered by the version, ten times in a row.
func (d door) settles(t *testing.T, r request, want string) {
	t.Helper()
	var last string
	var lastErr error
	ok := eventually(func() bool {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		for range 10 {
			if last, lastErr = d(ctx, r); lastErr != nil || version(last) != want {
				return false
			}
		}
		return true
	})
	if !ok {
		t.Fatalf("%+v is answered by %q, %v; want %s", r, last, lastErr, want)
	}
}

// eventually asks a question again and again until the answer is yes, or patience ends.
func eventually(question func() bool) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	end := time.NewTimer(patience)
	defer end.Stop()
	for !question() {
		select {
		case <-tick.C:
		case <-end.C:
			return false
		}
	}
	return true
}
