package extauthz

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
	"github.com/weftmesh/weft/mesh/internal/engine"
)

// request asks by HTTP: the service is sent a request like the one that is asked about (Envoy http_service).
func (a *Asker) request(ctx context.Context, q *question) (identity.Verdict, error) {
	l, err := a.listsOf(q.ExtAuthz)
	if err != nil {
		return identity.Verdict{}, err
	}
	req, err := q.request(ctx, l)
	if err != nil {
		return identity.Verdict{}, err
	}
	resp, err := a.config.HTTP.RoundTrip(req)
	if err != nil {
		if silent(err) {
			err = &silence{err}
		}
		return identity.Verdict{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, mostBody))
	switch {
	case resp.StatusCode >= 500:
		return identity.Verdict{}, &silence{fmt.Errorf("the service answers that it has failed (%d)", resp.StatusCode)}
	case resp.StatusCode == http.StatusOK:
		return l.allowed(resp.Header), nil
	case err != nil:
		body = nil // that it is refused was said
	}
	return l.denied(resp, body), nil
}

// silent reports whether a service was not reached, or not heard of again. What the mesh refuses is no silence.
func silent(err error) bool {
	e, ok := errors.AsType[*engine.Error](err)
	if !ok {
		return true
	}
	return slices.Contains([]engine.Kind{engine.NoService, engine.NoHost, engine.Unreachable, engine.Reset, engine.Deadline, engine.Overloaded}, e.Kind)
}

// request is what the service is sent.
func (q *question) request(ctx context.Context, l *lists) (*http.Request, error) {
	if q.r.Method == http.MethodConnect || !strings.HasPrefix(q.r.Path, "/") {
		return nil, errors.New("the request can't be asked about by HTTP")
	}
	var body io.Reader
	if len(q.body) > 0 {
		body = bytes.NewReader(q.body)
	}
	req, err := http.NewRequestWithContext(ctx, q.r.Method, "http://"+q.Service+strings.TrimSuffix(q.PathPrefix, "/")+q.target(), body)
	if err != nil {
		return nil, errors.New("the request can't be asked about by HTTP")
	}
	req.Host = q.r.Authority
	for name, values := range q.header.All() {
		name = match.ToLower(name)
		if framing(name) || name == partialBody.Lower || name != "authorization" && (!l.request.has(name) || identity.Steering(name)) {
			continue
		}
		for _, v := range q.values(name, values) {
			if !sound(name, v) {
				return nil, fmt.Errorf("the request's header %q is none", name)
			}
			req.Header.Add(name, v)
		}
	}
	for _, f := range q.AddHeaders {
		req.Header.Set(f.Name, f.Value)
	}
	if q.MaxBody > 0 {
		req.Header.Set(partialBody.Canonical, q.partial())
	}
	req.Header.Set(questions.Canonical, q.depth)
	if _, has := req.Header["User-Agent"]; !has {
		req.Header["User-Agent"] = nil // or net/http names itself
	}
	return req, nil
}

// lists are those of an ExtAuthz, made ready.
type lists struct{ request, upstream, appended, denials, allows list }

// A list is conditions on the names of headers.
type list []match.Matcher

// mostReady is how many lists are kept: more than there are services that decide.
const mostReady = 64

// listsOf are the lists of e, which are made ready once.
func (a *Asker) listsOf(e *identity.ExtAuthz) (*lists, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if l := a.ready[e]; l != nil {
		return l, nil
	}
	l := &lists{}
	for _, one := range []struct {
		from []match.String
		to   *list
	}{
		{e.RequestHeaders, &l.request}, {e.UpstreamHeaders, &l.upstream}, {e.AppendHeaders, &l.appended}, {e.DeniedHeaders, &l.denials}, {e.AllowedHeaders, &l.allows},
	} {
		for _, is := range one.from {
			m, err := is.Compile()
			if err != nil {
				return nil, err
			}
			*one.to = append(*one.to, m)
		}
	}
	if len(a.ready) >= mostReady {
		clear(a.ready)
	}
	a.ready[e] = l
	return l, nil
}

func (l list) has(name string) bool {
	for i := range l {
		if l[i].Matches(name) {
			return true
		}
	}
	return false
}

// allowed is the verdict of an answer that lets the request through.
func (l *lists) allowed(h http.Header) identity.Verdict {
	v := identity.Verdict{Allowed: true}
	for _, canonical := range slices.Sorted(maps.Keys(h)) {
		name := match.ToLower(canonical)
		for i, value := range h[canonical] {
			f := identity.HeaderField{Name: name, Value: value}
			switch {
			case !changeable(name):
			case l.appended.has(name), l.upstream.has(name) && i > 0:
				v.Append = append(v.Append, f)
			case l.upstream.has(name):
				v.Set = append(v.Set, f)
			}
			if l.allows.has(name) && !framing(name) {
				v.Answer = append(v.Answer, f)
			}
		}
	}
	for _, names := range h["X-Envoy-Auth-Headers-To-Remove"] { // (Envoy)
		for name := range strings.SplitSeq(names, ",") {
			remove(&v, strings.TrimSpace(name))
		}
	}
	return v
}

// denied is the verdict of one that does not. What the caller gets of its header is all, if nothing is said (Envoy).
func (l *lists) denied(resp *http.Response, body []byte) identity.Verdict {
	v := identity.Verdict{Status: resp.StatusCode, Body: string(body)}
	for _, canonical := range slices.Sorted(maps.Keys(resp.Header)) {
		name := match.ToLower(canonical)
		if framing(name) || len(l.denials) > 0 && !l.denials.has(name) && name != "www-authenticate" && name != "location" {
			continue
		}
		for _, value := range resp.Header[canonical] {
			v.Header = append(v.Header, identity.HeaderField{Name: name, Value: value})
		}
	}
	return v
}
