package engine

import (
	"context"
	"testing"

	"github.com/weftmesh/weft/resilience"
)

// BenchmarkServe is what the mesh adds to a call it serves, but for the protocol: the one
// allocation is the caller's, of the call itself.
func BenchmarkServe(b *testing.B) {
	e, m := newEngine(b, nil)
	if _, err := e.Listen(tcp(8080)); err != nil {
		b.Fatal(err)
	}
	_ = m
	local := tcp(8080)
	handle := func(context.Context) resilience.Outcome { return resilience.Outcome{Status: 200} }
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		c := &InboundCall{Local: local}
		c.Request.Path = "/"
		e.Serve(ctx, c, handle)
	}
}
