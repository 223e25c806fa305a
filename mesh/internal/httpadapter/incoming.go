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
	s.r.Header[name.Canonical] = []string{value}
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

// End implements engine.Incoming: reads and writes of the handler fail from now on.
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
}

// askedPath is the path as it came. What net/url takes for part of it, a fragment, stays as one.
func askedPath(r *http.Request) string {
	if strings.IndexByte(r.RequestURI, '#') < 0 || r.RequestURI[0] != '/' {
		return wirePath(r.URL)
	}
	path, _, _ := strings.Cut(r.RequestURI, "?")
	return path
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
