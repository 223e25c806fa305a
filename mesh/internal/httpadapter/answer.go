package httpadapter

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"hash"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// Answer makes a the answer of the call.
func (x *exchange) Answer(a *resilience.Answer) {
	x.won.discard()
	x.won, x.given = &x.carrier, true
	x.resp = response(a, x.req) //nolint:bodyclose // the caller does
}

// Key tells the request from all that may be answered otherwise. Only a GET or HEAD without a body or a range has
// one, and none that asks not to be stored. All headers count, the caller's credentials and languages
// among them, but for those that tell one request from another of the same caller.
func (x *exchange) Key() (key string, ok bool) {
	r := &x.call.Request
	h := x.req.Header
	if r.Method != http.MethodGet && r.Method != http.MethodHead || x.body.source != nil || x.call.Unbounded ||
		len(h["Range"]) > 0 || directive(h["Cache-Control"], "no-store") {
		return "", false
	}
	sum := sha256.New() // what is kept must not tell credentials
	for _, s := range []string{r.Method, r.Scheme, r.Authority, r.Path, r.Query} {
		add(sum, s)
	}
	for _, name := range slices.Sorted(maps.Keys(h)) {
		if !passing(name) {
			add(sum, name)
			for _, v := range h[name] {
				add(sum, v)
			}
		}
	}
	return string(sum.Sum(nil)), true
}

// add adds s so that no two sequences of strings look alike.
func add(sum hash.Hash, s string) {
	var few [binary.MaxVarintLen64]byte
	sum.Write(binary.AppendUvarint(few[:0], uint64(len(s))))
	io.WriteString(sum, s) //nolint:errcheck // a hash takes everything
}

// passing reports that a header tells one request from another, and not what is asked or who asks.
func passing(name string) bool {
	switch name {
	case "Traceparent", "Tracestate", "B3", "X-Request-Id", "X-Correlation-Id", "X-Amzn-Trace-Id", "X-Cloud-Trace-Context",
		"Uber-Trace-Id", "Sentry-Trace", "Grpc-Timeout", "Cache-Control", "Pragma", "Connection",
		"If-None-Match", "If-Modified-Since", "X-Envoy-Attempt-Count", "X-Weft-Criticality":
		return true
	}
	return name == expectedTimeout.Canonical || strings.HasPrefix(name, "X-B3-") || strings.HasPrefix(name, "X-Datadog-")
}

// A keeping is an answer that is kept as the caller reads it.
type keeping struct {
	call   *engine.Call
	key    string
	answer *resilience.Answer
}

// keep begins to keep the answer of c if that is good, and one that may be given again to the same request: it does not say
// that it is for nobody else's use, and sets no cookie.
func (x *exchange) keep(c *carrier) {
	resp := c.resp
	length := 0
	if resp.Body != http.NoBody { // and else of what a GET would get
		length = int(max(resp.ContentLength, 0))
	}
	if x.given || !x.call.Keeps(resilience.Outcome{Status: resp.StatusCode}, length) || !storable(resp) {
		return
	}
	key, ok := x.Key()
	if !ok {
		return
	}
	k := &keeping{call: &x.call, key: key, answer: &resilience.Answer{Status: resp.StatusCode, Header: entries(resp.Header)}}
	switch resp.Body {
	case http.NoBody:
		k.call.Keep(key, k.answer)
	case &c.held:
		c.held.kept = k
	}
}

// add is told of a Read of the answer's body.
func (k *keeping) add(p []byte, err error) {
	a := k.answer
	switch {
	case a == nil:
	case !k.call.Keeps(resilience.Outcome{Status: a.Status}, len(a.Body)+len(p)):
		k.answer = nil
	default:
		a.Body = append(a.Body, p...)
		if errors.Is(err, io.EOF) {
			k.call.Keep(k.key, a)
		}
		if err != nil {
			k.answer = nil
		}
	}
}

func storable(resp *http.Response) bool {
	h := resp.Header
	if len(h["Set-Cookie"]) > 0 || len(h["Content-Range"]) > 0 ||
		directive(h["Cache-Control"], "no-store") || directive(h["Cache-Control"], "private") {
		return false
	}
	for _, list := range h["Vary"] {
		for name := range strings.SplitSeq(list, ",") {
			if name = strings.TrimSpace(name); name == "*" || passing(textproto.CanonicalMIMEHeaderKey(name)) {
				return false
			}
		}
	}
	return true
}

// directive reports whether Cache-Control has a directive, whatever its value.
func directive(control []string, name string) bool {
	for _, list := range control {
		for d := range strings.SplitSeq(list, ",") {
			d, _, _ = strings.Cut(d, "=")
			if strings.EqualFold(strings.TrimSpace(d), name) {
				return true
			}
		}
	}
	return false
}

// entries are the headers of an answer, but for those of its connection.
func entries(h http.Header) []resilience.Entry {
	out := make([]resilience.Entry, 0, len(h))
	for name, values := range h {
		switch name {
		case "Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
			continue
		}
		for _, v := range values {
			out = append(out, resilience.Entry{Key: name, Value: v})
		}
	}
	return out
}

// response is a as the response to req. It shares nothing with a that its reader may write.
func response(a *resilience.Answer, req *http.Request) *http.Response {
	h := make(http.Header, len(a.Header)+1)
	for _, e := range a.Header {
		h.Add(e.Key, e.Value)
	}
	status, body := a.Status, a.Body
	if status == 0 {
		status = http.StatusOK
	}
	if len(body) > 0 && len(h["Content-Type"]) == 0 {
		h.Set("Content-Type", "text/plain")
	}
	resp := &http.Response{
		Status: strconv.Itoa(status) + " " + http.StatusText(status), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: h, Body: http.NoBody, ContentLength: int64(len(body)), Request: req,
	}
	switch {
	case req.Method == http.MethodHead: // the length is that of what a GET would get
		resp.ContentLength = -1
		if n, err := strconv.ParseInt(h.Get("Content-Length"), 10, 64); err == nil {
			resp.ContentLength = n
		}
	case len(body) > 0:
		resp.Body = io.NopCloser(bytes.NewReader(body))
	}
	return resp
}
