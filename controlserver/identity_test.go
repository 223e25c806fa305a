package controlserver

import (
	"encoding/pem"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/controlserver/ads"
	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/enroll"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds"
)

var domain = spiffeid.RequireTrustDomainFromString("shop.test")

// secure runs a server that is an authority.
func secure(t *testing.T, cfg Config) *running {
	cfg.CA = &ca.Config{TrustDomain: domain}
	return run(t, cfg)
}

// joins is a process of that identity.
func (r *running) joins(t *testing.T, path string) identity.Source {
	t.Helper()
	id, err := spiffeid.FromPath(domain, path)
	if err != nil {
		t.Fatal(err)
	}
	token, err := r.CA().CreateToken(id, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	var roots []byte
	for _, c := range r.CA().Bundle().X509Authorities() {
		roots = append(roots, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	s, err := enroll.New(enroll.Config{Address: r.Addr(), RootCAs: roots, JoinToken: token})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if err := s.Ready(within(t)); err != nil {
		t.Fatal(err)
	}
	return s
}

func TestMembersProveWhoTheyAre(t *testing.T) {
	src := newSource()
	r := secure(t, Config{Sources: []Source{src}})
	src.says(t, service("payments", "10.0.0.1"))
	own := r.joins(t, "/ns/default/sa/payments")
	c := dial(t, r.Addr(), xds.Config{Identity: own, Service: "payments"})
	s := watch(t, c, "payments").until(t, "endpoints", func(s *resolver.Service) bool { return addrs(s) != "" })
	if got := addrs(s); !strings.Contains(got, "10.0.0.1") {
		t.Errorf("endpoints %s", got)
	}
	status := r.Status()
	if a := status.Authority; a == nil || a.TrustDomain != "shop.test" || a.Issued == 0 || len(a.Roots) != 1 || !a.Roots[0].Signs {
		t.Errorf("the authority is shown as %+v", a)
	}
	if len(status.Clients) != 1 || status.Clients[0].Identity != "spiffe://shop.test/ns/default/sa/payments" {
		t.Errorf("clients are shown as %+v", status.Clients)
	}
	svid, err := own.GetX509SVID()
	if err != nil || svid.ID.String() != "spiffe://shop.test/ns/default/sa/payments" {
		t.Errorf("%v, %v", svid, err)
	}
}

// Bundles reach members over xDS: those of other trust domains, and a new root before anything is signed by it.
func TestMembersAreToldWhatToBelieve(t *testing.T) {
	r := secure(t, Config{})
	own := r.joins(t, "/ns/default/sa/payments")
	c := dial(t, r.Addr(), xds.Config{Identity: own})
	told := make(chan int, 10)
	defer c.Trust(func(bundles []*x509bundle.Bundle) {
		for _, b := range bundles {
			if b.TrustDomain() == domain {
				told <- len(b.X509Authorities())
			}
		}
	})()
	wants := func(n int) {
		t.Helper()
		for {
			select {
			case got := <-told:
				if got == n {
					return
				}
			case <-within(t).Done():
				t.Fatalf("%d roots do not come", n)
			}
		}
	}
	wants(1)
	if err := r.CA().RotateRoot(ca.AnnounceRoot, false); err != nil {
		t.Fatal(err)
	}
	wants(2)
}

func TestWhoProvesNothingIsToldNothing(t *testing.T) {
	src := newSource()
	r := secure(t, Config{Sources: []Source{src}})
	src.says(t, service("payments", "10.0.0.1"))
	c := dial(t, r.Addr(), xds.Config{})
	told := watch(t, c, "payments").untilTold(t, "refused", func(s *resolver.Service, err error) bool { return s != nil || err != nil })
	if told.service != nil {
		t.Error("plaintext is answered")
	}
}

func TestANodeIsWhoItsCertificateSays(t *testing.T) {
	s := secure(t, Config{}).Server
	const own = "spiffe://shop.test/ns/shop/sa/till"
	for name, c := range map[string]struct {
		node ads.Node
		ok   bool
	}{
		"as it is":                   {ads.Node{ID: "sidecar~10.0.0.1~till.shop~shop.svc.cluster.local", Namespace: "shop", ServiceAccount: "till", Identity: own}, true},
		"says nothing":               {ads.Node{ID: "envoy", Identity: own}, true},
		"another's namespace":        {ads.Node{ID: "envoy", Namespace: "default", Identity: own}, false},
		"another's service account":  {ads.Node{ID: "envoy", ServiceAccount: "payments", Identity: own}, false},
		"an id of another namespace": {ads.Node{ID: "sidecar~10.0.0.1~till.default~default.svc.cluster.local", Namespace: "shop", Identity: own}, false},
		"an identity of other form":  {ads.Node{ID: "envoy", Identity: "spiffe://shop.test/till"}, false},
		"no identity":                {ads.Node{ID: "envoy"}, false},
	} {
		err := s.admit(&c.node)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err == nil && (c.node.Namespace != "shop" || c.node.ServiceAccount != "till") {
			t.Errorf("%s: it is %s/%s", name, c.node.Namespace, c.node.ServiceAccount)
		}
		if err != nil && strings.Contains(err.Error(), "shop") {
			t.Errorf("%s: the caller learns %q", name, err)
		}
	}
}

func TestARevokedIdentityIsSentAway(t *testing.T) {
	src := newSource()
	r := secure(t, Config{Sources: []Source{src}})
	src.says(t, service("payments", "10.0.0.1"))
	own := r.joins(t, "/ns/default/sa/payments")
	c := dial(t, r.Addr(), xds.Config{Identity: own})
	w := watch(t, c, "payments")
	w.until(t, "endpoints", func(s *resolver.Service) bool { return addrs(s) != "" })
	src.says(t, service("payments", "10.0.0.1", "10.0.0.2")+`
---
apiVersion: weft.dev/v1
kind: Revocation
metadata: {name: leaked, namespace: istio-system}
spec: {identities: ["spiffe://shop.test/ns/default/sa/payments"]}
`)
	for ctx := within(t); len(r.Status().Clients) > 0; {
		select {
		case <-time.After(5 * time.Millisecond):
		case <-ctx.Done():
			t.Fatal("its stream goes on")
		}
	}
	if got := addrs(w.last().service); strings.Contains(got, "10.0.0.2") {
		t.Errorf("it was told of %s", got)
	}
}
