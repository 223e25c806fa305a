package mesh_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/identitytest"
	"github.com/weftmesh/weft/resolver"
)

// Who calls, how safely, and which policy was against it, is in the metrics, and on the debug page what decides.
func TestIdentityIsVisible(t *testing.T) {
	g := only(aliceID)
	g.Steps[0].Shadow = &identity.Rules{Action: identity.Deny, Policies: []identity.Policy{{Name: "tried", Principals: from(aliceID), Permissions: on()}}}
	tel, option := newTelemetry()
	p := newParty(t, resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Permissive}, Guard: g}, nil, option)
	ctx := patiently(t)
	plain := &http.Transport{}
	defer plain.CloseIdleConnections()
	for _, door := range []http.RoundTripper{p.alice.RoundTripper(), p.mallory.RoundTripper()} {
		if _, _, err := get(ctx, door, "http://web/"); err != nil {
			t.Fatal(err)
		}
	}
	if code, _, err := get(ctx, plain, "http://"+p.web.addr); code != http.StatusForbidden {
		t.Fatal(code, err)
	}
	type series struct{ policy, source, destination, code string }
	want := map[series]bool{
		{"mutual_tls", aliceID, ledgerID, "200"}:   true,
		{"mutual_tls", malloryID, ledgerID, "403"}: true,
		{"none", "unknown", "unknown", "403"}:      true,
	}
	eventually(t, "three calls are counted", func() bool { return len(tel.counts(t)) == 3 })
	for _, c := range tel.counts(t) {
		label := func(name string) string { v, _ := c.Attributes.Value(attribute.Key(name)); return v.AsString() }
		if s := (series{label("connection_security_policy"), label("source_principal"), label("destination_principal"), label("response_code")}); !want[s] {
			t.Errorf("counted as %+v", s)
		}
	}
	var all metricdata.ResourceMetrics
	if err := tel.reader.Collect(context.Background(), &all); err != nil {
		t.Fatal(err)
	}
	decisions := map[string]int64{}
	for _, s := range all.ScopeMetrics {
		for _, m := range s.Metrics {
			if data, ok := m.Data.(metricdata.Sum[int64]); ok && m.Name == "weft_authorization_decisions_total" {
				for _, d := range data.DataPoints {
					what, _ := d.Attributes.Value("decision")
					policy, _ := d.Attributes.Value("policy")
					decisions[what.AsString()+" "+policy.AsString()] += d.Value
				}
			}
		}
	}
	if decisions["denied unknown"] != 2 || decisions["would_deny tried"] != 1 {
		t.Errorf("decisions %v", decisions)
	}

	member := p.member(t, p.ca.Source(ledgerID))
	ln, err := member.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	rec := httptest.NewRecorder()
	member.DebugHandler().ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/?format=json", nil))
	var belief struct {
		Identity struct{ ID string }
		Inbounds []struct {
			Mode     string
			Policies []string
		}
	}
	if err := json.Unmarshal(rec.Body.Bytes(), &belief); err != nil {
		t.Fatal(err)
	}
	if belief.Identity.ID != ledgerID || len(belief.Inbounds) != 1 || belief.Inbounds[0].Mode != "PERMISSIVE" || len(belief.Inbounds[0].Policies) != 2 {
		t.Errorf("%+v", belief)
	}
}

// Callers say who has answered, as he proved it, and who they are; of plaintext neither, and never how safe the connection was, as in Istio.
func TestCallersNameTheServer(t *testing.T) {
	ca := identitytest.New(t, "td")
	f := newFleet(resolver.Inbound{TLS: identity.ServerTLS{Mode: identity.Permissive}})
	var web, rpc, raw servedBy
	server := f.member(t, ca.Source(ledgerID))
	web.web(t, server, nil)
	rpc.rpc(t, server)
	raw.raw(t, server)
	ctx := patiently(t)
	for name, want := range map[string]struct {
		tls      *identity.ClientTLS
		from, to string
	}{
		"mutual":    {&identity.ClientTLS{Mutual: true}, aliceID, ledgerID},
		"plaintext": {nil, "unknown", "unknown"},
	} {
		tel, option := newTelemetry()
		m := f.member(t, ca.Source(aliceID), option)
		for service, s := range map[string]*servedBy{"web": &web, "rpc": &rpc, "raw": &raw} {
			f.route(service, resolver.Cluster{TLS: want.tls}, s.addr)
		}
		if code, _, err := get(ctx, m.RoundTripper(), "http://web/"); code != http.StatusOK {
			t.Fatal(name, code, err)
		}
		if err := ask(ctx, t, m); err != nil {
			t.Fatal(name, err)
		}
		conn, err := m.Dial(ctx, "tcp", "raw")
		if err != nil {
			t.Fatal(name, err)
		}
		conn.Close()
		eventually(t, "three calls are counted", func() bool { return len(tel.counts(t)) == 3 })
		for _, c := range tel.counts(t) {
			wantLabels(t, c, map[string]string{"reporter": "source", "source_principal": want.from, "destination_principal": want.to, "connection_security_policy": "unknown"})
		}
	}
}
