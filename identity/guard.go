package identity

import "github.com/weftmesh/weft/internal/match"

// A Guard is who may call a server, and how they prove who they are, as a value. The zero Guard lets everybody in whom the
// server's TLS lets in.
type Guard struct {
	// JWT verifies tokens before anything asks for them; nil verifies none, and then no request has claims.
	JWT *JWT
	// Steps are taken in order; the first that refuses stands.
	Steps []Step
	// Connections are the steps that are taken once for each connection of a server that speaks no HTTP. Conditions on
	// requests are never among them.
	Connections []Step
	// Trusted are the identities whose headers count that steer the mesh (timeouts, retries, faults, priority, lanes). nil means all of
	// the process's own trust domain. What others send of them is removed.
	Trusted []match.String
	// Revoked are identities and certificates that are not believed any more. nil is none.
	Revoked *Revoked
}

// A Step is one decision: by Rules, or by a service outside.
type Step struct {
	Name string // of the filter
	// Rules decide; nil lets everything through.
	Rules *Rules
	// Shadow are rules whose decision is only reported (Istio dry-run).
	Shadow *Rules
	// Ask has a service outside decide on the requests that Ask.When names; nil asks nobody.
	Ask *ExtAuthz
}

// A HeaderField is a line of a header; its name is in lower case.
type HeaderField struct{ Name, Value string }
