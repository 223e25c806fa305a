package engine

import (
	"log/slog"
	"net/url"
	"testing"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/identity"
)

func serverOf(t *testing.T, id string, serial int64) *identity.Peer {
	t.Helper()
	p := peerOf(t, id, serial)
	p.Certificates[0].URIs = []*url.URL{p.ID.URL()}
	return p
}

// A connection ends when its server is revoked by one of its names, whatever it was made for, and not by others' names.
func TestMadeConnectionsEndWithTheirServer(t *testing.T) {
	peer := serverOf(t, friendID, 0x1f)
	for name, tc := range map[string]struct {
		list identity.Revoked
		ends bool
	}{
		"its identity":  {identity.Revoked{IDs: []spiffeid.ID{peer.ID}}, true},
		"its serial":    {identity.Revoked{Serials: []string{"1f"}}, true},
		"others' names": {identity.Revoked{IDs: []spiffeid.ID{spiffeid.RequireFromString("spiffe://td/x")}, Serials: []string{"2f"}}, false},
		"nobody":        {identity.Revoked{}, false},
	} {
		t.Run(name, func(t *testing.T) {
			e := New(Config{Logger: slog.New(slog.DiscardHandler)})
			d := e.Demand(&identity.ClientTLS{Mutual: true})
			ended := 0
			shut := func(why error) {
				if why == nil {
					t.Error("nobody is told why")
				}
				ended++
			}
			m := d.Make(shut)
			if err := m.Prove(peer.Certificates); err != nil {
				t.Fatal(err)
			}
			if p := m.Principal(); p == nil || *p != friendID {
				t.Errorf("principal %v", p)
			}
			e.secured.revoke(namesOf(&tc.list))
			if (ended == 1) != tc.ends {
				t.Errorf("ended %d times", ended)
			}
			if followed := d.Follow(&identity.ClientTLS{Mutual: true, Revoked: &tc.list}); !followed {
				t.Error("the list is not another")
			}
			m.Doubt() // as who makes connections ahead does, which were not proved when the list came
			if (ended == 2) != tc.ends {
				t.Errorf("ended %d times", ended)
			}
			if err := d.Make(shut).Prove(peer.Certificates); (err != nil) != tc.ends {
				t.Errorf("another one: %v", err)
			}
			m.Forget()
			m.Forget()
			ended = 0
			m.Doubt()
			if err := m.Prove(peer.Certificates); err == nil {
				t.Error("what was forgotten is kept")
			}
		})
	}
}

// Who answered is known without a word on the heap, as long as his connection is there, and then all the same.
func TestWhoAnswered(t *testing.T) {
	e := New(Config{Logger: slog.New(slog.DiscardHandler)})
	peer := serverOf(t, friendID, 1)
	leaf := peer.Certificates[0]
	a := &Attempt{call: &Call{service: newService(e, "x", 0)}}
	first, second := e.Demand(&identity.ClientTLS{}).Make(nil), e.Demand(&identity.ClientTLS{}).Make(nil)
	for _, m := range []*Made{first, second} {
		if err := m.Prove(peer.Certificates); err != nil {
			t.Fatal(err)
		}
	}
	first.Forget()
	if !raced {
		if allocs := testing.AllocsPerRun(1000, func() { a.Proved(leaf) }); allocs != 0 {
			t.Errorf("%v allocations", allocs)
		}
	}
	second.Forget()
	for range e.secured.proofs.Range {
		t.Error("a server is remembered whose connections have all ended")
	}
	a.server.Store(nil)
	a.Proved(leaf)
	if p := a.server.Load(); p == nil || *p != friendID {
		t.Errorf("principal %v", p)
	}
}
