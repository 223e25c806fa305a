package catalog

import (
	"maps"
	"reflect"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
)

// A LastGood keeps the last good version of every object, so that a bad document
// never takes down what was good. The zero LastGood is empty. It is for one
// goroutine at a time.
//
//   - An object whose newest version is refused stays as it was; without an
//     earlier version it is not there, but for the kinds that keep somebody out ([Parse]).
//   - A Revocation whose newest version is refused takes back what the last good one does, and what could be read of it since.
//   - An object whose file no longer has it is gone.
//   - An object whose file cannot be read, or is not all there, stays.
//   - A new version that does not fit the others (a route to a subset that nobody
//     has) waits in the same way; without an earlier version it is used as it is,
//     since the rest of it works.
//   - A new version that takes away what another, unchanged object needs waits
//     until that one lets go of it.
type LastGood struct {
	good map[Key]Object
}

// Merge takes the newest fragment of every source and returns the catalog to
// serve, with all findings, those about refused versions included.
func (l *LastGood) Merge(fragments ...Fragment) (*Catalog, []Finding) {
	if l.good == nil {
		l.good = map[Key]Object{}
	}
	newest, rest := l.newest(fragments)
	chosen := l.restore(newest, rest)
	var refused []Finding
	for {
		c := Merge(append(rest, Fragment{Objects: slices.SortedFunc(maps.Values(chosen), byPosition)})...)
		found := c.Check()
		held := l.hold(chosen, found)
		refused = append(refused, held...)
		if len(held) == 0 {
			l.keep(chosen, found)
			return c, sortFindings(append(found, refused...))
		}
	}
}

// newest returns the reported objects, of several with one name the first, and
// the fragments without them.
func (l *LastGood) newest(fragments []Fragment) (map[Key]Object, []Fragment) {
	objects := map[Key]Object{}
	rest := make([]Fragment, 0, len(fragments)+1)
	for _, f := range fragments {
		bare := Fragment{Source: f.Source, Workloads: f.Workloads, Findings: slices.Clip(f.Findings)}
		for i := range f.Objects {
			o := &f.Objects[i]
			if first, ok := objects[o.Key()]; ok {
				bare.Findings = append(bare.Findings, duplicate(o, &first))
				continue
			}
			objects[o.Key()] = *o
		}
		rest = append(rest, bare)
	}
	return objects, rest
}

// restore adds the last good version of what is refused or cannot be read, and
// forgets what is gone.
func (l *LastGood) restore(newest map[Key]Object, rest []Fragment) map[Key]Object {
	refused := map[Key]bool{}
	var broken []string
	for _, f := range rest {
		for _, finding := range f.Findings {
			if finding.Severity != Error {
				continue
			}
			if _, ok := served[finding.Kind]; ok && finding.Name != "" {
				refused[finding.Key()] = true
			} else if finding.File != "" && !slices.Contains(broken, finding.File) {
				broken = append(broken, finding.File)
			}
		}
	}
	chosen := maps.Clone(newest)
	for key, o := range l.good {
		now, ok := newest[key]
		if ok && !now.refused {
			continue
		}
		if ok && o.Revocation != nil {
			now.Revocation, now.refused = o.Revocation.with(now.Revocation), false
			chosen[key] = now
			continue
		}
		stays := refused[key] || slices.ContainsFunc(broken, func(b string) bool {
			return o.Position.File == b || strings.HasPrefix(o.Position.File, strings.TrimSuffix(b, "/")+"/")
		})
		if !stays {
			delete(l.good, key)
			continue
		}
		chosen[key] = o
	}
	return chosen
}

// hold puts the last good version in the place of what does not fit, and returns
// the findings about the versions it took out.
func (l *LastGood) hold(chosen map[Key]Object, found []Finding) []Finding {
	var held []Finding
	out := map[Key]bool{}
	for _, f := range found {
		if !f.cross {
			continue
		}
		key := f.Key()
		if out[key] {
			held = append(held, f)
			continue
		}
		now, good := chosen[key], l.good[key]
		if good.none() {
			continue
		}
		if !same(now, good) {
			held = append(held, f)
			chosen[key] = good
			out[key] = true
			continue
		}
		for _, b := range f.blames {
			was, now := l.good[b.Key()], chosen[b.Key()]
			if was.none() || same(was, now) {
				continue
			}
			chosen[b.Key()] = was
			out[b.Key()] = true
			held = append(held, Finding{
				Position: b.Position, Kind: b.Kind, Namespace: b.Namespace, Name: b.Name,
				Message: "waits, as " + key.String() + " at " + f.Position.String() + " needs what it takes away: " + f.Message,
			})
		}
	}
	return held
}

// keep remembers what fits.
func (l *LastGood) keep(chosen map[Key]Object, found []Finding) {
	misfits := map[Key]bool{}
	for _, f := range found {
		if f.cross {
			misfits[f.Key()] = true
		}
	}
	for key, o := range chosen {
		if !misfits[key] && !o.refused {
			l.good[key] = o
		}
	}
}

// same reports whether two versions say the same.
func same(a, b Object) bool {
	if a.Spec == b.Spec && a.Traffic == b.Traffic && a.Mesh == b.Mesh && a.Revocation == b.Revocation {
		return true
	}
	return a.Created.Equal(b.Created) && maps.Equal(a.Labels, b.Labels) && maps.Equal(a.Annotations, b.Annotations) &&
		proto.Equal(a.Spec, b.Spec) && slices.Equal(a.required, b.required) && reflect.DeepEqual(a.Traffic, b.Traffic) &&
		reflect.DeepEqual(a.Mesh, b.Mesh) && reflect.DeepEqual(a.Revocation, b.Revocation)
}

func byPosition(a, b Object) int {
	if c := strings.Compare(a.Position.File, b.Position.File); c != 0 {
		return c
	}
	return a.Position.Line - b.Position.Line
}
