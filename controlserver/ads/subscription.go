package ads

import (
	"cmp"
	"maps"
	"slices"
	"strings"
)

// A subscription is what a stream's client asked for and has, of one type.
type subscription struct {
	kind      kind
	requested bool // the client spoke of the type
	first     bool // and was not answered yet
	wildcard  bool // it wants all there is
	named     bool // it named resources once, so that an empty list is none, not all (state of the world)

	entries map[string]entry
	asked   int // entries that are asked for by name

	todo    []string            // names to look at whether or not they changed
	all     bool                // look at everything
	initial map[string]string   // versions the client brought from an earlier stream, until the first answer
	gone    map[string]struct{} // names whose removal was not sent yet
	missing map[string]struct{} // names the client was told there is nothing of

	round  uint32 // counts the lists (state of the world)
	nonce  string // of the last response
	ledger ledger
}

// An entry is one name of a subscription.
type entry struct {
	res   *Resource // what the client has; nil if nothing
	asked bool      // by name, not only through a wildcard
	told  bool      // that there is no such resource
	round uint32    // the last list that named it (state of the world)
}

// subscribe adds a name. A name the client has already is sent again: it may
// have forgotten it (xDS incremental protocol).
func (s *subscription) subscribe(name string) (added bool) {
	if s.entries == nil {
		s.entries = make(map[string]entry)
	}
	if added = !s.entries[name].asked; added {
		s.asked++
	}
	s.entries[name] = entry{asked: true}
	s.todo = append(s.todo, name)
	return added
}

// unsubscribe takes a name away. Under a wildcard the client then learns again
// whether it still has the resource.
func (s *subscription) unsubscribe(name string, p Protocol) (removed bool) {
	e, ok := s.entries[name]
	if !ok || !e.asked {
		return false
	}
	s.asked--
	delete(s.ledger.refused, name)
	delete(s.missing, name)
	switch {
	case !s.wildcard:
		delete(s.entries, name)
		delete(s.gone, name)
	case p == Delta:
		s.entries[name] = entry{res: &Resource{Name: name}} // of no version: sent again, or removed
		s.todo = append(s.todo, name)
	default:
		s.entries[name] = entry{res: e.res}
		s.todo = append(s.todo, name)
	}
	return true
}

func (s *subscription) subscribeAll() {
	if s.entries == nil {
		s.entries = make(map[string]entry)
	}
	s.wildcard, s.all = true, true
}

func (s *subscription) unsubscribeAll() {
	s.wildcard = false
	maps.DeleteFunc(s.entries, func(_ string, e entry) bool { return !e.asked })
}

// again has the endpoints of changed clusters sent once more: an Envoy that
// replaces a cluster waits for them, though they did not change and it does not ask.
func (s *subscription) again(changed []*Resource) {
	for _, r := range changed {
		if e := s.entries[r.Name]; e.res != nil {
			e.res = nil
			s.entries[r.Name] = e
			s.todo = append(s.todo, r.Name)
		}
	}
}

// A difference is what a client must be told to go from what it has to a snapshot.
type difference struct {
	sent    []*Resource // new and changed, by name
	lost    []loss      // asked for, and not there
	brought []*Resource // from an earlier stream, and as they are now
}

// diff moves the subscription to next and returns the difference, without the
// removals, which gather in s.gone. prev is the snapshot of the last diff, nil
// for none.
func (s *subscription) diff(prev, next Snapshot) difference {
	v := visit{subscription: s, next: next}
	if s.wildcard {
		v.listed = next.All(s.kind.url())
	}
	everything := s.all || prev == nil
	if !everything && prev != next {
		changed, ok := next.Changed(prev, s.kind.url())
		everything = !ok
		for _, name := range changed {
			v.name(name)
		}
		for name := range s.missing {
			v.name(name)
		}
	}
	if everything {
		for name := range s.entries {
			v.name(name)
		}
		for _, r := range v.listed {
			v.name(r.Name)
		}
		if s.wildcard {
			for name := range s.initial {
				v.name(name)
			}
		}
	}
	for _, name := range s.todo {
		if e, ok := s.entries[name]; ok && (e.asked || s.wildcard) {
			v.name(name)
		}
	}
	s.todo, s.all, s.initial = nil, false, nil
	SortResources(v.sent)
	slices.SortFunc(v.lost, func(a, b loss) int { return cmp.Compare(a.name, b.name) })
	return v.difference
}

// A visit looks at names one by one.
type visit struct {
	*subscription
	difference
	next   Snapshot
	listed []*Resource // what the wildcard gives
}

func (v *visit) name(name string) {
	e, known := v.entries[name]
	r := v.covered(name, e)
	if r != nil && known && e.res == nil && r.Name == name {
		// The key becomes the resource's own string, so that a thousand streams
		// do not keep a thousand copies.
		delete(v.entries, name)
		name = r.Name
	}
	if r == nil && !known && (!v.wildcard || v.initial[name] == "") {
		return
	}
	held := e.res
	if version, ok := v.initial[name]; ok && held == nil && !e.told {
		if r != nil && r.Version == version {
			held = r
			v.brought = append(v.brought, r)
		} else {
			held = &Resource{Name: name, Version: version}
		}
	}
	switch {
	case r != nil:
		if held == nil || held.Version != r.Version {
			v.sent = append(v.sent, r)
		}
		e.res, e.told = r, false
		delete(v.missing, name)
	case held != nil:
		e.res = held
		add(&v.gone, name)
	case e.asked && !e.told:
		e.told = true
		add(&v.missing, name)
		v.lost = append(v.lost, loss{name, v.why(name, v.next)})
	case !e.asked:
		delete(v.entries, name)
		return
	}
	v.entries[name] = e
}

// covered returns the resource the subscription gives for the name, nil if none.
func (v *visit) covered(name string, e entry) *Resource {
	if e.asked {
		return v.next.Lookup(v.kind.url(), name)
	}
	if i, ok := slices.BinarySearchFunc(v.listed, name, func(r *Resource, name string) int { return cmp.Compare(r.Name, name) }); ok {
		return v.listed[i]
	}
	return nil
}

// why is the reason the client reads.
func (s *subscription) why(name string, in Snapshot) string {
	if err := in.Missing(s.kind.url(), name); err != nil {
		return strings.ToValidUTF8(err.Error(), "?")
	}
	return "no such resource"
}

func add(set *map[string]struct{}, name string) {
	if *set == nil {
		*set = make(map[string]struct{})
	}
	(*set)[name] = struct{}{}
}

// takeGone returns the names to be removed now, and of them those that the
// client asked for by name with the reason; the client no longer has them after.
func (s *subscription) takeGone(in Snapshot) (gone []string, lost []loss) {
	v := visit{subscription: s, next: in}
	if s.wildcard {
		v.listed = in.All(s.kind.url())
	}
	for _, name := range slices.Sorted(maps.Keys(s.gone)) {
		e, ok := s.entries[name]
		if !ok || v.covered(name, e) != nil {
			continue // unsubscribed, or back again
		}
		gone = append(gone, name)
		if e.asked {
			lost = append(lost, loss{name, s.why(name, in)})
			s.entries[name] = entry{asked: true, told: true}
			add(&s.missing, name)
		} else {
			delete(s.entries, name)
		}
	}
	s.gone = nil
	return gone, lost
}

// held returns everything the client has or is about to have, by name.
func (s *subscription) held() []*Resource {
	rs := make([]*Resource, 0, len(s.entries))
	for _, e := range s.entries {
		if e.res != nil {
			rs = append(rs, e.res)
		}
	}
	SortResources(rs)
	return rs
}
