package controlserver

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/controlserver/publish"
	"github.com/weftmesh/weft/controlserver/web"
)

const hedged = `---
apiVersion: weft.dev/v1
kind: TrafficPolicy
metadata: {name: hedged}
spec:
  target: {service: payments}
  client: {hedge: {delay: 50ms}}
---
apiVersion: weft.dev/v1
kind: TrafficPolicy
metadata: {name: kill, namespace: shop}
spec:
  target: {service: payments.default, port: 80, route: rest}
  from: {namespace: shop, serviceAccount: web, labels: {app: web}}
  disable: [retries, faults]
---
apiVersion: weft.dev/v1
kind: TrafficPolicy
metadata: {name: all, namespace: istio-system}
spec: {disable: [shedding]}
`

func TestStatusSaysWhatIsTurnedOffAndWhatClientsCannotDo(t *testing.T) {
	source := newSource()
	s := run(t, Config{Sources: []Source{source}})
	ask := func() {
		s.mu.Lock()
		p := s.worked.publisher
		s.mu.Unlock()
		for _, d := range []publish.Dialect{publish.GRPC, publish.Weft} {
			if _, err := p.View(publish.Client{Dialect: d, Namespace: "default"}).Service("payments"); err != nil {
				t.Fatal(err)
			}
		}
	}
	const lost = "test.yaml:27: TrafficPolicy/default/hedged: spec.client.hedge: gRPC's own client has no hedges by xDS"
	for _, timeout := range []time.Duration{time.Second, 2 * time.Second} { // a change of something else says nothing again
		source.says(t, service("payments", "10.0.0.1")+route("payments", timeout)+hedged)
		s.knows(t, "the policies", func(st web.Status) bool { return len(st.Switches) == 2 })
		if err := s.Settled(within(t)); err != nil {
			t.Fatal(err)
		}
		ask()
		if got, want := s.Status().Lost, []web.Loss{{Client: "grpc", Text: lost}}; !slices.Equal(got, want) {
			t.Errorf("lost %q, want %q", got, want)
		}
	}
	if n := strings.Count(s.logs.String(), "no hedges by xDS"); n != 1 {
		t.Errorf("it is in the log %d times", n)
	}
	var off []string
	for _, w := range s.Status().Switches {
		off = append(off, strings.Join(w.Kinds, " ")+" for "+w.For+" by "+w.At)
	}
	want := []string{
		"shedding for the whole mesh by TrafficPolicy/istio-system/all at test.yaml:40",
		"retries faults for payments.default.svc.cluster.local, port 80, route rest, to callers of namespace shop of service account web with the label app=web" +
			" by TrafficPolicy/shop/kill at test.yaml:35",
	}
	if !slices.Equal(off, want) {
		t.Errorf("turned off:\n%s\nwant\n%s", strings.Join(off, "\n"), strings.Join(want, "\n"))
	}
}
