package engine

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

func demanding(m identity.Mode) resolver.Inbound {
	return resolver.Inbound{TLS: identity.ServerTLS{Mode: m}}
}

// A door that has become Disable goes on telling mutual TLS for a while, from the first change on; one that was never anything else does not,
// and Strict has no while.
func TestMutualTLSEndsLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := judging(t, demanding(identity.Permissive))
		defer s.Inbound.Close()
		tells := func(what string, want bool) {
			t.Helper()
			if d := s.Door(); (d.TLS != nil) != want {
				t.Errorf("%s: tells mutual TLS: %v", what, !want)
			}
		}
		for _, before := range []identity.Mode{identity.Permissive, identity.Strict} {
			s.demand(demanding(before))
			tells("before", true)
			s.demand(demanding(identity.Disable))
			tells("at once", true)
			time.Sleep(afterglow / 2)
			in := demanding(identity.Disable)
			in.Serving = resilience.Serving{MaxRequests: 1}
			s.demand(in)
			time.Sleep(afterglow/2 - 1)
			tells("at the end", true)
			time.Sleep(time.Nanosecond)
			tells("after the end", false)
			s.demand(demanding(identity.Disable))
			tells("after another change", false)
		}
		s.demand(demanding(identity.Strict))
		if d := s.Door(); d.Mode != identity.Strict || d.TLS == nil {
			t.Errorf("after a change to Strict: %+v", d)
		}
		if why := s.Enter(t.Context(), &Connection{Local: tcp(8080), Remote: tcp(1)}); why != Plaintext {
			t.Errorf("plaintext after a change to Strict: %v", why)
		}
	})
}

func TestDisabledFromTheStartTellsNothing(t *testing.T) {
	s := judging(t, resolver.Inbound{})
	m := s.resolver
	in, err := s.Listen(tcp(8081))
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	v := demanding(identity.Disable)
	m.inbounds["127.0.0.1:8081"](&v, nil)
	if d := in.Door(); d.TLS != nil || d.Mode != identity.Disable {
		t.Errorf("%+v", d)
	}
}

// Who came by mutual TLS may stay when plaintext is demanded, but for those who are not believed any more.
func TestConnectionsOutliveMutualTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := judging(t, demanding(identity.Permissive))
		defer s.Inbound.Close()
		friend, other := s.connect(t, peerOf(t, friendID, 1)), s.connect(t, peerOf(t, "spiffe://td/ns/a/sa/other", 2))
		s.demand(demanding(identity.Disable))
		time.Sleep(time.Minute)
		if friend.Leaving() || other.Leaving() {
			t.Error("a connection over TLS is ended though its caller may not have heard yet")
		}
		in := demanding(identity.Disable)
		in.Guard.Revoked = &identity.Revoked{IDs: []spiffeid.ID{other.Peer.ID}}
		s.demand(in)
		time.Sleep(glance)
		synctest.Wait()
		if friend.Leaving() || !other.Leaving() {
			t.Errorf("leaving: %v, revoked: %v", friend.Leaving(), other.Leaving())
		}
	})
}
