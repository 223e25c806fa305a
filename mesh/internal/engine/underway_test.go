package engine

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// Whoever comes is found until he goes, in whatever order, by many at a time.
func TestUnderway(t *testing.T) {
	var u underway
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			var mine [5]*InboundCall
			for range 200 {
				for i := range mine {
					mine[i] = new(InboundCall)
					u.add(mine[i])
				}
				found := 0
				u.each(func(c *InboundCall) {
					for _, m := range mine {
						if c == m {
							found++
						}
					}
				})
				if found != len(mine) {
					t.Errorf("%d of %d are found", found, len(mine))
				}
				for _, m := range mine {
					m.slot.Store(nil)
				}
			}
		})
	}
	all.Wait()
	u.each(func(*InboundCall) { t.Error("who has left is found") })
	most := 0
	for p := &u; p != nil; p = p.more.Load() {
		most += len(p.some)
	}
	if most > 8*5+len(u.some) {
		t.Errorf("room for %d of 40", most)
	}
}

// A call that is no stream ends within a second of the change by which its caller may not make it any more, and its connection with it if he is revoked;
// others go on. One that can't be judged without its header, which its handler may be changing, goes on until it writes.
func TestCallIsEndedByAChange(t *testing.T) {
	stranger := "spiffe://td/ns/a/sa/other"
	byHeader := guardOf(friendID)
	byHeader.Steps = append(byHeader.Steps, identity.Step{Name: "header", Rules: &identity.Rules{Action: identity.Deny, Policies: []identity.Policy{{
		Principals: []identity.Condition{{Kind: identity.Always}}, Permissions: []identity.Condition{{Kind: identity.HeaderIs, Name: "x-bad", Is: match.String{Value: "1"}}},
	}}}})
	revoked := guardOf(friendID)
	revoked.Revoked = &identity.Revoked{IDs: []spiffeid.ID{spiffeid.RequireFromString(friendID)}}
	for name, tc := range map[string]struct {
		header       bool // the call has x-bad
		guard        identity.Guard
		ends, closes bool
		stays        bool // when it writes
	}{
		"still allowed":     {guard: guardOf(friendID, stranger), stays: true},
		"not any more":      {guard: guardOf(stranger), ends: true},
		"revoked":           {guard: revoked, ends: true, closes: true},
		"not for a header":  {guard: byHeader, header: true},
		"allowed by header": {guard: byHeader, stays: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := judging(t, resolver.Inbound{Guard: guardOf(friendID)})
				conn := s.connect(t, peerOf(t, friendID, 1))
				closed := make(chan time.Time, 1)
				conn.Shut = func() {
					select {
					case closed <- time.Now():
					default:
					}
				}
				c := conn.call("/")
				n := c.Incoming.(*noted)
				if tc.header {
					n.header["x-bad"] = "1"
				}
				goOn, done := make(chan struct{}), make(chan struct{})
				stays := false
				go func() {
					defer close(done)
					s.Serve(t.Context(), c, func(context.Context) resilience.Outcome {
						<-goOn
						stays = c.Stays()
						return resilience.Outcome{Status: 200}
					})
				}()
				synctest.Wait()
				before := time.Now()
				s.demand(resolver.Inbound{Guard: tc.guard})
				time.Sleep(time.Second)
				select {
				case <-n.ended:
					if !tc.ends {
						t.Error("it was ended")
					}
				default:
					if tc.ends {
						t.Error("it goes on")
					}
				}
				select {
				case at := <-closed:
					if !tc.closes || at.Sub(before) > time.Second {
						t.Errorf("its connection was closed after %v", at.Sub(before))
					}
				default:
					if tc.closes {
						t.Error("its connection is there")
					}
				}
				close(goOn)
				<-done
				if !tc.ends && stays != tc.stays {
					t.Errorf("when it writes it may go on: %v", stays)
				}
				if (c.Cut() == nil) == (tc.ends || !tc.stays) {
					t.Errorf("cut by %+v", c.Cut())
				}
				s.Leave(conn)
			})
		})
	}
}

// What ends a call does not touch it when its handler has returned.
func TestCallIsNotEndedAfterItsEnd(t *testing.T) {
	s := judging(t, resolver.Inbound{Guard: guardOf(friendID)})
	conn := s.connect(t, peerOf(t, friendID, 1))
	for range 1000 {
		c := conn.call("/")
		n := c.Incoming.(*noted)
		began := make(chan struct{})
		var cutting sync.WaitGroup
		cutting.Go(func() {
			<-began
			s.cut(c, &Refusal{Kind: Denied})
		})
		s.Serve(t.Context(), c, func(context.Context) resilience.Outcome {
			close(began)
			return resilience.Outcome{Status: 200}
		})
		told := len(n.ended)
		cutting.Wait()
		if len(n.ended) != told {
			t.Fatal("ended after its end")
		}
	}
}
