package identity

import "fmt"

// A tree is a Tree made ready.
//
// A field that holds perhaps, but not surely, lets nobody through whom it, or what stands behind it, refuses. One that can't be told refuses.
type tree struct {
	fields []field
	none   *branch
	reason string // if nothing matches
}

type field struct {
	test
	then branch
	keep bool
}

type branch struct {
	tree   *tree
	action Action
	policy string
	reason string
}

func (t *Tree) ready(where string, depth int, needs *facts, weight *int, f *faults) *tree {
	out := &tree{reason: "nothing in the tree of " + where + " matches"}
	if depth > deepest {
		f.add("is nested deeper than %d", deepest)
		return out
	}
	for i := range t.Fields {
		f.in(".", "fields", i)
		one := field{test: t.Fields[i].If.ready(1, f), keep: t.Fields[i].KeepMatching}
		one.then = t.Fields[i].Then.ready(where, depth, needs, weight, f)
		f.out()
		*needs |= one.needs
		*weight += 2 * one.weight // it is asked twice
		out.fields = append(out.fields, one)
	}
	if t.Else != nil {
		f.in(".", "else", -1)
		none := t.Else.ready(where, depth, needs, weight, f)
		f.out()
		out.none = &none
	}
	return out
}

func (b *Branch) ready(where string, depth int, needs *facts, weight *int, f *faults) branch {
	out := branch{action: b.Action, policy: b.Policy, reason: fmt.Sprintf("policy %s of %s denies", b.Policy, where)}
	if b.Tree != nil {
		out.tree = b.Tree.ready(where, depth+1, needs, weight, f)
	} else if b.Action > Log {
		f.add("unknown action %d", b.Action)
	}
	return out
}

// rule is what the tree says of a request. What it does not match is refused.
func (t *tree) rule(s *sight, notes *[]Shadow) ruling {
	r, matched := t.match(s, notes)
	if !matched {
		return ruling{reason: t.reason}
	}
	return r
}

// match is not matched if no field leads to a verdict.
func (t *tree) match(s *sight, notes *[]Shadow) (r ruling, matched bool) {
	for i := range t.fields {
		f := &t.fields[i]
		if lack := f.needs &^ s.known; lack != 0 {
			return ruling{policy: f.then.policy, reason: lack.lacking()}, true
		}
		if !f.holds(s, true) {
			continue
		}
		verdict, ends := f.then.match(s, notes)
		switch {
		case !ends:
		case f.keep:
			if notes != nil {
				*notes = append(*notes, Shadow{Policy: verdict.policy, Action: verdict.action(), Allowed: verdict.allowed})
			}
		case !verdict.allowed || f.holds(s, false):
			return verdict, true
		}
	}
	if t.none == nil {
		return ruling{}, false
	}
	return t.none.match(s, notes)
}

func (b *branch) match(s *sight, notes *[]Shadow) (ruling, bool) {
	if b.tree != nil {
		return b.tree.match(s, notes)
	}
	if b.action == Deny {
		return ruling{policy: b.policy, reason: b.reason}, true
	}
	return ruling{allowed: true, noted: b.action == Log, policy: b.policy}, true
}

// acts reports whether the tree perhaps leads to a verdict.
func (t *tree) acts(s *sight) bool {
	for i := range t.fields {
		f := &t.fields[i]
		if f.needs&^s.known != 0 || !f.keep && f.holds(s, true) && f.then.acts(s) {
			return true
		}
	}
	return t.none != nil && t.none.acts(s)
}

func (b *branch) acts(s *sight) bool { return b.tree == nil || b.tree.acts(s) }

func (t *tree) headers(names map[string]bool) {
	if t == nil {
		return
	}
	for i := range t.fields {
		headersOf([]test{t.fields[i].test}, names)
		t.fields[i].then.tree.headers(names)
	}
	if t.none != nil {
		t.none.tree.headers(names)
	}
}
