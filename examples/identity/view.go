package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"
)

// A view is how all parts stand at one moment.
type view struct {
	callers map[string]called
	servers map[string]served
	doors   map[string]door // of servers
}

// A door is what a server's [mesh.Mesh.DebugHandler] says of its listener.
type door struct {
	Mode       string            `json:"mode"`
	TurnedAway map[string]uint64 `json:"turnedAway"`
	Policies   []string          `json:"policies"`
	Plaintext  []struct {
		Addr        string    `json:"addr"`
		Connections uint64    `json:"connections"`
		Last        time.Time `json:"last"`
	} `json:"plaintext"`
}

// look asks all parts.
func (d *director) look(ctx context.Context) (view, error) {
	v := view{callers: map[string]called{}, servers: map[string]served{}, doors: map[string]door{}}
	for _, name := range d.names {
		_, desk, _ := strings.Cut(d.Line(name), " ")
		if strings.HasPrefix(d.Line(name), "-") {
			var c called
			if err := d.read(ctx, "http://"+desk+"/", &c); err != nil {
				return v, err
			}
			v.callers[name] = c
			continue
		}
		var s served
		if err := d.read(ctx, "http://"+desk+"/", &s); err != nil {
			return v, err
		}
		v.servers[name] = s
		var debug struct{ Inbounds []door }
		if err := d.read(ctx, "http://"+desk+"/debug?format=json", &debug); err != nil {
			return v, err
		}
		for _, in := range debug.Inbounds {
			v.doors[name] = in
		}
	}
	return v, nil
}

// read asks one part. A busy machine may take its time.
func (d *director) read(ctx context.Context, url string, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(into); err != nil {
		return fmt.Errorf("%s: %w", url, err)
	}
	return nil
}

// seen are the calls of who says he is that name which reached handlers: by who proved to be it, by another, and by nobody.
func (v view) seen(name string) (own, other, nobody int) {
	id, _ := identityOf(name)
	for _, s := range v.servers {
		for proved, n := range s.Seen[name] {
			switch proved {
			case "":
				nobody += n
			case id.String():
				own += n
			default:
				other += n
			}
		}
	}
	return own, other, nobody
}

// reached is how many calls of who says he is that name reached handlers.
func (v view) reached(name string) int {
	own, other, nobody := v.seen(name)
	return own + other + nobody
}

// since is a count less what it was.
func (c count) since(was count) count {
	return count{c.Answered - was.Answered, c.Refused - was.Refused, c.Failed - was.Failed}
}

func (c count) tried() int { return c.Answered + c.Refused + c.Failed }

// Whom handlers know a caller by.
const (
	nobody = iota
	themselves
)

// as says whose calls reached handlers otherwise than by that, or not at all, since the act had come about.
func (s span) as(by int, names ...string) (wrong []string) {
	for _, name := range names {
		own, other, plain := s.now.seen(name)
		o, p, q := s.begin.seen(name)
		right, bad := own-o, other-p+plain-q
		if by == nobody {
			right, bad = plain-q, own-o+other-p
		}
		if right == 0 || bad > 0 {
			wrong = append(wrong, fmt.Sprintf("%d calls of %s came as they should, %d otherwise", right, name, bad))
		}
	}
	return wrong
}

// are is what is missing until all servers are of the mode.
func (v view) are(mode string) string {
	for name, door := range v.doors {
		if door.Mode != mode {
			return fmt.Sprintf("%s is %s", name, door.Mode)
		}
	}
	return ""
}

// encrypted is what is missing until all servers are of the mode and callers come by mutual TLS alone.
func (s span) encrypted(mode string, names ...string) string {
	if what := s.now.are(mode); what != "" {
		return what
	}
	for _, name := range names {
		own, _, plain := s.now.seen(name)
		o, _, p := s.last.seen(name)
		if own == o || plain > p {
			return name + " does not speak mutual TLS alone"
		}
		if !s.now.callers[name].Listening {
			return name + " does not listen"
		}
	}
	return ""
}

// bare is what is missing until all servers take plaintext alone, and callers speak nothing else.
func (s span) bare(names ...string) string {
	if what := s.now.are("DISABLE"); what != "" {
		return what
	}
	for _, name := range names {
		own, _, plain := s.now.seen(name)
		o, _, p := s.last.seen(name)
		if own > o || plain == p {
			return name + " does not speak plaintext alone"
		}
	}
	return ""
}

// plaintext is what is missing until no call runs over it.
func (s span) plaintext() string {
	for name, server := range s.now.servers {
		if server.Plain > 0 {
			return fmt.Sprintf("%d calls over plaintext run at %s", server.Plain, name)
		}
	}
	return ""
}

// stopped is what is missing until calls of a caller are not answered any more, and his stream has been cut.
func (s span) stopped(name string) string {
	last, now := s.last.callers[name], s.now.callers[name]
	http, grpc := now.HTTP.since(last.HTTP), now.GRPC.since(last.GRPC)
	if http.Answered+grpc.Answered > 0 || s.now.reached(name) > s.last.reached(name) || http.tried() == 0 || grpc.tried() == 0 {
		return name + " is still answered"
	}
	if now.Listening || now.Cut == s.was.callers[name].Cut {
		return name + " still listens"
	}
	return ""
}

// rooted is what is missing until all parts of the mesh believe so many roots, and have certificates of another than old.
func (v view) rooted(n int, old string) string {
	all := map[string]papers{}
	for name, c := range v.callers {
		if !slices.Contains(strangers, name) {
			all[name] = c.papers
		}
	}
	for name, s := range v.servers {
		all[name] = s.papers
	}
	for name, p := range all {
		if p.Roots != n || p.Root == old {
			return fmt.Sprintf("%s believes %d roots, and its certificate is by %s", name, p.Roots, p.Root)
		}
	}
	return ""
}

// ruled is what is missing until all servers have the policy.
func (v view) ruled(policy string) string {
	for name, door := range v.doors {
		if !slices.ContainsFunc(door.Policies, func(p string) bool { return strings.Contains(p, policy) }) {
			return name + " has not heard of the policy"
		}
	}
	return ""
}

// unharmed says what went wrong for callers of whom nothing may.
func unharmed(was, now view, names ...string) (wrong []string) {
	for _, name := range names {
		a, b := was.callers[name], now.callers[name]
		for protocol, c := range map[string]count{"HTTP": b.HTTP.since(a.HTTP), "gRPC": b.GRPC.since(a.GRPC)} {
			if c.Answered == 0 || c.Refused+c.Failed > 0 {
				wrong = append(wrong, fmt.Sprintf("of %s's calls over %s %d were answered, %d refused, %d failed: %s", name, protocol, c.Answered, c.Refused, c.Failed, b.Error))
			}
		}
		if b.Cut > a.Cut {
			wrong = append(wrong, fmt.Sprintf("%d streams of %s were cut: %s", b.Cut-a.Cut, name, b.Error))
		}
	}
	return wrong
}

// shutOut says who was let in though he should not be.
func shutOut(was, now view, names ...string) (wrong []string) {
	for _, name := range names {
		a, b := was.callers[name], now.callers[name]
		if n := b.HTTP.since(a.HTTP).Answered + b.GRPC.since(a.GRPC).Answered; n > 0 {
			wrong = append(wrong, fmt.Sprintf("%d calls of %s were answered", n, name))
		}
		if n := now.reached(name) - was.reached(name); n > 0 {
			wrong = append(wrong, fmt.Sprintf("%d calls of %s reached a handler", n, name))
		}
	}
	return wrong
}

// answered says whether calls that should have been answered, by no, failed otherwise.
func answered(s span, name string) (wrong []string) {
	a, b := s.begin.callers[name], s.now.callers[name]
	if n := b.HTTP.since(a.HTTP).Failed + b.GRPC.since(a.GRPC).Failed; n > 0 {
		wrong = append(wrong, fmt.Sprintf("%d calls of %s failed instead of being refused: %s", n, name, b.Error))
	}
	return wrong
}
