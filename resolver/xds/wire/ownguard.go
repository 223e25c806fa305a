package wire

import (
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// revoked is what is not believed any more; nil if it is not there.
func (o *own) revoked(name string) *identity.Revoked {
	in := o.in(name)
	if in == nil {
		return nil
	}
	r := &identity.Revoked{Serials: in.texts("serials")}
	for i, s := range r.Serials {
		if s == "" || strings.Trim(s, "0123456789abcdef") != "" || len(s) > 1 && s[0] == '0' {
			q := in.at("serials", i)
			q.refuse("", "%.80q is no serial number in lower-case hexadecimal", s)
		}
	}
	for i, text := range in.texts("ids") {
		id, err := spiffeid.FromString(text)
		if err != nil {
			q := in.at("ids", i)
			q.refuse("", "%w", err)
			continue
		}
		r.IDs = append(r.IDs, id)
	}
	in.closed()
	return r
}

func (f fields) revoked(name string, r *identity.Revoked) {
	if r == nil {
		return
	}
	in := fields{}
	in.texts("serials", r.Serials)
	var ids []string
	for _, id := range r.IDs {
		ids = append(ids, id.String())
	}
	in.texts("ids", ids)
	f.in(name, in)
}

// matchKinds are the kinds of condition on a string that metadata can say.
var matchKinds = []string{match.Exact: "exact", match.Prefix: "prefix", match.Suffix: "suffix", match.Contains: "contains", match.Regex: "regex", match.Present: "present"}

// matches is a list of conditions on a string; nil if it is not there.
func (o *own) matches(name string) []match.String {
	if o == nil || o.fields[name] == nil {
		return nil
	}
	list := []match.String{}
	for _, in := range o.all(name) {
		kind := slices.Index(matchKinds, in.text("kind"))
		if kind < 0 {
			in.refuse("kind", "%q is not known", in.text("kind"))
			continue
		}
		is := match.String{Kind: match.Kind(kind), Value: in.text("value"), IgnoreCase: in.bool("ignore_case")}
		if _, err := is.Compile(); err != nil || len(is.Value) > maxRegex {
			in.refuse("value", "%.80q is no condition", is.Value)
		}
		in.closed()
		list = append(list, is)
	}
	return list
}

// matches keeps a list that is empty from one that is not there.
func (f fields) matches(name string, list []match.String) {
	if list == nil {
		return
	}
	out := &structpb.ListValue{}
	for _, is := range list {
		in := fields{}
		kind := "unknown" // readers refuse
		if int(is.Kind) < len(matchKinds) {
			kind = matchKinds[is.Kind]
		}
		in.text("kind", kind)
		in.text("value", is.Value)
		in.bool("ignore_case", is.IgnoreCase)
		out.Values = append(out.Values, structpb.NewStructValue(&structpb.Struct{Fields: in}))
	}
	f[name] = structpb.NewListValue(out)
}

// closed refuses what nobody read: of who may do what, nothing is passed over.
func (o *own) closed() {
	for _, name := range o.unread() {
		o.refuse(name, "not supported")
	}
}
