package xds

import (
	"context"
	"errors"
	"net"
	"testing"

	"google.golang.org/grpc"
)

func TestDialsTheServerInUse(t *testing.T) {
	b, err := BootstrapFor("passthrough:///first", "passthrough:///second")
	if err != nil {
		t.Fatal(err)
	}
	refused := func(context.Context, string) (net.Conn, error) { return nil, errors.New("refused by the test") }
	c, err := New(Config{Bootstrap: b, DialOptions: []grpc.DialOption{grpc.WithContextDialer(refused)}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.Server(); got != "passthrough:///first" {
		t.Errorf("the server is %s", got)
	}
	conn, err := c.Dial(grpc.WithUserAgent("test"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.Target(); got != c.Server() {
		t.Errorf("it is dialed at %s", got)
	}
	c.Close()
	if conn, err := c.Dial(); !errors.Is(err, errClosed) {
		t.Errorf("after Close: %v, %v", conn, err)
	}
	if got := c.Server(); got != "passthrough:///first" {
		t.Errorf("after Close the server is %s", got)
	}
}
