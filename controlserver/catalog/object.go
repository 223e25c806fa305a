package catalog

import (
	"cmp"
	"strconv"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/controlserver/trafficpolicy"
)

// The kinds this package serves.
const (
	KindServiceEntry    = "ServiceEntry"
	KindWorkloadEntry   = "WorkloadEntry"
	KindVirtualService  = "VirtualService"
	KindDestinationRule = "DestinationRule"
	KindTrafficPolicy   = trafficpolicy.Kind
)

// An Object is one document that may be used. It is a value: not to be modified
// after it was reported.
type Object struct {
	Kind        string
	APIVersion  string
	Namespace   string // "default" when the document names none
	Name        string
	Labels      map[string]string
	Annotations map[string]string
	// Created is metadata.creationTimestamp; zero when the document has none.
	Created time.Time
	// Spec is a *ServiceEntry, *WorkloadEntry, *VirtualService or
	// *DestinationRule of istio.io/api/networking/v1; nil in a TrafficPolicy.
	Spec proto.Message
	// Traffic is the spec of a TrafficPolicy; nil in all others. Not to be modified.
	Traffic *trafficpolicy.Spec
	// Position is where the document begins.
	Position Position

	source *source
}

// Key returns what names the object.
func (o *Object) Key() Key { return Key{o.Kind, o.Namespace, o.Name} }

// At returns where a field stands, for a path such as
// "spec.http[0].route[1].weight" or "spec.http[0].match[0].headers[x-user]".
// For a field that is not there it returns the place of the nearest one around
// it.
func (o *Object) At(field string) Position {
	if o.source == nil {
		return o.Position
	}
	return Position{File: o.Position.File, Line: o.source.line(field)}
}

// none reports whether there is no such object.
func (o *Object) none() bool { return o.Spec == nil && o.Traffic == nil }

// older orders objects as Istio does: by creation, then by name.
func older(a, b *Object) int {
	return cmp.Or(
		a.Created.Compare(b.Created),
		cmp.Compare(a.Name, b.Name),
		cmp.Compare(a.Namespace, b.Namespace),
	)
}

// A Key names an object.
type Key struct{ Kind, Namespace, Name string }

func (k Key) String() string { return k.Kind + "/" + k.Namespace + "/" + k.Name }

// A Position is a place in a file. Line counts from 1; 0 is the whole file.
type Position struct {
	File string
	Line int
}

func (p Position) String() string {
	if p.Line == 0 {
		return p.File
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}
