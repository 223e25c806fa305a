package workload

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/identitytest"
)

var (
	_ identity.Source = (*Source)(nil)
	_ identity.Waiter = (*Source)(nil)
)

// open is a source whose agent has it.
func open(t *testing.T, a *agent, hint string) *Source {
	t.Helper()
	s, err := New(Config{Address: a.address(), Hint: hint, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func ready(t *testing.T, s *Source) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if err := s.Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

// until waits until the source has an SVID.
func until(t *testing.T, s *Source, want *x509svid.SVID) {
	t.Helper()
	wait(t, s, func() bool { return s.svid != nil && s.svid.Certificates[0].Equal(want.Certificates[0]) })
}

// wait waits until a condition holds, which reads s under its lock.
func wait(t *testing.T, s *Source, holds func() bool) {
	t.Helper()
	timeout := time.After(time.Minute)
	for {
		s.mu.Lock()
		if holds() {
			s.mu.Unlock()
			return
		}
		if s.changed == nil {
			s.changed = make(chan struct{})
		}
		changed := s.changed
		s.mu.Unlock()
		select {
		case <-changed:
		case <-timeout:
			t.Fatal("it did not come")
		}
	}
}

func one(s *x509svid.SVID) []*x509svid.SVID { return []*x509svid.SVID{s} }

func TestRotation(t *testing.T) {
	a, ca, other := newAgent(t), identitytest.New(t, "td"), identitytest.New(t, "other")
	s := open(t, a, "")
	if _, err := s.GetX509SVID(); err == nil {
		t.Error("an SVID before the agent gave one")
	}
	if _, err := s.GetX509BundleForTrustDomain(ca.TrustDomain()); err == nil {
		t.Error("a bundle before the agent gave one")
	}
	// Who is not known yet is refused, and asks again.
	a.untilAsked(2)
	first := ca.Issue("/ns/shop/sa/a")
	a.say(ca.Bundle(), one(first), other.Bundle())
	ready(t, s)
	until(t, s, first)
	for _, of := range []*identitytest.CA{ca, other} {
		if b, err := s.GetX509BundleForTrustDomain(of.TrustDomain()); err != nil || !b.Equal(of.Bundle()) {
			t.Error(err)
		}
	}
	if _, err := s.GetX509BundleForTrustDomain(identitytest.New(t, "stranger").TrustDomain()); err == nil {
		t.Error("a bundle of a stranger")
	}
	for range 20 {
		ca.Rotate()
		next := ca.Intermediate().Issue("/ns/shop/sa/a")
		a.say(ca.Bundle(), one(next))
		until(t, s, next)
		if b, err := s.GetX509BundleForTrustDomain(ca.TrustDomain()); err != nil || !b.Equal(ca.Bundle()) {
			t.Error(err)
		}
	}
	if _, err := s.GetX509BundleForTrustDomain(other.TrustDomain()); err == nil {
		t.Error("a trust domain that is not federated any more is believed")
	}
}

func TestOutage(t *testing.T) {
	a, ca := newAgent(t), identitytest.New(t, "td")
	first, next := ca.Issue("/a"), ca.Issue("/a")
	a.say(ca.Bundle(), one(first))
	s := open(t, a, "")
	ready(t, s)
	a.stop()
	if svid, err := s.GetX509SVID(); err != nil || !svid.Certificates[0].Equal(first.Certificates[0]) {
		t.Error("the identity was lost with the agent:", err)
	}
	a.say(ca.Bundle(), one(next))
	a.start()
	until(t, s, next)
}

func TestAnswersThatAreNone(t *testing.T) {
	a, ca := newAgent(t), identitytest.New(t, "td")
	first := ca.Issue("/a")
	a.say(ca.Bundle(), one(first))
	s := open(t, a, "")
	ready(t, s)
	asked := 1
	for _, code := range []codes.Code{codes.Unavailable, codes.PermissionDenied, codes.InvalidArgument, codes.Canceled, codes.Internal} {
		a.fail(status.Error(code, "away"))
		asked++
		a.untilAsked(asked) // the next watch ends by the same answer
		if svid, err := s.GetX509SVID(); err != nil || !svid.Certificates[0].Equal(first.Certificates[0]) {
			t.Errorf("%v: the identity was lost: %v", code, err)
		}
		next := ca.Issue("/a")
		a.say(ca.Bundle(), one(next))
		until(t, s, next)
		first = next
		a.mu.Lock()
		asked = a.asked
		a.mu.Unlock()
	}
	for name, bad := range map[string][]*x509svid.SVID{
		"empty":        nil,
		"an authority": one(ca.Issue("/a", identitytest.Authority())),
		"no path":      one(ca.Issue("spiffe://td")),
		"another key":  {{ID: first.ID, Certificates: ca.Issue("/a").Certificates, PrivateKey: first.PrivateKey}},
	} {
		a.say(ca.Bundle(), bad)
		wait(t, s, func() bool { return s.err != nil })
		if svid, err := s.GetX509SVID(); err != nil || !svid.Certificates[0].Equal(first.Certificates[0]) {
			t.Errorf("%s: believed, or all was lost: %v", name, err)
		}
		first = ca.Issue("/a")
		a.say(ca.Bundle(), one(first))
		until(t, s, first)
	}
}

func TestHint(t *testing.T) {
	a, ca := newAgent(t), identitytest.New(t, "td")
	internal, external := ca.Issue("/a"), ca.Issue("/b")
	internal.Hint, external.Hint = "internal", "external"
	a.say(ca.Bundle(), []*x509svid.SVID{internal, external})
	s, first, none := open(t, a, "external"), open(t, a, ""), open(t, a, "none")
	until(t, s, external)
	until(t, first, internal)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- none.Ready(ctx) }()
	a.untilAsked(3)
	cancel()
	if err := <-ended; err == nil {
		t.Error("ready without the SVID that was asked for")
	}
}

func TestAddress(t *testing.T) {
	t.Setenv(workloadapi.SocketEnv, "")
	if _, err := New(Config{}); err == nil || !strings.Contains(err.Error(), workloadapi.SocketEnv) {
		t.Error("no address:", err)
	}
	if _, err := New(Config{Address: "http://agent"}); err == nil {
		t.Error("an address of HTTP")
	}
	a, ca := newAgent(t), identitytest.New(t, "td")
	svid := ca.Issue("/a")
	a.say(ca.Bundle(), one(svid))
	t.Setenv(workloadapi.SocketEnv, a.address())
	s, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	until(t, s, svid)
	s.Close()
	if _, err := s.GetX509SVID(); err == nil {
		t.Error("a closed source has an SVID")
	}
	if err := s.Ready(t.Context()); err == nil {
		t.Error("a closed source is ready")
	}
}

func TestNobodyThere(t *testing.T) {
	s, err := New(Config{Address: "unix:///nowhere/agent.sock", Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	if err := s.Ready(ctx); err == nil || !strings.Contains(err.Error(), "/nowhere/agent.sock") {
		t.Error(err)
	}
	s.Close()
}
