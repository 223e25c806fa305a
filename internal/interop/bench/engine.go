package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// A benchmark is one of a package of the root module. The engine is internal to
// package mesh, so that it cannot be called from here.
type benchmark struct {
	pkg, pattern string
	calls        int // of one run
}

func (b benchmark) binary() string { return filepath.Base(b.pkg) + ".test" }

var engineBenchmarks = []benchmark{
	{"github.com/weftmesh/weft/mesh/internal/engine", "^BenchmarkDo$/^plain$", 400_000},
	{"github.com/weftmesh/weft/mesh/internal/engine", "^BenchmarkDo$/^100-header-routes$", 100_000},
	{"github.com/weftmesh/weft/balancer", "^BenchmarkPick$/^ROUND_ROBIN$/^10$/^equal$", 5_000_000},
}

// measureEngine has the benchmarks of the engine take turns.
func measureEngine(e effort) (table, error) {
	t := table{
		Title: "The engine alone: match, choose, pick, begin, finish",
		Note:  "Allocations include the call itself, which an adapter makes as part of its own state.",
	}
	dir, err := os.MkdirTemp("", "weft-bench")
	if err != nil {
		return t, err
	}
	defer os.RemoveAll(dir) //nolint:errcheck // it is a temporary one
	for _, b := range engineBenchmarks {
		if out, err := exec.Command("go", "test", "-c", "-o", filepath.Join(dir, b.binary()), b.pkg).CombinedOutput(); err != nil { //nolint:noctx // it ends
			return t, fmt.Errorf("%s: %w: %s", b.pkg, err, out)
		}
	}
	samples := make([][]sample, len(engineBenchmarks))
	for range min(e.Rounds, 9) {
		for i, b := range engineBenchmarks {
			s, err := b.measure(filepath.Join(dir, b.binary()))
			if err != nil {
				return t, err
			}
			samples[i] = append(samples[i], s)
		}
	}
	engine, hundred, pick := side{name: "weft, 1 route"}, side{name: "weft, 100 header routes"}, side{name: "the pick alone"}
	of, ofHundred, ofPick := samples[0], samples[1], samples[2]
	t.Rows = []row{
		compared("a call", engine, pick, of, ofPick, "allocs", false, &ceiling{Most: 1, Absolute: true, Asserted: true}),
		compared("a call that takes the last", hundred, engine, ofHundred, of, "allocs", false, &ceiling{Asserted: true}),
		nanoseconds(compared("a call", engine, pick, of, ofPick, "us", true, nil)),
		nanoseconds(compared("a call that takes the last", hundred, engine, ofHundred, of, "us", true, nil)),
	}
	return t, nil
}

func nanoseconds(r row) row {
	for _, f := range []*figure{&r.Of, &r.PeerOf} {
		f.Mean, f.Least, f.Unit = f.Mean*1000, f.Least*1000, "ns"
	}
	return r
}

// measure runs a benchmark as a process of its own, whose processor time counts:
// unlike the clock's it leaves out what else the machine does. What the process needs
// to begin is measured by a run of one call and taken off.
func (b benchmark) measure(bin string) (sample, error) {
	var s sample
	for _, n := range []int{1, b.calls} {
		cmd := exec.Command(bin, "-test.run=^$", "-test.bench="+b.pattern, "-test.benchmem", //nolint:noctx // it ends
			"-test.benchtime="+strconv.Itoa(n)+"x", "-test.cpu=1")
		out, err := cmd.Output()
		if err != nil {
			return s, fmt.Errorf("%s: %w: %s", b.pattern, err, out)
		}
		spent := cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
		s.cpu = float64(spent.Nanoseconds())/1000 - s.cpu
		if s.allocs, err = allocations(string(out)); err != nil {
			return s, fmt.Errorf("%s: %w", b.pattern, err)
		}
	}
	s.cpu /= float64(b.calls - 1)
	return s, nil
}

// allocations reads the one line of a benchmark in what go test prints.
func allocations(out string) (float64, error) {
	for line := range strings.Lines(out) {
		before, ok := strings.CutSuffix(strings.TrimSpace(line), " allocs/op")
		if f := strings.Fields(before); ok && len(f) > 0 {
			return strconv.ParseFloat(f[len(f)-1], 64)
		}
	}
	return 0, fmt.Errorf("no such benchmark: %s", out)
}
