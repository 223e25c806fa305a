package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
)

// The benchmarks of the engine, which cannot be called from another module's
// package, and of the picker as the floor under it.
const (
	enginePackage = "github.com/weftmesh/weft/mesh/internal/engine"
	pickPackage   = "github.com/weftmesh/weft/balancer"
	benchOne      = "BenchmarkDo/plain"
	benchHundred  = "BenchmarkDo/100-header-routes"
	benchPick     = "BenchmarkPick/ROUND_ROBIN/10/equal"
)

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
	samples := map[string][]sample{}
	for i, pkg := range []string{enginePackage, pickPackage} {
		bin := filepath.Join(dir, strconv.Itoa(i)+".test")
		if out, err := exec.Command("go", "test", "-c", "-o", bin, pkg).CombinedOutput(); err != nil { //nolint:noctx // it ends
			return t, fmt.Errorf("%s: %w: %s", pkg, err, out)
		}
	}
	for range min(e.Rounds, 9) {
		for i, pattern := range []string{"^BenchmarkDo$/^(plain|100-header-routes)$", "^BenchmarkPick$/^ROUND_ROBIN$/^10$/^equal$"} {
			bin := filepath.Join(dir, strconv.Itoa(i)+".test")
			out, err := exec.Command(bin, "-test.run=^$", "-test.bench="+pattern, "-test.benchmem", "-test.benchtime=50ms", "-test.cpu=1").Output() //nolint:noctx // it ends
			if err != nil {
				return t, fmt.Errorf("%s: %w: %s", pattern, err, out)
			}
			for name, s := range benchmarks(string(out)) {
				samples[name] = append(samples[name], s)
			}
		}
	}
	engine, hundred, pick := side{name: "weft, 1 route"}, side{name: "weft, 100 header routes"}, side{name: "the pick alone"}
	of, ofHundred, ofPick := samples[benchOne], samples[benchHundred], samples[benchPick]
	if len(of) == 0 || len(of) != len(ofHundred) || len(of) != len(ofPick) {
		return t, fmt.Errorf("benchmarks are missing among %v", samples)
	}
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
		f.Median, f.Least, f.Unit = f.Median*1000, f.Least*1000, "ns"
	}
	return r
}

// benchmarks reads the lines of go test -bench -benchmem.
func benchmarks(out string) map[string]sample {
	found := map[string]sample{}
	for line := range strings.Lines(out) {
		f := strings.Fields(line)
		if len(f) < 8 || !strings.HasPrefix(f[0], "Benchmark") {
			continue
		}
		var s sample
		for i, unit := range f {
			if v, err := strconv.ParseFloat(f[i-min(i, 1)], 64); err == nil {
				switch unit {
				case "ns/op":
					s.cpu = v / 1000
				case "allocs/op":
					s.allocs = v
				}
			}
		}
		found[f[0]] = s
	}
	return found
}
