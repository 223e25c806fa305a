package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds"
)

const (
	manyClients  = 100
	manyServices = 100
	watchedByOne = 10
	// mostPropagation bounds the 99th percentile, in ms.
	mostPropagation = 300
	patience        = 20 * time.Second
)

// A plane is a control server whose routes can be given another time-out.
type plane struct {
	name string
	addr string
	set  func(changed, ms int) error
	stop func()
}

// A fleet is clients of one plane.
type fleet struct {
	plane   plane
	clients []*xds.Client
	seen    chan time.Time

	mu   sync.Mutex
	want time.Duration
}

// comparePropagation measures how long after a change every client has it: our
// control server from the saving of a file, go-control-plane from the call that sets its snapshot.
func comparePropagation(e effort) (table, error) {
	t := table{
		Title: fmt.Sprintf("From a change to %d connected clients (ours), over TCP in one process", manyClients),
		Note: fmt.Sprintf("%d services of 3 endpoints, each client watches %d. weft: from before the YAML is written. go-control-plane: from before SetSnapshot,\n"+
			"without any file; its snapshot cache, delta. Each column is of all samples of a side together.", manyServices, watchedByOne),
	}
	for _, changed := range []int{1, manyServices} {
		ours, err := ourPlane()
		if err != nil {
			return t, err
		}
		theirs, err := goControlPlane()
		if err != nil {
			ours.stop()
			return t, err
		}
		took, err := propagate(e, changed, ours, theirs)
		ours.stop()
		theirs.stop()
		if err != nil {
			return t, err
		}
		for _, q := range []struct {
			name string
			at   float64
			most *ceiling
		}{{"p50", 0.5, nil}, {"p99", 0.99, &ceiling{Most: mostPropagation, Absolute: true}}, {"max", 1, nil}} {
			a, b := quantile(took[0], q.at), quantile(took[1], q.at)
			t.Rows = append(t.Rows, row{
				What: fmt.Sprintf("%d of %d services change, %s", changed, manyServices, q.name), Subject: ours.name, Peer: theirs.name,
				Of: figure{a, quantile(took[0], 0), "ms"}, PeerOf: figure{b, quantile(took[1], 0), "ms"},
				Ratio: true, Against: a / b, Ceiling: q.most,
			})
		}
	}
	return t, nil
}

// propagate has the planes change in turns, and returns how long each client of each took to know, in ms.
func propagate(e effort, changed int, planes ...plane) (took [][]float64, err error) {
	took = make([][]float64, len(planes))
	var fleets []*fleet
	defer func() {
		for _, f := range fleets {
			err = errors.Join(err, f.close())
		}
	}()
	for _, p := range planes {
		if err := p.set(changed, 1000); err != nil {
			return nil, err
		}
		f, err := newFleet(p, changed)
		if err != nil {
			return nil, err
		}
		fleets = append(fleets, f)
	}
	for n := -1; n < e.Changes; n++ { // the first warms up
		for i, f := range fleets {
			ms, err := f.change(changed, 1002+n)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", planes[i].name, err)
			}
			if n >= 0 {
				took[i] = append(took[i], ms...)
			}
		}
	}
	return took, nil
}

// newFleet connects clients that watch some of the services each, and the first
// of all where only that one changes.
func newFleet(p plane, changed int) (*fleet, error) {
	f := &fleet{plane: p, seen: make(chan time.Time, manyClients)}
	b, err := xds.BootstrapFor(p.addr)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for c := range manyClients {
		client, err := xds.New(xds.Config{Bootstrap: b})
		if err != nil {
			return nil, errors.Join(err, f.close())
		}
		f.clients = append(f.clients, client)
		for w := range watchedByOne {
			first := w == 0
			i := (c*watchedByOne + w) % manyServices
			if first && changed == 1 {
				i = 0
			}
			client.Watch(numbered(i), func(s *resolver.Service, err error) {
				if !first || err != nil || len(s.VirtualHosts) == 0 {
					return
				}
				f.mu.Lock()
				defer f.mu.Unlock()
				if s.VirtualHosts[0].Routes[0].Policy.Timeout == f.want {
					f.seen <- time.Now()
				}
			})
		}
	}
	for _, client := range f.clients {
		if err := client.Ready(ctx); err != nil {
			return nil, errors.Join(err, f.close())
		}
	}
	return f, nil
}

func (f *fleet) change(changed, ms int) (took []float64, err error) {
	f.mu.Lock()
	f.want = time.Duration(ms) * time.Millisecond
	f.mu.Unlock()
	start := time.Now()
	if err := f.plane.set(changed, ms); err != nil {
		return nil, err
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	for range f.clients {
		select {
		case at := <-f.seen:
			took = append(took, float64(at.Sub(start).Microseconds())/1000)
		case <-late.C:
			return nil, fmt.Errorf("after %v only %d of %d clients have a change", patience, len(took), len(f.clients))
		}
	}
	return took, nil
}

func (f *fleet) close() error {
	var all error
	for _, c := range f.clients {
		all = errors.Join(all, c.Close())
	}
	return all
}

func numbered(i int) string { return fmt.Sprintf("svc-%03d", i) }

// ourPlane is our control server over files.
func ourPlane() (plane, error) {
	dir, err := os.MkdirTemp("", "weft-bench")
	if err != nil {
		return plane{}, err
	}
	var services strings.Builder
	for i := range manyServices {
		services.WriteString(entry(numbered(i), "HTTP", 80, []string{"10.0.0.1:80", "10.0.0.2:80", "10.0.0.3:80"}))
	}
	set := func(changed, ms int) error {
		var routes strings.Builder
		for i := range changed {
			routes.WriteString(timeout(numbered(i), ms))
		}
		return save(dir, "routes.yaml", routes.String())
	}
	if err := errors.Join(save(dir, "services.yaml", services.String()), set(manyServices, 999)); err != nil {
		return plane{}, err
	}
	addr, stop, err := runControl(dir)
	return plane{name: "weft", addr: addr, set: set, stop: stop}, err
}

// save writes a file as editors and configuration tools do: beside, then renamed.
func save(dir, name, text string) error {
	tmp := filepath.Join(dir, "."+name+".tmp")
	if err := os.WriteFile(tmp, []byte(text), 0o600); err != nil {
		return err
	}
	return os.Rename(tmp, filepath.Join(dir, name))
}
