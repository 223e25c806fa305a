package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strings"
	"time"
)

// profiled is how long calls are made under each profile.
const profiled = 5 * time.Second

// profile makes one kind of call and writes where the processor's time went and what was allocated.
func (c *clients) profile(kind string) error {
	s, err := c.named(kind)
	if err != nil {
		return err
	}
	file := filepath.Join("out", strings.NewReplacer("/", "", " ", "-").Replace(kind))
	if err := os.MkdirAll("out", 0o755); err != nil { //nolint:gosec // for whoever builds here
		return err
	}
	cpu, err := os.Create(file + ".cpu.prof")
	if err != nil {
		return err
	}
	defer cpu.Close()
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return err
	}
	calls, err := until(profiled, s)
	pprof.StopCPUProfile()
	if err != nil {
		return err
	}
	runtime.MemProfileRate = 1 << 10 // after the other, which it would disturb
	_, err = until(profiled, s)
	mem, e := os.Create(file + ".mem.prof")
	if e != nil {
		return e
	}
	defer mem.Close()
	fmt.Fprintf(os.Stderr, "%d calls; profiles are %s.*.prof\n", calls, file)
	return errors.Join(err, pprof.Lookup("allocs").WriteTo(mem, 0))
}

func (c *clients) named(kind string) (side, error) {
	name, plain := strings.CutPrefix(kind, "plain ")
	if name == "gRPC" && plain {
		return c.roundRobin(kind, c.where.Mesh, nil, windows()...)
	}
	if name == "gRPC" {
		return c.weft(kind, serviceSimple, nil)
	}
	for _, w := range c.webs() {
		if w.what == name && plain {
			return w.plain, nil
		}
		if w.what == name {
			return w.weft, nil
		}
	}
	return side{}, fmt.Errorf("there are no calls %q", kind)
}

func until(d time.Duration, s side) (calls int, err error) {
	for begin := time.Now(); time.Since(begin) < d && err == nil; calls++ {
		err = s.call()
	}
	return calls, err
}
