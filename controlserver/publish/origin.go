package publish

import (
	"cmp"
	"slices"

	"github.com/weftmesh/weft/controlserver/catalog"
)

// A Part is one policy among those of a route, a cluster or a server.
type Part string

// The parts. Of routes, clusters and servers each has some.
const (
	Timeout        Part = "timeout"
	Retries        Part = "retries"
	Hedge          Part = "hedge"
	Priority       Part = "priority"
	Idle           Part = "idle timeout"
	Rate           Part = "rate limit"
	GlobalRate     Part = "global rate limit"
	Fault          Part = "fault"
	Fallback       Part = "fallback"
	Bandwidth      Part = "bandwidth"
	Switches       Part = "turned off"
	Balance        Part = "balance"
	ConnectTime    Part = "connect timeout"
	MaxConnections Part = "connections"
	MaxPending     Part = "calls waiting"
	MaxRequests    Part = "calls in flight"
	MaxRetries     Part = "retries in flight"
	Budget         Part = "retry budget"
	Outlier        Part = "outlier detection"
	Breaker        Part = "breaker"
	HostBreaker    Part = "host breaker"
	Admission      Part = "admission"
	Concurrency    Part = "concurrency"
	Shedding       Part = "shedding"
	Late           Part = "late work"
	HealthPaths    Part = "health checks"
	TLS            Part = "TLS"
	Authorization  Part = "authorization"
	RequestTokens  Part = "tokens"
	Trusted        Part = "trusted callers"
	Serials        Part = "revoked serial numbers"
	Identities     Part = "revoked identities"
)

// An Origin is where something is configured.
type Origin struct {
	Object *catalog.Object
	Field  string // "spec.http[0].timeout"
}

// String is "Kind/namespace/name at file:line".
func (o Origin) String() string {
	return o.Object.Key().String() + " at " + o.Object.At(o.Field).String()
}

// below is the origin of a field of what stands at o.
func (o Origin) below(field string) Origin {
	o.Field += "." + field
	return o
}

// Origins are where the parts of a value are configured. A part that is not here is a default.
type Origins map[Part][]Origin

// put says that a part is configured by a field of what stands at an origin, and by nothing else; or that it is not.
func (o Origins) put(at Origin, field string, configured bool, part Part) {
	if configured {
		o[part] = []Origin{at.below(field)}
	} else {
		delete(o, part)
	}
}

// add says that a part is configured at an origin too.
func (o Origins) add(part Part, at Origin) { o[part] = append(slices.Clip(o[part]), at) }

// A Loss is something configured that a kind of client can't do.
type Loss struct {
	Dialect Dialect
	Origin
	Part Part
	What string
}

// String is "file:line: Kind/namespace/name: field: what is lost", as a finding.
func (l Loss) String() string {
	return l.Object.At(l.Field).String() + ": " + l.Object.Key().String() + ": " + l.Field + ": " + l.What
}

// losses collects what is lost of the parts of a value.
type losses struct {
	dialect Dialect
	from    Origins
	all     []Loss
}

// say leaves out what is not configured: nobody asked for a default.
func (l *losses) say(p Part, what string) {
	for _, o := range l.from[p] {
		l.all = append(l.all, Loss{l.dialect, o, p, what})
	}
}

// sayIf says it if it is so.
func (l *losses) sayIf(so bool, p Part, what string) {
	if so {
		l.say(p, what)
	}
}

// sayFault says it of the fault that was configured last alone: only a TrafficPolicy, which comes after a
// VirtualService, asks for what not everybody can do.
func (l *losses) sayFault(what string) {
	if all := l.from[Fault]; len(all) > 0 {
		l.all = append(l.all, Loss{l.dialect, all[len(all)-1], Fault, what})
	}
}

func compareLosses(a, b Loss) int {
	return cmp.Or(cmp.Compare(a.Dialect, b.Dialect), cmp.Compare(a.String(), b.String()))
}
