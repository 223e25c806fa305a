package ads

import (
	"fmt"
	"slices"
	"strings"
	"sync"
)

// A Snapshot is what a node may see at one moment. It never changes; many nodes
// may share one, and its methods are called by many streams at once. The type
// behind it must be comparable (a pointer).
type Snapshot interface {
	// Version names the snapshot in responses and in [Server.Status], for people
	// to compare. A hash of the content serves best.
	Version() string
	// Lookup returns the resource of that name, or nil. It may know more names
	// than All lists, and make the resource at the first question.
	Lookup(typeURL, name string) *Resource
	// All returns what a wildcard subscription gets, sorted by name. Not modified.
	All(typeURL string) []*Resource
	// Missing says why Lookup found nothing, in one sentence for the client.
	Missing(typeURL, name string) error
	// Changed returns every name of the type whose resource in this snapshot may
	// differ from that in since: changed, gone, or new among All. Names that
	// since had nothing of, and All does not list, may be left out: streams look
	// for what their clients miss by themselves. ok is false when it cannot
	// tell; a stream then compares everything it is subscribed to.
	Changed(since Snapshot, typeURL string) (names []string, ok bool)
}

// A Set is a snapshot of resources that are all there from the start.
type Set struct {
	version string
	types   map[string]*typeSet

	mu      sync.Mutex
	changed map[changeKey][]string
}

type typeSet struct {
	all    []*Resource
	byName map[string]*Resource
}

type changeKey struct {
	since *Set
	url   string
}

// NewSet returns the snapshot of the given resources. Of two resources with one
// type and name the later one stays.
func NewSet(version string, resources ...*Resource) *Set {
	s := &Set{version: version, types: make(map[string]*typeSet), changed: make(map[changeKey][]string)}
	for _, r := range resources {
		t := s.types[r.TypeURL]
		if t == nil {
			t = &typeSet{byName: make(map[string]*Resource)}
			s.types[r.TypeURL] = t
		}
		t.byName[r.Name] = r
	}
	for _, t := range s.types {
		for _, r := range t.byName {
			t.all = append(t.all, r)
		}
		SortResources(t.all)
	}
	return s
}

// Version is the one given to NewSet.
func (s *Set) Version() string { return s.version }

// Lookup returns the resource of that name, or nil.
func (s *Set) Lookup(typeURL, name string) *Resource {
	if t := s.types[typeURL]; t != nil {
		return t.byName[name]
	}
	return nil
}

// All returns every resource of the type.
func (s *Set) All(typeURL string) []*Resource {
	if t := s.types[typeURL]; t != nil {
		return t.all
	}
	return nil
}

// Missing says that there is no such resource.
func (s *Set) Missing(typeURL, name string) error {
	return fmt.Errorf("no %s %q", shortType(typeURL), name)
}

// Changed compares with an earlier Set, once for each.
func (s *Set) Changed(since Snapshot, typeURL string) ([]string, bool) {
	old, ok := since.(*Set)
	if !ok || old == nil {
		return nil, false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	key := changeKey{old, typeURL}
	names, ok := s.changed[key]
	if ok {
		return names, true
	}
	for _, r := range s.All(typeURL) {
		if o := old.Lookup(typeURL, r.Name); o == nil || o.Version != r.Version {
			names = append(names, r.Name)
		}
	}
	for _, o := range old.All(typeURL) {
		if s.Lookup(typeURL, o.Name) == nil {
			names = append(names, o.Name)
		}
	}
	slices.Sort(names)
	if len(s.changed) >= maxRemembered {
		clear(s.changed)
	}
	s.changed[key] = names
	return names, true
}

// maxRemembered bounds the comparisons a Set keeps: each holds an older Set.
const maxRemembered = 32

// shortType is the last word of a type's address: "Cluster".
func shortType(typeURL string) string {
	return typeURL[strings.LastIndexAny(typeURL, "./")+1:]
}
