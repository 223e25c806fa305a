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

	KindPeerAuthentication    = "PeerAuthentication"
	KindRequestAuthentication = "RequestAuthentication"
	KindAuthorizationPolicy   = "AuthorizationPolicy"
	KindMeshConfig            = "MeshConfig"
	KindRevocation            = "Revocation"
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
	// Spec is a *ServiceEntry, *WorkloadEntry, *VirtualService or *DestinationRule of istio.io/api/networking/v1alpha3,
	// or a *PeerAuthentication, *RequestAuthentication or *AuthorizationPolicy of istio.io/api/security/v1beta1; nil in
	// those of a kind of ours.
	Spec proto.Message
	// Traffic, Mesh and Revocation are the specs of the kinds that are ours, each nil in all others. Not to be modified.
	Traffic    *trafficpolicy.Spec
	Mesh       *MeshConfig
	Revocation *Revocation
	// Position is where the document begins.
	Position Position

	source *source
	// required are the rules of a RequestAuthentication with presence REQUIRED, a field that istio.io/api lacks.
	required []int
	// refused says that the object stands in for a document with a mistake.
	refused bool
}

// Key returns what names the object.
func (o *Object) Key() Key { return Key{o.Kind, o.Namespace, o.Name} }

// Origin returns what names the object, and where it stands.
func (o *Object) Origin() Origin { return Origin{o.Key(), o.Position} }

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

// Refused reports whether the object stands in for a document with a mistake ([Parse]).
func (o *Object) Refused() bool { return o.refused }

// none reports whether there is no such object.
func (o *Object) none() bool {
	return o.Spec == nil && o.Traffic == nil && o.Mesh == nil && o.Revocation == nil
}

// dryRun reports whether an AuthorizationPolicy is only tried.
func (o *Object) dryRun() bool {
	on, err := strconv.ParseBool(o.Annotations[dryRun])
	return err == nil && on
}

const dryRun = "istio.io/dry-run"

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

// An Origin says which object something comes from, and where that stands. The zero Origin is nobody.
type Origin struct {
	Key Key
	At  Position
}

// String returns "Kind/namespace/name at file:line"; "" of nobody.
func (o Origin) String() string {
	if o == (Origin{}) {
		return ""
	}
	return o.Key.String() + " at " + o.At.String()
}

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
