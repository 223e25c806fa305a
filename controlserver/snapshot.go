package controlserver

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"weak"

	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/controlserver/ads"
	"github.com/weftmesh/weft/controlserver/publish"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// A snapshot serves a view of publish to the streams of ads. A resource is made,
// marshalled and hashed when the first stream asks for it, and then shared.
type snapshot struct {
	view       *publish.View
	generation uint64
	failed     func(typeURL, name string, err error)
	trust      *wire.Secret // what clients are to believe; nil if they have no identities

	// mu of a newer snapshot may be held while that of an older one is taken.
	mu      sync.Mutex
	known   map[string]map[string]*ads.Resource // by type and name; only what there is
	bad     map[badKey]bool                     // what there is and cannot be sent
	changed map[changeKey][]string
}

type badKey struct{ typeURL, name string }

// A changeKey names a comparison: with which snapshot, and how much of it had
// been asked for. A stream that stays with an old snapshot may ask it for more.
// It does not keep that snapshot alive, which would keep all before it.
type changeKey struct {
	since   weak.Pointer[snapshot]
	typeURL string
	known   int
}

func newSnapshot(v *publish.View, generation uint64, failed func(string, string, error)) *snapshot {
	return &snapshot{
		view: v, generation: generation, failed: failed,
		known: map[string]map[string]*ads.Resource{}, bad: map[badKey]bool{}, changed: map[changeKey][]string{},
	}
}

func (s *snapshot) Version() string { return strconv.FormatUint(s.generation, 10) }

func (s *snapshot) Lookup(typeURL, name string) *ads.Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lookup(typeURL, name)
}

func (s *snapshot) lookup(typeURL, name string) *ads.Resource {
	if r := s.known[typeURL][name]; r != nil {
		return r
	}
	if s.bad[badKey{typeURL, name}] {
		return nil
	}
	var m proto.Message
	if typeURL == wire.SecretType {
		if s.trust != nil && s.trust.Name == name {
			m = wire.EncodeSecret(*s.trust)
		}
	} else {
		m = s.view.Message(typeURL, name)
	}
	if m == nil {
		return nil
	}
	r, err := ads.NewResource(name, m)
	if err == nil && r.Size() > s.view.Limit() {
		err = fmt.Errorf("%d bytes are more than the %d that its clients take", r.Size(), s.view.Limit())
	}
	if err != nil {
		s.bad[badKey{typeURL, name}] = true
		s.failed(typeURL, name, err)
		return nil
	}
	if s.known[typeURL] == nil {
		s.known[typeURL] = map[string]*ads.Resource{}
	}
	s.known[typeURL][name] = r
	return r
}

func (s *snapshot) All(typeURL string) []*ads.Resource {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*ads.Resource
	for _, name := range s.view.All(typeURL) {
		if r := s.lookup(typeURL, name); r != nil {
			out = append(out, r)
		}
	}
	ads.SortResources(out)
	return out
}

func (s *snapshot) Missing(typeURL, name string) error {
	return errors.New(s.view.Missing(typeURL, name))
}

// Changed compares what clients have asked of the earlier snapshot, once for all
// of them. Names that had nothing before are left out: streams look for those themselves.
func (s *snapshot) Changed(since ads.Snapshot, typeURL string) ([]string, bool) {
	old, ok := since.(*snapshot)
	if !ok || old == nil {
		return nil, false
	}
	if old == s {
		return nil, true
	}
	old.mu.Lock()
	key := changeKey{weak.Make(old), typeURL, len(old.known[typeURL])}
	old.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	names, ok := s.changed[key]
	if !ok {
		if len(s.changed) >= maxComparisons {
			clear(s.changed)
		}
		names = s.compare(old, typeURL)
		s.changed[key] = names
	}
	return names, true
}

// maxComparisons is more than there are snapshots that clients still have, most often.
const maxComparisons = 32

// compare is called with s.mu held. Snapshots are locked newer before older.
func (s *snapshot) compare(old *snapshot, typeURL string) []string {
	old.mu.Lock()
	was := maps.Clone(old.known[typeURL])
	old.mu.Unlock()
	var names []string
	for name, r := range was {
		if now := s.lookup(typeURL, name); now == nil || now.Version != r.Version {
			names = append(names, name)
		}
	}
	for _, name := range s.view.All(typeURL) { // what is new to those who want everything
		if was[name] == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}
