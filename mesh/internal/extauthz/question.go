package extauthz

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// A question is about one request.
type question struct {
	*identity.ExtAuthz
	r      *identity.Request
	header Header // nil of a connection
	body   []byte
	depth  string
}

var errHeader = errors.New("the request's header can't be listed")

func newQuestion(e *identity.ExtAuthz, r *identity.Request, body []byte) (*question, error) {
	q := &question{ExtAuthz: e, r: r, body: body, depth: "1"}
	for _, f := range e.AddHeaders {
		if !sound(f.Name, f.Value) {
			return nil, fmt.Errorf("added header %q: is none", f.Name)
		}
	}
	if r.Connection {
		if e.HTTP {
			return nil, errors.New("connections are not asked about by HTTP")
		}
		return q, nil
	}
	var ok bool
	if q.header, ok = r.Header.(Header); !ok {
		return nil, errHeader
	}
	var err error
	q.depth, err = depth(q.header)
	return q, err
}

// target is the path with the query.
func (q *question) target() string {
	if q.r.Query == "" {
		return q.r.Path
	}
	return q.r.Path + "?" + q.r.Query
}

// values are those of a header as they stand on the wire.
func (q *question) values(name string, values []string) []string {
	if !q.r.GRPC || !strings.HasSuffix(name, "-bin") {
		return values
	}
	encoded := make([]string, len(values))
	for i, v := range values {
		encoded[i] = base64.RawStdEncoding.EncodeToString([]byte(v))
	}
	return encoded
}

// first is the first value of a header; empty if there is none.
func (q *question) first(name string) string {
	if v := q.header.Values(match.Named(name)); len(v) > 0 {
		return v[0]
	}
	return ""
}

// length is that of the request's body; -1 if it is not known.
func (q *question) length() int64 {
	n, err := strconv.ParseInt(q.first("content-length"), 10, 64)
	if err != nil || n < 0 {
		return -1
	}
	return n
}

// partial reports whether there is, or may be, more of the body than is sent. It is said where some is (Envoy).
func (q *question) partial() string {
	n := q.length()
	return strconv.FormatBool(n > int64(len(q.body)) || n < 0 && len(q.body) >= int(q.MaxBody))
}

var partialBody = match.HeaderName{Lower: "x-envoy-auth-partial-body", Canonical: "X-Envoy-Auth-Partial-Body"}

// sound reports whether something is a line of a header.
func sound(name, value string) bool {
	if name == "" {
		return false
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0 {
			return false
		}
	}
	for _, c := range []byte(value) {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

// framing reports whether a header, in lower case, is of a connection or of how a message is carried, and not of what it says.
func framing(name string) bool {
	switch name {
	case "host", "connection", "content-length", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade":
		return true
	}
	return strings.HasPrefix(name, ":")
}
