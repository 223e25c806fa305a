package identity

import (
	"net/netip"

	"github.com/weftmesh/weft/internal/match"
)

// An Action is what becomes of the requests that a list of policies names (Envoy RBAC.Action).
type Action uint8

// The actions.
const (
	Allow Action = iota // those alone are let through
	Deny                // those are refused
	Log                 // they are only noted
)

var actionNames = [...]string{"ALLOW", "DENY", "LOG"}

func (a Action) String() string {
	if int(a) < len(actionNames) {
		return actionNames[a]
	}
	return "INVALID"
}

// Rules say which requests are let through, in one of two forms (Envoy config.rbac.v3.RBAC, and the matcher of its
// filters). The zero Rules refuse everything: nothing is allowed.
type Rules struct {
	Action   Action
	Policies []Policy
	// Tree decides in place of Action and Policies if it is not nil. What it does not match is refused.
	Tree *Tree
}

// A Policy names requests: those that fulfil any of Permissions and any of Principals. One that lacks either names none.
type Policy struct {
	Name        string
	Permissions []Condition
	Principals  []Condition
}

// ConditionKind says what a Condition looks at.
type ConditionKind uint8

// The kinds of Condition. Of the zero kind there is none: what can't be told must not be passed over.
const (
	_          ConditionKind = iota
	Always                   // any
	All                      // each of Of
	Any                      // one of Of, at least
	Not                      // not the one of Of
	HeaderIs                 // the header Name is Is, or, with Invert, is not
	PathIs                   // the path, without query and fragment, is Is
	PathFits                 // the path fits the template Is.Value, of literals, "*", "**", "{*}", "{**}" and "{name=...}" (Envoy uri_template)
	Authentic                // the peer has proved an identity, which, if Is has a Value, is Is: any URI of its certificate, else any DNS name, else its subject
	SourceIn                 // the address of the peer is in Net
	RemoteIn                 // the address of the client is in Net, which trusted proxies have said
	LocalIn                  // the address that was connected to is in Net
	LocalPort                // the port that was connected to is in [Low, High]
	ServerName               // the SNI is Is
	ClaimIs                  // what Path leads to in the verified tokens of Name is Is (Envoy metadata of jwt_authn)
)

// A Condition is on a request, as a tree. A policy with a condition in it that can't be told of a request (an address that is not known, say), be it
// negated or beside others that decide, does not allow, and denies. Likewise, where a request can be taken for several things, as one can that has a
// header twice: to be allowed it must fulfil a condition whichever it is taken for, and to be denied, for any of them.
type Condition struct {
	Kind ConditionKind
	Of   []Condition // of All, Any, Not
	Is   match.String
	// Name is of a header; ":method", ":authority", which is "host", and ":path", with the query, name parts of the request line. "grpc-*" and
	// ":scheme" are none (gRFC A41). Of ClaimIs it is the provider of the token; empty means any.
	Name           string
	Invert         bool         // of HeaderIs
	MissingAsEmpty bool         // of HeaderIs: an absent header is empty (Envoy treat_missing_header_as_empty)
	Path           []string     // of ClaimIs: keys of nested objects
	InList         bool         // of ClaimIs: what is looked at is a list, one of whose elements is Is
	Net            netip.Prefix // of SourceIn, RemoteIn, LocalIn
	Low, High      uint16       // of LocalPort
}

// A Tree decides by the first of its Fields that holds (xds.type.matcher.v3.Matcher).
type Tree struct {
	Fields []Field
	// Else is for requests that none of Fields holds for; nil matches nothing.
	Else *Branch
}

// A Field is a condition of a Tree and what follows from it.
type Field struct {
	If   Condition
	Then Branch
	// KeepMatching says that what Then decides is only noted, and the next fields are asked.
	KeepMatching bool
}

// A Branch leads on to a Tree or ends in the verdict of a policy.
type Branch struct {
	Tree   *Tree
	Policy string
	Action Action
}
