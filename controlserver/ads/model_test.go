package ads

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// A model is what a well-behaved client believes after the responses it got.
type model struct {
	*client
	wildcard map[string]bool
	asked    map[string]map[string]bool
	has      map[string]map[string]string // type, name, "name=content"
}

func newModel(k *kit, p Protocol) *model {
	m := &model{client: k.connect(p), wildcard: map[string]bool{}, asked: map[string]map[string]bool{}, has: map[string]map[string]string{}}
	for _, typ := range short {
		m.asked[typ], m.has[typ] = map[string]bool{}, map[string]string{}
	}
	return m
}

func (m *model) apply() {
	for _, a := range m.take() {
		if m.proto == StateOfTheWorld && (a.typ == "CDS" || a.typ == "LDS") {
			clear(m.has[a.typ])
		}
		for _, text := range a.sent {
			if !m.asked[a.typ][nameOf(text)] && !m.wildcard[a.typ] {
				continue // crossed with the client letting it go
			}
			m.has[a.typ][nameOf(text)] = text
		}
		for _, name := range a.gone {
			delete(m.has[a.typ], name)
		}
		if m.proto == StateOfTheWorld {
			for _, text := range a.lost {
				delete(m.has[a.typ], nameOf(text))
			}
		}
	}
}

// nameOf is the name in the texts of an answer; the model's names are one letter.
func nameOf(text string) string { return text[:1] }

// change asks for one name more or less, or all, and forgets what it lets go.
func (m *model) change(r *rand.Rand, typ string) {
	name := string(rune('a' + r.IntN(6)))
	asked := m.asked[typ]
	switch {
	case m.proto == Delta && (typ == "CDS" || typ == "LDS") && r.IntN(5) == 0:
		if m.wildcard[typ] = !m.wildcard[typ]; m.wildcard[typ] {
			m.ask(typ, "*")
			return
		}
		m.drop(typ, "*")
		maps.DeleteFunc(m.has[typ], func(n, _ string) bool { return !asked[n] })
		return
	case asked[name]:
		delete(asked, name)
		if !m.wildcard[typ] {
			delete(m.has[typ], name)
		}
		if m.proto == Delta {
			m.drop(typ, name)
			return
		}
	default:
		asked[name] = true
		if m.proto == Delta {
			m.ask(typ, name)
			return
		}
	}
	m.ask(typ, slices.Sorted(maps.Keys(asked))...)
}

// want is what the client should believe under a snapshot.
func (m *model) want(s *Set, typ string) map[string]string {
	want := map[string]string{}
	for _, r := range s.All(long(typ)) {
		if m.asked[typ][r.Name] || m.wildcard[typ] {
			_, want[r.Name] = describe(m.t, r.Any())
		}
	}
	return want
}

// TestClientsEndWithWhatWasPublished drives clients of both protocols through
// random publications, subscriptions and reconnections, and compares what they
// believe at the end with what was published last.
func TestClientsEndWithWhatWasPublished(t *testing.T) {
	types := []string{"CDS", "EDS", "LDS", "RDS"}
	for seed := range uint64(60) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			in(t, Config{}, func(t *testing.T, k *kit) {
				r := rand.New(rand.NewPCG(seed, 1))
				var last *Set
				publish := func(i int) {
					text := ""
					for _, typ := range types {
						for n := range 6 {
							if r.IntN(3) > 0 {
								text += fmt.Sprintf("%s %c=%d,", typ, 'a'+n, r.IntN(3))
							}
						}
					}
					last = snap(t, fmt.Sprint(i), text)
					k.publish(last)
				}
				publish(0)
				clients := []*model{newModel(k, Delta), newModel(k, StateOfTheWorld)}
				for i := range 60 {
					c := clients[r.IntN(2)]
					switch r.IntN(10) {
					case 0, 1, 2:
						publish(i + 1)
					case 3:
						c.apply()
						if c.proto == Delta {
							clients[0] = c.reconnect(k)
						}
					case 4:
						time.Sleep(time.Duration(r.IntN(200)) * time.Millisecond)
					default:
						// A client that changes its mind knows what it was sent.
						c.apply()
						c.change(r, types[r.IntN(4)])
						if r.IntN(2) == 0 {
							c.apply()
						}
					}
				}
				time.Sleep(2 * patience)
				for _, c := range clients {
					c.apply()
					for _, typ := range types {
						if want := c.want(last, typ); !maps.Equal(c.has[typ], want) {
							t.Errorf("%v %s: has %v, want %v (asked %v, wildcard %v)", c.proto, typ, c.has[typ], want, c.asked[typ], c.wildcard[typ])
						}
					}
				}
			})
		})
	}
}

// reconnect breaks off and begins a new stream with what the client has.
func (m *model) reconnect(k *kit) *model {
	m.cancel()
	n := newModel(k, Delta)
	n.wildcard, n.asked, n.has = m.wildcard, m.asked, m.has
	for typ, asked := range n.asked {
		names := slices.Sorted(maps.Keys(asked))
		if n.wildcard[typ] {
			names = append(names, "*")
		}
		if len(names) == 0 {
			continue
		}
		versions := map[string]string{}
		for name, text := range n.has[typ] {
			versions[name] = res(m.t, typ+" "+text).Version
		}
		n.send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: long(typ), ResourceNamesSubscribe: names, InitialResourceVersions: versions})
	}
	return n
}
