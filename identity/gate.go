package identity

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

// A Gate is a Guard made ready. It is immutable, safe for concurrent use, and decides without allocating.
type Gate struct {
	steps, connections []step
	needs              facts
	names              map[string]bool // of the headers that conditions look at, or that tokens are in or written to
	dashes             bool            // some of the names can be mimicked
	maxBody            uint32
}

type step struct {
	name   string
	rules  *ruleset
	shadow *ruleset
	ask    *ExtAuthz
	when   *ruleset // nil is always
}

// NewGate makes the rules of a guard ready. It returns all that is wrong with them, each error naming its step, policy and condition; a
// guard with a fault in it has no Gate, lest what can't be told be passed over.
func NewGate(g Guard) (*Gate, error) {
	gate := &Gate{names: map[string]bool{}}
	var f faults
	gate.steps = gate.ready(g.Steps, "step", &f)
	f.connection = true
	gate.connections = gate.ready(g.Connections, "connection step", &f)
	f.connection = false
	checkStrings("trusted", g.Trusted, &f)
	if g.JWT != nil {
		g.JWT.check(&f)
		g.JWT.headers(gate.names)
	}
	if len(f.all) > 0 {
		return nil, errors.Join(f.all...)
	}
	for name := range gate.names {
		gate.dashes = gate.dashes || strings.IndexByte(name, '-') >= 0
	}
	return gate, nil
}

func (g *Gate) ready(steps []Step, kind string, f *faults) (out []step) {
	for i := range steps {
		st := &steps[i]
		where := called(kind, st.Name, i)
		f.in("", where, -1)
		if st.Rules == nil && st.Shadow == nil && st.Ask == nil {
			f.add("decides nothing")
		}
		one := step{name: st.Name, rules: st.Rules.ready(where, f)}
		f.in(": ", "shadow", -1)
		one.shadow = st.Shadow.ready(where, f)
		f.out()
		if st.Ask != nil {
			f.in(": ", "ask", -1)
			st.Ask.check(f)
			f.in(": ", "when", -1)
			one.when = st.Ask.When.ready(where, f)
			f.out()
			f.out()
			ask := *st.Ask
			one.ask = &ask
			g.maxBody = max(g.maxBody, ask.MaxBody)
		}
		f.out()
		for _, rs := range []*ruleset{one.rules, one.shadow, one.when} {
			if rs != nil {
				g.needs |= rs.needs
				rs.headers(g.names)
			}
		}
		out = append(out, one)
	}
	return out
}

// checkStrings says what is wrong with conditions on strings.
func checkStrings(name string, of []match.String, f *faults) {
	for i, is := range of {
		var t test
		f.in("", name, i)
		t.readyString(is, noRange(is), f)
		f.out()
	}
}

// A Decision is what the rules say of a request.
type Decision struct {
	Allowed bool
	// Step and Policy say what decided: the policy that denied, or the step none of whose policies allowed (Policy is empty then). Of a request
	// that is let through they are the last policy that allowed it, if one had to.
	Step, Policy string
	// Reason is a sentence for operators. It is never shown to callers.
	Reason string
	// Answer is what a service outside has to say to the caller; nil if rules decided.
	Answer *Verdict
	// Verdicts are of the services outside that let the request through, whose changes are to be made.
	Verdicts []Verdict
	// Shadow is what rules that are only tried would have decided otherwise, or noted; nil if nothing.
	Shadow []Shadow
}

// A Shadow is a decision that has no effect.
type Shadow struct {
	Step, Policy string
	Action       Action
	Allowed      bool
}

// Check decides on a request by the Guard's Steps, or by its Connections if r is one. a asks services outside, and is nil only if the guard
// has none: without one, what would have to be asked is refused. body is read if a service is to be sent some of it, once.
//
// The steps are taken in their order, and the rules of a step before its service is asked. What a service changes of the header, the rules
// behind it see.
func (g *Gate) Check(ctx context.Context, r *Request, a Asker, body func(limit int) ([]byte, error)) (d Decision) {
	steps := g.steps
	if r.Connection {
		steps = g.connections
	}
	s := look(r, g.needs)
	var read reading
	for i := range steps {
		st := &steps[i]
		verdict := ruling{allowed: true}
		if st.rules != nil {
			noted := len(d.Shadow)
			verdict = st.rules.decide(&s, &d.Shadow)
			named(d.Shadow[noted:], st.name)
			if verdict.noted {
				d.Shadow = append(d.Shadow, Shadow{Step: st.name, Policy: verdict.policy, Action: Log, Allowed: true})
			}
		}
		if st.shadow != nil {
			st.try(&s, verdict.allowed, &d)
		}
		if !verdict.allowed {
			d.Step, d.Policy, d.Reason = st.name, verdict.policy, verdict.reason
			return d
		}
		if verdict.policy != "" && !verdict.noted {
			d.Step, d.Policy = st.name, verdict.policy
		}
		if st.ask == nil || st.when != nil && !st.when.acts(&s) {
			continue
		}
		answer := g.ask(ctx, &s, st.ask, a, &read, body)
		if !answer.Allowed {
			d.Step, d.Policy, d.Reason, d.Answer = st.name, "", refusal(&answer, st.ask), &answer
			return d
		}
		d.Verdicts = append(d.Verdicts, answer)
		if len(answer.Set)+len(answer.Append)+len(answer.Remove) > 0 {
			changed := *s.r
			changed.Header = changedHeader{changed.Header, &answer}
			s = look(&changed, g.needs)
		}
	}
	d.Allowed = true
	return d
}

// try reports what the rules of a step that are only tried would have decided, if that is something else.
func (st *step) try(s *sight, allowed bool, d *Decision) {
	noted := len(d.Shadow)
	verdict := st.shadow.decide(s, &d.Shadow)
	named(d.Shadow[noted:], st.name)
	if verdict.noted || verdict.allowed != allowed {
		action := st.shadow.action
		if st.shadow.tree != nil {
			action = verdict.action()
		}
		d.Shadow = append(d.Shadow, Shadow{Step: st.name, Policy: verdict.policy, Action: action, Allowed: verdict.allowed})
	}
}

func named(some []Shadow, step string) {
	for i := range some {
		some[i].Step = step
	}
}

// A reading is the beginning of a body, read once.
type reading struct {
	done  bool
	bytes []byte
	err   error
}

func (g *Gate) ask(ctx context.Context, s *sight, e *ExtAuthz, a Asker, read *reading, body func(limit int) ([]byte, error)) Verdict {
	if a == nil {
		return Verdict{Failed: errors.New("there is nobody who could ask")}
	}
	var part []byte
	if e.MaxBody > 0 {
		if !read.done {
			read.done = true
			if body == nil {
				read.err = errors.New("body: can't be read")
			} else {
				read.bytes, read.err = body(int(g.maxBody) + 1)
			}
		}
		part = read.bytes
		switch {
		case read.err != nil:
			return Verdict{Failed: fmt.Errorf("body: %w", read.err)}
		case len(part) > int(e.MaxBody) && !e.PartialBody:
			return Verdict{Status: 413}
		case len(part) > int(e.MaxBody):
			part = part[:e.MaxBody:e.MaxBody]
		}
	}
	r := *s.r // so that a request need not be on the heap where nobody is asked
	return a.Ask(ctx, e, &r, part)
}

func refusal(v *Verdict, e *ExtAuthz) string {
	switch {
	case v.Failed != nil:
		return fmt.Sprintf("%s: %v", e.Service, v.Failed)
	case v.Status == 413:
		return fmt.Sprintf("the body is longer than the %d bytes that %s is to be sent", e.MaxBody, e.Service)
	}
	return e.Service + " refuses"
}

// changedHeader is a header as a service outside has changed it.
type changedHeader struct {
	match.Header
	by *Verdict
}

func (h changedHeader) Values(name match.HeaderName) []string {
	var values []string
	if h.Header != nil {
		values = h.Header.Values(name)
	}
	is := func(other string) bool { return match.ToLower(other) == name.Lower }
	if slices.ContainsFunc(h.by.Remove, is) || slices.ContainsFunc(h.by.Set, func(f HeaderField) bool { return is(f.Name) }) {
		values = nil
	}
	values = slices.Clip(values)
	for _, fields := range [][]HeaderField{h.by.Set, h.by.Append} {
		for _, f := range fields {
			if is(f.Name) {
				values = append(values, f.Value)
			}
		}
	}
	return values
}

// All yields what can be listed of the header beneath, as it is now, and what was added to it.
func (h changedHeader) All() iter.Seq2[string, []string] {
	return func(yield func(string, []string) bool) {
		seen := map[string]bool{}
		if all, ok := h.Header.(interface {
			All() iter.Seq2[string, []string]
		}); ok {
			for name := range all.All() {
				named := match.Named(name)
				seen[named.Lower] = true
				if values := h.Values(named); len(values) > 0 && !yield(name, values) {
					return
				}
			}
		}
		for _, fields := range [][]HeaderField{h.by.Set, h.by.Append} {
			for _, f := range fields {
				named := match.Named(f.Name)
				if !seen[named.Lower] && !yield(f.Name, h.Values(named)) {
					return
				}
				seen[named.Lower] = true
			}
		}
	}
}

// Mimics reports whether a header of this name would pass for one that conditions look at, or that says what a token proves, with those who
// do not tell "_" from "-": a request with such a header is to be answered with 400.
func (g *Gate) Mimics(name string) bool {
	if strings.IndexByte(name, '_') < 0 {
		return false
	}
	lower := match.ToLower(name)
	return !g.names[lower] && g.names[strings.ReplaceAll(lower, "_", "-")]
}

// Mimicked reports whether there is any header that Mimics would be true of.
func (g *Gate) Mimicked() bool { return g.dashes }
