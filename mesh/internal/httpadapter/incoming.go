package httpadapter

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resolver"
)

// Set implements engine.Incoming.
func (s *served) Set(name resolver.HeaderName, value string) {
	for other := range s.r.Header {
		if identity.ReadsAs(other, name.Lower) {
			delete(s.r.Header, other)
		}
	}
	s.r.Header[name.Canonical] = []string{value}
	keep(s.r.Header, name.Lower)
}

// keep has a header that the mesh vouches for stay where the handler is a proxy, which takes off what Connection names (RFC 9110, 7.6.1).
func keep(h http.Header, name string) {
	for i, line := range h["Connection"] {
		if len(line) < len(name) {
			continue // the usual ones
		}
		var others []string
		for option := range strings.SplitSeq(line, ",") {
			if option = strings.Trim(option, " \t"); !identity.ReadsAs(option, name) {
				others = append(others, option)
			}
		}
		h["Connection"][i] = strings.Join(others, ", ")
	}
}

// Append implements engine.Incoming.
func (s *served) Append(name resolver.HeaderName, value string) {
	s.r.Header[name.Canonical] = append(s.r.Header[name.Canonical], value)
}

// Remove implements engine.Incoming.
func (s *served) Remove(name resolver.HeaderName) {
	if len(s.r.Header[name.Canonical]) > 0 {
		delete(s.r.Header, name.Canonical)
	}
}

// RemoveSteering implements engine.Incoming.
func (s *served) RemoveSteering() {
	for name := range s.r.Header {
		if identity.Steering(name) {
			delete(s.r.Header, name)
		}
	}
}

// Body implements engine.Incoming. What was read comes again.
func (s *served) Body(limit int) ([]byte, error) {
	if s.r.Body == nil || s.r.Body == http.NoBody || limit <= 0 {
		return nil, nil
	}
	begun := make([]byte, 0, min(limit, 64<<10))
	read := bytes.NewBuffer(begun)
	_, err := io.CopyN(read, s.r.Body, int64(limit))
	s.r.Body = &replayed{io.MultiReader(bytes.NewReader(read.Bytes()), s.r.Body), s.r.Body}
	if errors.Is(err, io.EOF) {
		err = nil
	}
	return read.Bytes(), err
}

// replayed is a body of which some was read before.
type replayed struct {
	io.Reader
	io.Closer
}

// End implements engine.Incoming: reads and writes of the handler fail from now on. Of HTTP/2 the stream is reset, which ends the request's context; of
// HTTP/1 the connection is closed, which does so as soon as the request's body has been read.
func (s *served) End(*engine.Refusal) {
	if c := s.rec.hijacked.Load(); c != nil {
		(*c).Close()
		return
	}
	past := time.Unix(1, 0)
	c := http.NewResponseController(s.w)
	// Writers that can't be hurried see the context's end.
	_ = c.SetReadDeadline(past)
	_ = c.SetWriteDeadline(past)
	if s.r.ProtoMajor < 2 {
		s.call.Hangup()
	}
}

// asked are the path and the query as they came, without the fragment, which net/url takes for a part of either. A host in the :path of HTTP/2 is not
// the request's (RFC 9113, 8.3.1): such a path stays as it is, which is none.
func asked(r *http.Request) (path, query string) {
	if r.ProtoMajor >= 2 && r.Method != http.MethodConnect && r.RequestURI != "" && r.RequestURI[0] != '/' {
		return r.RequestURI, ""
	}
	target, _, fragment := strings.Cut(r.RequestURI, "#")
	if !fragment {
		return wirePath(r.URL), r.URL.RawQuery
	}
	if scheme, rest, absolute := strings.Cut(target, "://"); absolute && scheme != "" && target[0] != '/' {
		_, rest, _ = strings.Cut(rest, "/")
		target = "/" + rest
	}
	path, query, _ = strings.Cut(target, "?")
	return path, query
}

// host is whom the request is for. Who says it twice says nothing that has a meaning (RFC 9112, 3.2), and beside :authority the header is not looked
// at, by anybody (gRFC A41).
func host(r *http.Request) string {
	said := r.Header["Host"] // of HTTP/2, as it came
	if said == nil {
		return r.Host
	}
	delete(r.Header, "Host")
	if len(said) > 1 {
		return strings.Join(said, ",")
	}
	return r.Host
}

// readdress lets the handler see the path and the host by which the call was judged.
func (s *served) readdress(r *http.Request) {
	now := &s.call.Request
	if s.call.Judged() {
		r.Host = strings.ToLower(r.Host)
	}
	if now.Path == s.path && now.Query == s.query {
		return
	}
	u := *r.URL
	if p, err := url.PathUnescape(now.Path); err == nil && now.Path != s.path {
		u.Path, u.RawPath, u.Opaque = p, now.Path, ""
	}
	u.RawQuery = now.Query
	r.URL, r.RequestURI = &u, u.RequestURI()
}
