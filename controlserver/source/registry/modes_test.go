package registry

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/weftmesh/weft/identity"
)

// modes are those of the ports in the last report, "port mode".
func (k *kit) modes() (out []string) {
	for _, w := range k.last() {
		for _, p := range w.Ports {
			out = append(out, fmt.Sprintf("%d %v", p.Number, p.Mode))
		}
	}
	return out
}

func (k *kit) inForce(stream uint64, addr string, m identity.Mode) {
	k.InForce(stream, listeners([]string{addr})[0], m)
}

func TestModes(t *testing.T) {
	const addr = "10.0.0.1:8080"
	for _, tt := range []struct {
		name string
		do   func(k *kit)
		want []string
	}{
		{"nobody has said", func(k *kit) { k.open(1); k.listen(1, addr) }, []string{"8080 UNSET"}},
		{"said", func(k *kit) { k.open(1); k.listen(1, addr); k.inForce(1, addr, identity.Disable) }, []string{"8080 DISABLE"}},
		{"of each port", func(k *kit) {
			k.open(1)
			k.listen(1, addr, "10.0.0.1:8081")
			k.inForce(1, addr, identity.Disable)
			k.inForce(1, "10.0.0.1:8081", identity.Strict)
			k.inForce(1, addr, identity.Permissive)
		}, []string{"8080 PERMISSIVE", "8081 STRICT"}},
		{"said before the port is there", func(k *kit) { k.open(1); k.inForce(1, addr, identity.Disable); k.listen(1, addr) }, []string{"8080 DISABLE"}},
		{"of a port that was given up and taken again", func(k *kit) {
			k.open(1)
			k.listen(1, addr)
			k.inForce(1, addr, identity.Disable)
			k.unlisten(1, addr)
			k.listen(1, addr)
		}, []string{"8080 UNSET"}},
		{"of another's port", func(k *kit) {
			k.open(1)
			k.listen(1, addr)
			k.open(2)
			k.inForce(2, addr, identity.Disable)
		}, []string{"8080 UNSET"}},
		{"of an unknown stream, and no port", func(k *kit) {
			k.open(1)
			k.listen(1, addr)
			k.inForce(7, addr, identity.Disable)
			k.InForce(1, "payments:80", identity.Disable)
		}, []string{"8080 UNSET"}},
		{"while the stream is broken", func(k *kit) {
			k.open(1)
			k.listen(1, addr)
			k.inForce(1, addr, identity.Disable)
			k.StreamClosed(1, false)
		}, []string{"8080 DISABLE"}},
		{"the same process is back", func(k *kit) {
			k.open(1)
			k.listen(1, addr)
			k.inForce(1, addr, identity.Disable)
			k.StreamClosed(1, false)
			k.open(2)
			k.listen(2, addr)
		}, []string{"8080 DISABLE"}},
		{"the same process is back, and has taken another", func(k *kit) {
			k.open(1)
			k.listen(1, addr)
			k.inForce(1, addr, identity.Disable)
			k.StreamClosed(1, false)
			k.open(2)
			k.inForce(2, addr, identity.Strict)
			k.listen(2, addr)
		}, []string{"8080 STRICT"}},
		{"another process has the port", func(k *kit) {
			k.open(1)
			k.listen(1, addr)
			k.inForce(1, addr, identity.Disable)
			k.StreamClosed(1, false)
			k.Open(2, Process{ID: "other", Service: "pay", Namespace: "shop"})
			k.listen(2, addr)
		}, []string{"8080 UNSET"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, func(k *kit) {
				tt.do(k)
				k.settle()
				if got := k.modes(); !slices.Equal(got, tt.want) {
					t.Errorf("%q, want %q", got, tt.want)
				}
			})
		})
	}
}

// What is said of more ports than a process may register is not kept.
func TestModesAreBounded(t *testing.T) {
	in(t, func(k *kit) {
		k.open(1)
		for p := range 1000 {
			k.inForce(1, fmt.Sprintf("10.0.0.1:%d", 1000+p), identity.Strict)
		}
		if n := len(k.streams[1].modes); n != 64 {
			t.Errorf("%d are kept", n)
		}
	})
}

func TestReportedWaitsForTheReport(t *testing.T) {
	in(t, func(k *kit) {
		k.open(1)
		k.listen(1, "10.0.0.1:8080")
		before, at := len(k.reports()), time.Now()
		if err := k.Reported(k.t.Context()); err != nil {
			t.Fatal(err)
		}
		if len(k.reports()) != before+1 || time.Since(at) != 10*time.Millisecond {
			t.Errorf("%d reports after %v", len(k.reports())-before, time.Since(at))
		}
		if err := k.Reported(k.t.Context()); err != nil { // there is nothing to wait for
			t.Fatal(err)
		}
	})
}
