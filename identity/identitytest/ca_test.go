package identitytest

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

func TestCertificates(t *testing.T) {
	ca := New(t, "td")
	good := ca.Issue("/ns/shop/sa/payments")
	through := ca.Intermediate().Issue("/ns/shop/sa/payments")
	before := ca.Bundle()
	ca.Rotate()
	anew := ca.Issue("/ns/shop/sa/payments")
	both := ca.Bundle()
	ca.Retire()
	for name, c := range map[string]struct {
		svid *x509svid.SVID
		by   x509bundle.Source
		good bool
	}{
		"before the rotation":      {good, before, true},
		"through an intermediate":  {through, before, true},
		"old to old and new":       {good, both, true},
		"new to old and new":       {anew, both, true},
		"new to old":               {anew, before, false},
		"old to new":               {good, ca.Bundle(), false},
		"of another authority":     {good, New(t, "td").Bundle(), false},
		"of another trust domain":  {good, New(t, "other").Bundle(), false},
		"expired":                  {ca.Issue("/a", Expired()), ca.Bundle(), false},
		"an authority":             {ca.Issue("/a", Authority()), ca.Bundle(), false},
		"without an id":            {ca.Issue("/a", URIs()), ca.Bundle(), false},
		"with two ids":             {ca.Issue("/a", URIs("spiffe://td/a", "spiffe://td/b")), ca.Bundle(), false},
		"with an id of its choice": {ca.Issue("spiffe://other/a"), ca.Bundle(), false},
	} {
		id, _, err := x509svid.Verify(c.svid.Certificates, c.by)
		if (err == nil) != c.good || c.good && id != c.svid.ID {
			t.Errorf("%s: %v, %v", name, id, err)
		}
	}
}

func TestSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, s := New(t, "td"), &Source{}
		if _, err := s.GetX509SVID(); err == nil {
			t.Error("an empty source has an SVID")
		}
		ready := make(chan error)
		go func() { ready <- s.Ready(t.Context()) }()
		synctest.Wait()
		s.SetSVID(ca.Issue("/a"))
		s.SetBundles(ca.Bundle())
		if err := <-ready; err != nil {
			t.Error(err)
		}
		failed := errors.New("away")
		s.Fail(failed)
		if _, err := s.GetX509BundleForTrustDomain(ca.TrustDomain()); !errors.Is(err, failed) {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := s.Ready(ctx); !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
		s.Fail(nil)
		if svid, err := s.GetX509SVID(); err != nil || svid.ID != ca.ID("/a") {
			t.Error(svid, err)
		}
		if _, err := s.GetX509BundleForTrustDomain(New(t, "other").TrustDomain()); err == nil {
			t.Error("a bundle of a trust domain that was not given")
		}
	})
}
