package xds

import (
	"errors"
	"fmt"
	"hash/maphash"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/resolver/xds/wire"
)

// A response is one message of the server, of either protocol.
type response struct {
	typeURL string
	nonce   string
	version string // of state-of-the-world
	full    bool   // is the state of the world
	entries []entry
	removed []string
	faults  []fault
}

// An entry is one resource of a response.
type entry struct {
	name    string // empty: as in the resource itself
	version string
	any     *anypb.Any
}

// A fault is what the server says of a resource that it cannot give (xDS
// resource_errors).
type fault struct {
	name string
	code codes.Code
	text string
}

const (
	// nackPause is the least time between equal refusals; a server may answer each
	// by sending the same again.
	nackPause = time.Second
	// longest reason of a refusal, in bytes.
	longestReason = 16 << 10
)

// receive takes a response in and makes its answer. Good resources are used, whatever the
// others are (gRFC A46).
func (c *core) receive(resp *response) {
	c.link.responded()
	k, ok := kindOf(resp.typeURL)
	if !ok || !c.subs[k].asked {
		c.client.log.Debug("xds: response of a type that was not asked for", "type", resp.typeURL)
		return
	}
	s := &c.subs[k]
	s.nonce = resp.nonce
	in := c.unpack(k, resp)
	for _, e := range in.entries {
		r := s.resources[e.name]
		if r == nil || len(r.users) == 0 {
			continue // never asked for, or no longer wanted
		}
		if in.bad[e.name] != nil {
			c.refuse(r, 1, in.bad[e.name])
			continue
		}
		if err := c.apply(r, e.version, e.any); err != nil {
			in.findings = append(in.findings, err)
		}
	}
	for _, name := range resp.removed {
		if r := s.resources[name]; r != nil && in.bad[name] == nil {
			c.remove(r, "")
		}
	}
	for _, f := range resp.faults {
		if r := s.resources[f.name]; r != nil {
			c.fail(r, f)
		}
	}
	if resp.full && k.whole() && !in.unnamed {
		for _, r := range s.resources {
			if !in.named[r.name] && (r.content != nil || r.state == Nacked) {
				c.remove(r, "")
			}
		}
	}
	c.answer(s, resp, in.findings)
}

// answer makes the ACK or NACK.
func (c *core) answer(s *subscription, resp *response, findings []error) {
	now := time.Now()
	a := &ack{nonce: resp.nonce, reason: reasonOf(findings)}
	if a.reason == "" {
		s.version = resp.version
	} else {
		if a.reason == s.refused {
			a.hold = s.refusedAt.Add(nackPause)
		}
		s.refused, s.refusedAt = a.reason, now
		if a.hold.After(now) {
			s.refusedAt = a.hold
		}
	}
	s.ack = a
}

func reasonOf(findings []error) string {
	if len(findings) == 0 {
		return ""
	}
	reason := errors.Join(findings...).Error()
	if len(reason) > longestReason {
		reason = strings.ToValidUTF8(reason[:longestReason], "") + " ..."
	}
	return reason
}

// An intake is a response unpacked.
type intake struct {
	entries  []entry // with their names, each once
	named    map[string]bool
	bad      map[string]error // why an entry is refused unseen
	unnamed  bool             // an entry could not even be named
	findings []error
}

func (c *core) unpack(k kind, resp *response) *intake {
	in := &intake{named: make(map[string]bool, len(resp.entries)), bad: make(map[string]error)}
	refuse := func(name string, err error) {
		if in.bad[name] == nil {
			in.bad[name] = err
			in.findings = append(in.findings, err)
		}
	}
	for i, e := range resp.entries {
		a, err := unwrap(k, e.any)
		if err == nil && e.name == "" {
			if e.name = nameOf(a); e.name == "" {
				err = errors.New("field name: is empty")
			}
		}
		if e.name == "" {
			in.unnamed = true
			in.findings = append(in.findings, fmt.Errorf("%s %d of the response: %w", k, i, err))
			continue
		}
		e.any = a
		switch {
		case err != nil:
			refuse(e.name, fmt.Errorf("%s %q: %w", k, e.name, err))
		case in.named[e.name]:
			refuse(e.name, fmt.Errorf("%s %q: is twice in one response", k, e.name))
			continue
		}
		in.named[e.name] = true
		in.entries = append(in.entries, e)
	}
	for _, name := range resp.removed {
		if in.named[name] {
			refuse(name, fmt.Errorf("%s %q: is both sent and removed in one response", k, name))
		}
	}
	return in
}

// unwrap takes the resource out of what may be around it and checks its type.
func unwrap(k kind, a *anypb.Any) (_ *anypb.Any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("decoder panicked: %v", p)
		}
	}()
	if a == nil {
		return nil, errors.New("field resource: is missing")
	}
	if a, err = wire.Unwrap(a); err != nil {
		return nil, err
	}
	if a.GetTypeUrl() != k.typeURL() {
		return nil, fmt.Errorf("field resource: is a %q, in a response of %q", a.GetTypeUrl(), k.typeURL())
	}
	return a, nil
}

// nameOf is empty if the resource cannot be read that far.
func nameOf(a *anypb.Any) (name string) {
	defer func() {
		if recover() != nil {
			name = ""
		}
	}()
	return wire.Name(a)
}

// seed makes sums that nobody outside can aim at.
var seed = maphash.MakeSeed()

func sumOf(a *anypb.Any) uint64 { return max(2, maphash.Bytes(seed, a.GetValue())) }

// apply makes a resource's new content the one in use; the error says why it cannot be.
// What did not change is not looked at.
func (c *core) apply(r *resource, version string, a *anypb.Any) error {
	sum := sumOf(a)
	if r.err != nil && r.badSum == sum {
		r.wait = 0
		return r.err
	}
	if r.content != nil && r.sum == sum {
		c.accept(r, version, r.content)
		return nil
	}
	next, err := decode(r.kind, a)
	if err == nil && next.name != r.name {
		err = fmt.Errorf("field name: is %q", next.name)
	}
	if err == nil {
		err = c.client.bootstrap.provides(next.instances)
	}
	if err != nil {
		err = named(r.kind, r.name, err)
		c.refuse(r, sum, err)
		return err
	}
	for _, w := range next.warnings {
		c.client.log.Debug("xds: not obeyed", "resource", r.String(), "warning", w)
	}
	c.generation++
	next.gen = c.generation
	r.sum = sum
	c.accept(r, version, next)
	return nil
}

// accept ends whatever was wrong with the resource.
func (c *core) accept(r *resource, version string, next *content) {
	news := r.content != next || r.err != nil
	r.wait, r.origin = 0, c.link.index
	r.err, r.badSum, r.missing, r.detail, r.dropped = nil, 0, false, "", false
	if r.state != Acked || r.version != version {
		r.set(Acked)
	}
	r.content, r.version = next, version
	if news {
		c.changed(r)
	}
}

// refuse notes that what was received is bad. What is in use stays.
func (c *core) refuse(r *resource, sum uint64, err error) {
	r.wait, r.badSum = 0, sum
	r.missing, r.detail = false, ""
	c.complain(r, Nacked, err)
}

// remove notes that the server says there is no such resource; detail may be its own sentence for it.
func (c *core) remove(r *resource, detail string) {
	r.wait, r.badSum = 0, 0
	f := c.link.server().features
	if r.content == nil {
		r.missing, r.detail = true, detail
		c.complain(r, DoesNotExist, c.absence(r, detail))
		return
	}
	if f.ignoreDeletion {
		if r.state != DoesNotExist {
			r.set(DoesNotExist)
			c.client.log.Warn("xds: the control server removed a resource; it stays in use (ignore_resource_deletion)", "resource", r.String())
		}
		return
	}
	c.withdraw(r, detail, fmt.Errorf("%s was removed by the control server", r))
}

// fail takes the server's complaint about a resource (gRFC A88).
func (c *core) fail(r *resource, f fault) {
	switch {
	case f.code == codes.OK:
	case f.code == codes.NotFound && r.content == nil:
		c.remove(r, f.text)
	case f.code == codes.NotFound, f.code == codes.PermissionDenied:
		r.wait, r.badSum = 0, 0
		c.withdraw(r, f.text, fmt.Errorf("%s: the control server refuses it: %s", r, f.text))
	default:
		r.wait, r.badSum = 0, 0
		r.missing, r.detail = false, ""
		c.complain(r, Failed, fmt.Errorf("%s: the control server cannot give it: %s: %s", r, f.code, f.text))
	}
}

// withdraw takes what is in use away, or keeps it, as the server's features say.
func (c *core) withdraw(r *resource, detail string, err error) {
	if r.content != nil && c.link.server().features.failOnDataErrors {
		r.content, r.sum, r.version = nil, 0, ""
		r.dropped = true
		c.generation++
		r.err = nil // it is told anew even if the words are the same
	}
	r.missing, r.detail = r.content == nil && r.dropped, detail
	c.complain(r, DoesNotExist, err)
}

// silent notes that the server did not answer for a resource in time.
func (c *core) silent(r *resource) {
	err := fmt.Errorf("%s: control server %s did not answer for it within %v", r, c.link.server().uri, c.link.patience())
	r.missing, r.detail = !c.link.server().features.timerTransient, err.Error()
	state := DoesNotExist
	if !r.missing {
		state = Failed
	}
	c.complain(r, state, err)
}

func (c *core) absence(r *resource, detail string) error {
	if detail != "" {
		return errors.New(detail)
	}
	return fmt.Errorf("control server %s has no %s", c.link.server().uri, r)
}

// complain makes err the newest complaint; one that says the same is not news.
func (c *core) complain(r *resource, s State, err error) {
	if r.err != nil && r.err.Error() == err.Error() && r.state == s {
		return
	}
	r.err = err
	r.set(s)
	kept := ""
	if r.content != nil {
		kept = "; the last good version stays in use"
	}
	c.client.log.Warn("xds: resource not updated"+kept, "resource", r.String(), "state", s, "err", err)
	c.changed(r)
}
