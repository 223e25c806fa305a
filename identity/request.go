package identity

import (
	"net/netip"

	"github.com/weftmesh/weft/internal/match"
)

// A Request is what rules see of a call or of a connection. What it lacks (a Header of a connection, say) fulfils no condition, and none
// that is negated either.
type Request struct {
	// Connection says that there is no request yet, only a connection.
	Connection bool

	Method    string // "POST" for gRPC
	Scheme    string
	Authority string // as NormalizeAuthority makes it
	Path      string // without query, as NormalizePath makes it
	Query     string // raw, without "?"
	Header    match.Header
	GRPC      bool

	Peer   *Peer          // nil over plaintext
	Source netip.AddrPort // of the peer; invalid if it is not known
	Client netip.Addr     // as trusted proxies say; invalid means Source's
	Local  netip.AddrPort // that was connected to
	Claims []Claims       // of verified tokens
}
