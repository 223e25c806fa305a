package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"time"
)

// profiled is how long calls are made under a profile.
const profiled = 5 * time.Second

// profile makes one kind of call and writes where the processor's time went and what was allocated.
func (c *clients) profile(kind string) error {
	var s side
	var err error
	switch kind {
	case "gRPC":
		s, err = c.weft("weft", serviceSimple, nil)
	case "plain":
		s, err = c.roundRobin("plain", c.where.Mesh, nil, windows()...)
	case "HTTP":
		s = c.webs()[0].weft
	default:
		err = fmt.Errorf("there is no side %q", kind)
	}
	if err != nil {
		return err
	}
	if err := os.MkdirAll("out", 0o755); err != nil { //nolint:gosec // for whoever builds here
		return err
	}
	cpu, err := os.Create(filepath.Join("out", kind+".cpu.prof"))
	if err != nil {
		return err
	}
	defer cpu.Close()
	runtime.MemProfileRate = 1 << 10
	if err := pprof.StartCPUProfile(cpu); err != nil {
		return err
	}
	calls := 0
	for begin := time.Now(); time.Since(begin) < profiled && err == nil; calls++ {
		err = s.call()
	}
	pprof.StopCPUProfile()
	mem, e := os.Create(filepath.Join("out", kind+".mem.prof"))
	if e != nil {
		return e
	}
	defer mem.Close()
	fmt.Fprintf(os.Stderr, "%d calls; profiles are out/%s.*.prof\n", calls, kind)
	return errors.Join(err, pprof.Lookup("allocs").WriteTo(mem, 0))
}
