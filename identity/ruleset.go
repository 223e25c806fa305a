package identity

import "fmt"

// A ruleset is Rules made ready.
//
// Whether a policy names a request can't be told if it looks at anything that the request lacks: no other part of it makes up for that, so that
// no negation, and no order, makes a pass of what is not known. As DENY such a policy denies; as ALLOW it does not allow. What another policy
// says for sure stands.
type ruleset struct {
	action   Action
	policies []policy
	tree     *tree
	needs    facts
	index    index
	bars     *bars  // nil if there is nothing to be gained
	none     string // the reason if no policy allows
}

type policy struct {
	name        string
	needs       facts
	permissions []test
	principals  []test
	reason      string
}

// A ruling is what a ruleset says of a request.
type ruling struct {
	allowed bool
	noted   bool // it is to be reported, though it lets the request through
	policy  string
	reason  string
}

// action is what a tree has decided.
func (r ruling) action() Action {
	switch {
	case !r.allowed:
		return Deny
	case r.noted:
		return Log
	}
	return Allow
}

// ready makes r ready. where is what it is called in reasons.
func (r *Rules) ready(where string, f *faults) *ruleset {
	if r == nil {
		return nil
	}
	rs := &ruleset{action: r.Action, none: "no policy of " + where + " allows"}
	if r.Tree != nil {
		weight := 0
		f.in(": ", "tree", -1)
		rs.tree = r.Tree.ready(where, 0, &rs.needs, &weight, f)
		f.out()
		limit(weight, f)
		return rs
	}
	if r.Action > Log {
		f.add("unknown action %d", r.Action)
	}
	for i := range r.Policies {
		p := r.Policies[i].ready(f)
		p.reason = fmt.Sprintf("policy %s of %s denies", p.name, where)
		rs.needs |= p.needs
		rs.policies = append(rs.policies, p)
	}
	rs.index = indexed(rs.policies)
	rs.bars = newBars(rs.policies, rs.index.crowds, fewestWant)
	limit(rs.index.dearest, f)
	return rs
}

func limit(weight int, f *faults) {
	if weight > mostSteps {
		f.add("cost: a decision could take %d steps, more than %d", weight, mostSteps)
	}
}

func (p *Policy) ready(f *faults) policy {
	out := policy{name: p.Name}
	f.in(": ", "policy "+p.Name, -1)
	defer f.out()
	list := func(name string, of []Condition) []test {
		if len(of) == 0 {
			f.add("%s: there is none", name)
		}
		tests := make([]test, 0, len(of))
		for i := range of {
			f.in(": ", name, i)
			tests = append(tests, of[i].ready(1, f))
			f.out()
			out.needs |= tests[i].needs
		}
		return gatherAll(tests)
	}
	out.permissions = list("permissions", p.Permissions)
	out.principals = list("principals", p.Principals)
	return out
}

func (p *policy) weight() int {
	n := 0
	for i := range p.permissions {
		n += p.permissions[i].weight
	}
	for i := range p.principals {
		n += p.principals[i].weight
	}
	return n
}

// names reports whether the policy names the request. What it lacks, it lacks perhaps.
func (p *policy) names(s *sight, perhaps bool) bool {
	if p.needs&^s.known != 0 {
		return perhaps
	}
	return anyHolds(p.permissions, s, perhaps) && anyHolds(p.principals, s, perhaps)
}

func anyHolds(tests []test, s *sight, perhaps bool) bool {
	for i := range tests {
		if tests[i].holds(s, perhaps) {
			return true
		}
	}
	return false
}

// decide says what becomes of a request. What is noted by the way is added to notes, which may be nil.
func (rs *ruleset) decide(s *sight, notes *[]Shadow) ruling {
	if rs.tree != nil {
		return rs.tree.rule(s, notes)
	}
	switch found := rs.find(s, rs.action != Allow); {
	case rs.action == Allow && found == nil:
		return ruling{reason: rs.none}
	case rs.action == Allow:
		return ruling{allowed: true, policy: found.name}
	case found == nil:
		return ruling{allowed: true}
	case rs.action == Log:
		return ruling{allowed: true, noted: true, policy: found.name}
	case found.needs&^s.known != 0:
		return ruling{policy: found.name, reason: (found.needs &^ s.known).lacking()}
	default:
		return ruling{policy: found.name, reason: found.reason}
	}
}

// acts reports whether some policy perhaps names the request.
func (rs *ruleset) acts(s *sight) bool {
	if rs.tree != nil {
		return rs.tree.acts(s)
	}
	return rs.find(s, true) != nil
}

// find is the first policy that names the request; nil if none does.
func (rs *ruleset) find(s *sight, perhaps bool) *policy {
	if rs.needs&^s.known != 0 {
		return rs.search(s, perhaps)
	}
	var out ruledOut
	if rs.bars != nil {
		rs.bars.rule(s, perhaps, &out)
	}
	first := len(rs.policies)
	ask := func(some []int32) {
		for _, i := range some {
			if int(i) >= first {
				return
			}
			if !out.has(i) && rs.policies[i].names(s, perhaps) {
				first = int(i)
				return
			}
		}
	}
	told := rs.index.lead(s, false, ask)
	ask(rs.index.rest)
	switch {
	case !told:
		return rs.search(s, perhaps)
	case first == len(rs.policies):
		return nil
	}
	return &rs.policies[first]
}

// search asks all policies.
func (rs *ruleset) search(s *sight, perhaps bool) *policy {
	for i := range rs.policies {
		if rs.policies[i].names(s, perhaps) {
			return &rs.policies[i]
		}
	}
	return nil
}

// headers adds the names of the headers that the rules look at.
func (rs *ruleset) headers(names map[string]bool) {
	for i := range rs.policies {
		headersOf(rs.policies[i].permissions, names)
		headersOf(rs.policies[i].principals, names)
	}
	rs.tree.headers(names)
}

func headersOf(tests []test, names map[string]bool) {
	for i := range tests {
		if tests[i].kind == HeaderIs {
			names[tests[i].header.name.Lower] = true
		}
		headersOf(tests[i].of, names)
	}
}
