package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"

	"google.golang.org/grpc/metadata"

	"github.com/weftmesh/weft/mesh"
)

// clients is the process that makes the calls.
type clients struct {
	ctx    context.Context // of HTTP requests; it can be canceled, as that of most can
	effort effort
	where  addresses
	mesh   *mesh.Mesh
	in     *json.Decoder
	out    *json.Encoder
}

// callBackends takes an order, compares what it says, and reports the tables.
func callBackends(in io.Reader, out io.Writer) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	c := &clients{ctx: ctx, in: json.NewDecoder(in), out: json.NewEncoder(out)}
	var o order
	if err := c.in.Decode(&o); err != nil {
		return err
	}
	c.effort, c.where = o.Effort, o.Where
	m, err := mesh.New(ctx, mesh.WithControlServer(c.where.Control), mesh.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		return err
	}
	c.mesh = m
	defer m.Close() //nolint:errcheck // the process ends
	if o.Effort.Profile != "" {
		if err := c.profile(o.Effort.Profile); err != nil {
			return err
		}
		return c.out.Encode(note{})
	}
	var n note
	for _, part := range []func() (table, error){c.allocations, c.processorTime, c.processorTimeHTTP} {
		t, err := part()
		if err != nil {
			return err
		}
		n.Tables = append(n.Tables, t)
	}
	return c.out.Encode(n)
}

// The ceilings of issue 2, section F.
const (
	mostUnary    = 4
	mostMetadata = 8
	mostHTTP     = 6
)

// allocations compares what a call allocates. Peers of gRPC have the mesh's
// flow-control windows too, at both ends: without the estimator's pings plain gRPC allocates less.
func (c *clients) allocations() (table, error) {
	t := table{
		Title: "Allocations a call, in the process of the client",
		Note:  "Over 10 backends (HTTP: one) in another process, 100 bytes each way; the same windows and backends for all of gRPC.",
	}
	four := metadata.Pairs("a", "1", "b", "2", "c", "3", "d", "4")
	last := metadata.Pairs("x-route", "99")
	for _, v := range []struct {
		what, service string
		md            metadata.MD
		most          *ceiling
	}{
		{"gRPC unary", serviceSimple, nil, &ceiling{Most: mostUnary, Asserted: true}},
		{"gRPC unary, 4 metadata", serviceSimple, four, &ceiling{Most: mostMetadata, Asserted: true}},
		{"gRPC unary, 4 metadata, header route", serviceTested, four, &ceiling{Most: mostMetadata, Asserted: true}},
		{"gRPC unary, the last of 100 header routes", serviceHundred, last, &ceiling{Most: mostMetadata, Asserted: true}},
	} {
		weft, err := c.weft("weft", v.service, v.md)
		if err != nil {
			return t, err
		}
		xds, err := c.grpcXDS("grpc-go xDS", v.service, v.md, windows()...)
		if err != nil {
			return t, err
		}
		plain, err := c.roundRobin("plain grpc-go", c.where.Mesh, v.md, windows()...)
		if err != nil {
			return t, err
		}
		sides := []side{weft, xds, plain}
		s, err := rounds(c.effort.brief(), 1, sides)
		if err != nil {
			return t, err
		}
		t.Rows = append(t.Rows,
			compared(v.what, weft, plain, s[0], s[2], "allocs", false, v.most),
			compared(v.what, xds, plain, s[1], s[2], "allocs", false, nil))
	}
	served, err := c.serverAllocations()
	if err != nil {
		return t, err
	}
	t.Rows = append(t.Rows, served)
	for _, w := range c.webs() {
		s, err := rounds(c.effort.brief(), 1, []side{w.weft, w.plain})
		if err != nil {
			return t, err
		}
		t.Rows = append(t.Rows, compared(w.what, w.weft, w.plain, s[0], s[1], "allocs", false, &ceiling{Most: mostHTTP, Asserted: true}))
	}
	return t, nil
}

// serverAllocations compares what backends with and without the mesh's options
// allocate for the same calls.
func (c *clients) serverAllocations() (row, error) {
	with, err := c.roundRobin("weft", c.where.Mesh, nil, windows()...)
	if err != nil {
		return row{}, err
	}
	without, err := c.roundRobin("an idle interceptor", c.where.Static, nil, windows()...)
	if err != nil {
		return row{}, err
	}
	sides := []side{with, without}
	samples := make([][]sample, len(sides))
	e := c.effort.brief()
	for round := -1; round < e.Rounds; round++ {
		for i, s := range sides {
			before, err := c.served()
			if err != nil {
				return row{}, err
			}
			if _, err := turn(s.call, 1, e.Calls); err != nil {
				return row{}, err
			}
			after, err := c.served()
			if err != nil {
				return row{}, err
			}
			if round >= 0 {
				samples[i] = append(samples[i], sample{allocs: float64(after-before) / float64(e.Calls)})
			}
		}
	}
	return compared("gRPC unary, at the server", with, without, samples[0], samples[1], "allocs", false, nil), nil
}

// served asks how much the backends have allocated.
func (c *clients) served() (mallocs uint64, err error) {
	if err = c.out.Encode(note{}); err == nil {
		err = c.in.Decode(&mallocs)
	}
	return mallocs, err
}

// processorTime compares what a gRPC call over ten backends costs the client's process.
func (c *clients) processorTime() (table, error) {
	t := table{
		Title: "Processor time of the client's process a call, gRPC unary over 10 backends",
		Note: "Defaults: as gRPC makes clients and servers. Same windows: with those of the mesh's options at both ends.\n" +
			"A side's figure is the mean of its turns but for the two worst. The ratio of a peer to itself is the noise.",
	}
	sides := make([]side, 7)
	for i, dial := range []func() (side, error){
		func() (side, error) { return c.roundRobin("plain round_robin, defaults", c.where.Plain, nil) },
		func() (side, error) { return c.roundRobin("the same again", c.where.Plain, nil) },
		func() (side, error) {
			return c.roundRobin("plain round_robin, same windows", c.where.Mesh, nil, windows()...)
		},
		func() (side, error) { return c.grpcXDS("grpc-go xDS, defaults", serviceAsIs, nil) },
		func() (side, error) { return c.grpcXDS("grpc-go xDS, same windows", serviceSimple, nil, windows()...) },
		func() (side, error) { return c.weft("weft, both ends", serviceSimple, nil) },
		func() (side, error) { return c.weft("weft, client only", serviceAsIs, nil) },
	} {
		s, err := dial()
		if err != nil {
			return t, err
		}
		sides[i] = s
	}
	const plain, again, plainSame, xds, xdsSame, both, only = 0, 1, 2, 3, 4, 5, 6
	for _, callers := range []int{1, 8} {
		what := fmt.Sprintf("%d at a time", callers)
		s, err := rounds(c.effort, callers, sides)
		if err != nil {
			return t, err
		}
		add := func(subject, peer int, most *ceiling) {
			t.Rows = append(t.Rows, compared(what, sides[subject], sides[peer], s[subject], s[peer], "us", true, most))
		}
		add(both, plain, &ceiling{Most: 1})
		add(only, plain, &ceiling{Most: 1})
		add(both, plainSame, nil)
		add(both, xds, &ceiling{Most: 1})
		add(both, xdsSame, nil)
		add(xds, plain, nil)
		add(xdsSame, plainSame, nil)
		add(again, plain, nil)
	}
	return t, nil
}

// processorTimeHTTP compares what an HTTP request costs the client's process.
func (c *clients) processorTimeHTTP() (table, error) {
	t := table{Title: "Processor time of the client's process a request, HTTP to one backend"}
	e := c.effort
	e.Rounds = (2*e.Rounds + 2) / 3
	for _, w := range c.webs() {
		for _, callers := range []int{1, 8} {
			again := w.plain
			again.name = "the same again"
			s, err := rounds(e, callers, []side{w.weft, w.plain, again})
			if err != nil {
				return t, err
			}
			what := fmt.Sprintf("%s, %d at a time", w.what, callers)
			t.Rows = append(t.Rows,
				compared(what, w.weft, w.plain, s[0], s[1], "us", true, nil),
				compared(what, again, w.plain, s[2], s[1], "us", true, nil))
		}
	}
	return t, nil
}
