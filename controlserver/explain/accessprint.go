package explain

import (
	"fmt"
	"io"
	"strings"

	"github.com/weftmesh/weft/controlserver/publish"
	"github.com/weftmesh/weft/identity"
)

// print writes who may call, and why, for a person.
func (a *Access) print(w io.Writer, indent string) {
	p := a.Protection
	where := fmt.Sprintf("servers at port %d", p.Port)
	if len(p.Endpoints) > 0 {
		var addrs []string
		for _, e := range p.Endpoints {
			addrs = append(addrs, e.Addr)
		}
		where = strings.Join(addrs, ", ")
	}
	fmt.Fprintf(w, "%smay call %s: %s\n", indent, where, a.verdict())
	indent += "  "
	if p.TLS.Mode == identity.Unset && a.ID == "" && len(a.Steps) == 0 && p.Guard.JWT == nil {
		return // a mesh without identities, and nobody who wants any
	}
	who := "nobody: plaintext"
	if a.ID != "" {
		who = a.ID + ", by mTLS"
	}
	fmt.Fprintf(w, "%scaller is %s; server's mode: %s%s\n", indent, who, mode(p.TLS.Mode), from(p.From[publish.TLS]...))
	for _, s := range a.Steps {
		for _, policy := range s.Policies {
			policy.print(w, indent, s.Kind, a.origin(policy.Name))
		}
	}
	for _, s := range a.Decision.Shadow {
		if s.Action != identity.Log {
			fmt.Fprintf(w, "%sif what is only tried were in force: %s\n", indent, tried(s))
		}
	}
}

func (a *Access) verdict() string {
	d := a.Decision
	switch {
	case a.Refused != "":
		return "no: " + a.Refused
	case !d.Allowed && d.Policy != "":
		return "no: " + d.Policy + " denies" + from(a.origin(d.Policy)...)
	case !d.Allowed:
		return "no: " + d.Reason
	case len(a.Asked) > 0:
		return "if " + strings.Join(a.Asked, " and ") + " lets it"
	case d.Policy != "":
		return "yes: " + d.Policy + " allows" + from(a.origin(d.Policy)...)
	case len(a.Protection.Policies) == 0:
		return "yes: no policy holds for them"
	}
	return "yes: no policy denies, and none has to allow"
}

// origin is where a rule of a policy stands, by its name.
func (a *Access) origin(name string) []publish.Origin {
	for _, p := range a.Protection.Policies {
		_, rest, ok := strings.Cut(name, fmt.Sprintf("ns[%s]-policy[%s]-rule[", p.Namespace, p.Name))
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(rest, "]")
		field := "spec"
		if len(p.Spec.GetRules()) > 0 {
			field = "spec.rules[" + number + "]"
		}
		return []publish.Origin{{Object: p.Object, Field: field}}
	}
	return nil
}

func (p Policy) print(w io.Writer, indent, kind string, at []publish.Origin) {
	if p.Tried {
		kind += " (only tried)"
	}
	verdict := "holds"
	if len(p.Against) > 0 {
		verdict = "does not hold: wants " + strings.Join(p.Against, "; ")
	}
	fmt.Fprintf(w, "%s%s %s: %s%s\n", indent, kind, p.Name, verdict, from(at...))
}

func tried(s identity.Shadow) string {
	switch {
	case s.Allowed && s.Policy != "":
		return "allowed by " + s.Policy
	case s.Allowed:
		return "allowed"
	case s.Policy != "":
		return "denied by " + s.Policy
	}
	return "denied: nothing in " + s.Step + " allows it"
}

func mode(m identity.Mode) string {
	if m == identity.Unset {
		return "as its own identity has it"
	}
	return m.String()
}
