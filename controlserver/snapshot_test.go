package controlserver

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/controlserver/publish"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

func snapshotOf(tb testing.TB, generation uint64, yaml string) *snapshot {
	tb.Helper()
	objects, findings := catalog.Parse("test.yaml", []byte(yaml))
	if len(findings) > 0 {
		tb.Fatal(findings)
	}
	v := publish.New(catalog.Merge(catalog.Fragment{Objects: objects}), publish.Config{}).View(publish.Client{Namespace: "default"})
	return newSnapshot(v, generation, func(typeURL, name string, err error) { tb.Error(typeURL, name, err) })
}

func TestChangedNamesWhatDiffers(t *testing.T) {
	old := snapshotOf(t, 1, service("a", "10.0.0.1")+service("b", "10.0.0.2")+service("gone", "10.0.0.3"))
	for _, name := range []string{"a", "b", "gone", "never"} {
		old.Lookup(wire.EndpointType, "outbound|80||"+name+".default.svc.cluster.local")
	}
	now := snapshotOf(t, 2, service("a", "10.0.0.1")+service("b", "10.0.0.9"))
	want := []string{"outbound|80||b.default.svc.cluster.local", "outbound|80||gone.default.svc.cluster.local"}
	if got, ok := now.Changed(old, wire.EndpointType); !ok || !slices.Equal(got, want) {
		t.Errorf("%q, %v, want %q", got, ok, want)
	}
	// A stream that is late asks the old one for more.
	old.Lookup(wire.ClusterType, "outbound|80||gone.default.svc.cluster.local")
	if got, _ := now.Changed(old, wire.ClusterType); !slices.Contains(got, "outbound|80||gone.default.svc.cluster.local") {
		t.Errorf("%q lack a cluster that went after it was first asked for", got)
	}
}

// A chain of comparisons must not keep every configuration there ever was.
func TestOldSnapshotsAreLetGo(t *testing.T) {
	freed := make(chan uint64, 100)
	last := snapshotOf(t, 0, service("a", "10.0.0.1"))
	last.Lookup(wire.ListenerType, "a")
	for i := range uint64(20) {
		next := snapshotOf(t, i+1, service("a", fmt.Sprintf("10.0.1.%d", i)))
		if _, ok := next.Changed(last, wire.ListenerType); !ok {
			t.Fatal("not comparable")
		}
		runtime.AddCleanup(last, func(g uint64) { freed <- g }, last.generation)
		last = next
	}
	deadline := time.After(patience)
	for n := range 19 { // the last two may still be on the stack
		runtime.GC()
		select {
		case <-freed:
		case <-deadline:
			t.Fatalf("%d of 20 old snapshots were let go", n)
		}
	}
	runtime.KeepAlive(last)
}

// gRPC's client loses its stream to a response of more than 4 MiB, and with it
// all that other services are given.
func TestResourceThatClientsCannotTakeIsNotSent(t *testing.T) {
	var text strings.Builder
	text.WriteString(service("payments", "10.0.0.1") + "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: big}\nspec:\n  hosts: [payments]\n  http:\n")
	for i := 0; text.Len() < 1400<<10; i++ {
		fmt.Fprintf(&text, "  - {match: [{uri: {exact: /%d}}], route: [{destination: {host: payments}}]}\n", i)
	}
	objects, findings := catalog.Parse("test.yaml", []byte(text.String()))
	if len(findings) > 0 {
		t.Fatal(findings)
	}
	p := publish.New(catalog.Merge(catalog.Fragment{Objects: objects}), publish.Config{})
	const name = "outbound|80||payments.default.svc.cluster.local"
	for dialect, sent := range map[publish.Dialect]bool{publish.GRPC: false, publish.GRPCLeast: false, publish.Weft: true} {
		var failed []string
		s := newSnapshot(p.View(publish.Client{Dialect: dialect, Namespace: "default"}), 1, func(_, name string, err error) {
			failed = append(failed, name+": "+err.Error())
		})
		for range 3 {
			if got := s.Lookup(wire.RouteType, name) != nil; got != sent {
				t.Errorf("%v: sent %v", dialect, got)
			}
		}
		if want := map[bool]int{true: 0, false: 1}[sent]; len(failed) != want {
			t.Errorf("%v: said %q", dialect, failed)
		}
	}
}
