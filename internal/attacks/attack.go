// Package attacks is what attackers send, as bytes, so that no client mends it on the way, and what becomes of it. The same
// attacks are tried on servers of the mesh here, and on others' in internal/interop; docs/security.md has the results, which the tests hold to
// the truth.
package attacks

import (
	"fmt"
	"net"
	"strings"
)

// A Wire is how a request goes.
type Wire uint8

// The wires.
const (
	HTTP1 Wire = iota
	HTTP2
	GRPC
)

func (w Wire) String() string { return [...]string{"HTTP/1", "HTTP/2", "gRPC"}[w] }

// A Want is what is to become of an attack.
type Want uint8

// What may become of attacks.
const (
	Blocked Want = iota // the handler is not to see it
	Passes              // it is honest: the handler is to see it
	Differs             // the handler may see it, but as something else than what the policy protects
)

// An Attack is a request to a server that has the policies of [Rows]. The zero values are those of an honest one.
type Attack struct {
	ID   string // of the row of the catalogue that it is an example of
	What string
	On   []Wire
	Want Want
	Sees string // the path that the handler sees, where it does; empty is any

	Path    string // with the query; "/ok", and "/shop.Shop/Read" of gRPC, if empty
	Method  string // GET, and POST of gRPC, if empty
	Host    string // "shop" if empty
	Scheme  string // of HTTP/2
	Header  [][2]string
	Raw     string      // all of an HTTP/1 request, instead of that
	Pseudo  [][2]string // of HTTP/2, after the usual ones; a value "-" takes one away
	Trailer [][2]string // of HTTP/2, behind a body

	// Behind says that what is wrong stands behind the header: of a proxy, which hands that on, nobody can tell whether the server's answer or
	// its own comes first.
	Behind bool
}

// Name is what the table calls the attack.
func (a *Attack) Name() string { return a.ID + " | " + a.What }

// Plain reports whether the attack is one that every server must be able to tell, or its policies do not hold at all.
func (a *Attack) Plain() bool { return a.Want == Blocked && strings.HasSuffix(a.What, ", plainly") }

// An Outcome is what became of an attack.
type Outcome struct {
	Reached int    // how often the handler was called
	Saw     string // the path that it saw last
	Answer  string // the status, or how the connection or stream ended
}

// Bad says what is wrong with the outcome; nothing if it is empty.
func (a *Attack) Bad(o Outcome) string {
	switch {
	case a.Want == Blocked && o.Reached > 0:
		return fmt.Sprintf("the handler was called, and saw %q", o.Saw)
	case a.Want == Passes && o.Reached == 0:
		return "the handler was not called: " + o.Answer
	case o.Reached > 0 && a.Sees != "" && o.Saw != a.Sees:
		return fmt.Sprintf("the handler saw %q, not %q", o.Saw, a.Sees)
	}
	return ""
}

// Cell is the outcome as the table says it.
func (a *Attack) Cell(o Outcome) string {
	switch {
	case o.Reached == 0 && (o.Answer == "closed" || o.Answer == "431" || strings.HasPrefix(o.Answer, "GOAWAY") || strings.HasPrefix(o.Answer, "RST")):
		return "cut off" // which of these is a race with what is still being sent
	case o.Reached == 0:
		return o.Answer
	case a.Want == Blocked:
		return "**reached**"
	}
	return "passes as `" + clip(o.Saw) + "`"
}

func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// Send sends the attack on a new connection, which it closes, and returns the answer.
func (a *Attack) Send(w Wire, c net.Conn) string {
	defer c.Close()
	if w == HTTP1 {
		return a.sendHTTP1(c)
	}
	return a.sendHTTP2(w, c)
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// lines is the attack in HTTP/1.
func (a *Attack) lines() string {
	if a.Raw != "" {
		return a.Raw
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", or(a.Method, "GET"), or(a.Path, "/ok"), or(a.Host, "shop"))
	for _, h := range a.Header {
		b.WriteString(h[0] + ": " + h[1] + "\r\n")
	}
	b.WriteString("Connection: close\r\n\r\n")
	return b.String()
}

// fields is the attack in HTTP/2.
func (a *Attack) fields(w Wire) [][2]string {
	method, path := or(a.Method, "GET"), or(a.Path, "/ok")
	if w == GRPC {
		method, path = or(a.Method, "POST"), or(a.Path, "/shop.Shop/Read")
	}
	out := [][2]string{{":method", method}, {":scheme", or(a.Scheme, "http")}, {":authority", or(a.Host, "shop")}, {":path", path}}
	for _, p := range a.Pseudo {
		if p[1] != "-" {
			out = append(out, p)
			continue
		}
		for i := range out {
			if out[i][0] == p[0] {
				out = append(out[:i:i], out[i+1:]...)
				break
			}
		}
	}
	if w == GRPC {
		out = append(out, [2]string{"content-type", "application/grpc"}, [2]string{"te", "trailers"})
	}
	for _, h := range a.Header {
		out = append(out, [2]string{strings.ToLower(h[0]), h[1]})
	}
	return out
}
