package controlserver

import (
	"errors"
	"slices"
	"strconv"
	"sync"

	"github.com/weftmesh/weft/controlserver/ads"
	"github.com/weftmesh/weft/controlserver/publish"
)

// A snapshot serves a view of publish to the streams of ads. A resource is made,
// marshalled and hashed when the first stream asks for it, and then shared.
type snapshot struct {
	view       *publish.View
	generation uint64
	failed     func(typeURL, name string, err error)

	mu      sync.Mutex
	known   map[resourceKey]*ads.Resource // nil for names that there is nothing of
	changed map[changeKey][]string
}

type resourceKey struct{ typeURL, name string }

type changeKey struct {
	since   *snapshot
	typeURL string
}

func newSnapshot(v *publish.View, generation uint64, failed func(string, string, error)) *snapshot {
	return &snapshot{view: v, generation: generation, failed: failed, known: map[resourceKey]*ads.Resource{}, changed: map[changeKey][]string{}}
}

func (s *snapshot) Version() string { return strconv.FormatUint(s.generation, 10) }

func (s *snapshot) Lookup(typeURL, name string) *ads.Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookup(resourceKey{typeURL, name})
}

func (s *snapshot) lookup(key resourceKey) *ads.Resource {
	r, ok := s.known[key]
	if ok {
		return r
	}
	if m := s.view.Message(key.typeURL, key.name); m != nil {
		var err error
		if r, err = ads.NewResource(key.name, m); err != nil {
			s.failed(key.typeURL, key.name, err)
		}
	}
	s.known[key] = r
	return r
}

func (s *snapshot) All(typeURL string) []*ads.Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*ads.Resource
	for _, name := range s.view.All(typeURL) {
		if r := s.lookup(resourceKey{typeURL, name}); r != nil {
			out = append(out, r)
		}
	}
	ads.SortResources(out)
	return out
}

func (s *snapshot) Missing(typeURL, name string) error {
	return errors.New(s.view.Missing(typeURL, name))
}

// Changed compares what clients have asked of the earlier snapshot, once for all of them.
func (s *snapshot) Changed(since ads.Snapshot, typeURL string) ([]string, bool) {
	old, ok := since.(*snapshot)
	if !ok || old == nil {
		return nil, false
	}
	if old == s {
		return nil, true
	}
	asked := old.asked(typeURL)
	s.mu.Lock()
	defer s.mu.Unlock()
	key := changeKey{old, typeURL}
	if names, ok := s.changed[key]; ok {
		return names, true
	}
	var names []string
	for name, was := range asked {
		if now := s.lookup(resourceKey{typeURL, name}); (now == nil) != (was == nil) || now != nil && now.Version != was.Version {
			names = append(names, name)
		}
	}
	for _, name := range s.view.All(typeURL) { // what is new to those who want everything
		if _, ok := asked[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	if len(s.changed) > 4*maxSince { // each entry holds an older snapshot
		clear(s.changed)
	}
	s.changed[key] = names
	return names, true
}

const maxSince = 8

// asked returns what has been looked up of a type.
func (s *snapshot) asked(typeURL string) map[string]*ads.Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := map[string]*ads.Resource{}
	for k, r := range s.known {
		if k.typeURL == typeURL {
			out[k.name] = r
		}
	}
	return out
}
