// Package identity says who calls and who may: what a process proves who it is with, how it verifies others, and the rules
// that let calls in. What stands here decides and does not act: it calls no network and opens no connection.
package identity

import (
	"context"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// A Source has what a process proves who it is with, and what it believes others by: its X509-SVID, and the bundles of the
// trust domains it trusts. It is asked for both at each handshake, so that what is rotated is in use at once. Its methods
// are safe for concurrent use, do not block on the network, and fail while there is nothing yet.
//
// The sources are in the packages below this one; a workloadapi.X509Source of go-spiffe is one too.
type Source interface {
	x509svid.Source
	x509bundle.Source
}

// A Waiter is a Source that may have nothing at first.
type Waiter interface {
	// Ready waits until there is an SVID and a bundle. The error says in one sentence what is missing and why.
	Ready(ctx context.Context) error
}

// A Learner is a Source that takes up bundles which come by another way than its own, such as a control plane's: they are the newest, and those of
// other trust domains may come by no other. What it is given is the whole of it, each time.
type Learner interface {
	SetBundles(bundles ...*x509bundle.Bundle)
}
