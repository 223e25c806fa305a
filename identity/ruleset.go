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
		return gather(gather(tests, PathIs, pathIn), Authentic, peerIn)
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
		for i := range rs.policies {
			if rs.policies[i].names(s, perhaps) {
				return &rs.policies[i]
			}
		}
		return nil
	}
	first := len(rs.policies)
	try := func(some []int32) {
		for _, i := range some {
			if int(i) >= first {
				return
			}
			if rs.policies[i].names(s, perhaps) {
				first = int(i)
				return
			}
		}
	}
	try(rs.index.rest)
	if len(rs.index.byPath) > 0 {
		try(rs.index.byPath[s.r.Path])
		if len(s.bare) != len(s.r.Path) {
			try(rs.index.byPath[s.bare])
		}
	}
	if len(rs.index.byPeer) > 0 && s.authentic {
		try(rs.index.byPeer[s.name])
		for _, name := range s.names {
			try(rs.index.byPeer[name])
		}
	}
	if first == len(rs.policies) {
		return nil
	}
	return &rs.policies[first]
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

// An index leads to the policies that can name a request, in their order: a policy that is for certain paths only, or certain
// peers, is found by these.
type index struct {
	byPath, byPeer map[string][]int32
	rest           []int32
	dearest        int // weight of the policies that one request can lead to, at worst
}

func indexed(policies []policy) index {
	x := index{byPath: map[string][]int32{}, byPeer: map[string][]int32{}}
	paths, peers := map[string]int{}, map[string]int{} // weights
	put := func(by map[string][]int32, weights map[string]int, keys []string, i, weight int) {
		for _, key := range keys {
			if some := by[key]; len(some) == 0 || some[len(some)-1] != int32(i) {
				by[key] = append(some, int32(i))
				weights[key] += weight
			}
		}
	}
	for i := range policies {
		p := &policies[i]
		weight := p.weight()
		byPath, ok := keysOfAny(p.permissions, PathIs, pathIn)
		if more, ok2 := keysOfAny(p.principals, PathIs, pathIn); ok2 && (!ok || len(more) < len(byPath)) {
			byPath, ok = more, true
		}
		byPeer, ok3 := keysOfAny(p.principals, Authentic, peerIn)
		if more, ok4 := keysOfAny(p.permissions, Authentic, peerIn); ok4 && (!ok3 || len(more) < len(byPeer)) {
			byPeer, ok3 = more, true
		}
		switch {
		case ok && (!ok3 || len(byPath) <= len(byPeer)):
			put(x.byPath, paths, byPath, i, weight)
		case ok3:
			put(x.byPeer, peers, byPeer, i, weight)
		default:
			x.rest = append(x.rest, int32(i))
			x.dearest += weight
		}
	}
	x.dearest += 2*heaviest(paths) + heaviest(peers) // a path is looked up with and without parameters
	return x
}

func heaviest(weights map[string]int) int {
	most := 0
	for _, w := range weights {
		most = max(most, w)
	}
	return most
}

// keys are the strings one of which is the request's path, or a name of the peer, whenever the test holds. Not ok: there are no such.
func (t *test) keys(kind, in ConditionKind) (keys []string, ok bool) {
	switch t.kind {
	case kind:
		only, exact := t.is.Only()
		return []string{only}, exact && !t.any
	case in:
		for key := range t.set {
			keys = append(keys, key)
		}
		return keys, true
	case All:
		for i := range t.of {
			if some, found := t.of[i].keys(kind, in); found && (!ok || len(some) < len(keys)) {
				keys, ok = some, true
			}
		}
		return keys, ok
	case Any:
		return keysOfAny(t.of, kind, in)
	}
	return nil, false
}

func keysOfAny(of []test, kind, in ConditionKind) (keys []string, ok bool) {
	for i := range of {
		some, found := of[i].keys(kind, in)
		if !found {
			return nil, false
		}
		keys = append(keys, some...)
	}
	return keys, len(of) > 0
}
