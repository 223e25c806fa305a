package mesh

import (
	"time"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh/internal/engine"
)

type identityBelief struct {
	ID      string    `json:"id,omitempty"`
	Expires time.Time `json:"expires,omitzero"`
	Error   string    `json:"error,omitempty"` // why there is none
}

// doorBelief is what is demanded of connections, and who they were that were not let in, or should not be for long.
type doorBelief struct {
	Mode      string            `json:"mode"`
	Closed    string            `json:"closed,omitempty"` // why no connection is let in
	Turned    map[string]uint64 `json:"turnedAway,omitempty"`
	Plaintext []plaintextBelief `json:"plaintext,omitempty"`
	Policies  []string          `json:"policies,omitempty"` // "step/policy"
}

type plaintextBelief struct {
	Addr        string    `json:"addr"`
	Connections uint64    `json:"connections"`
	Last        time.Time `json:"last"`
}

func (m *Mesh) believeIdentity() *identityBelief {
	source := m.settings.identity
	if source == nil {
		return nil
	}
	svid, err := source.GetX509SVID()
	switch {
	case err != nil:
		return &identityBelief{Error: err.Error()}
	case svid == nil || len(svid.Certificates) == 0:
		return &identityBelief{Error: "there is none yet"}
	}
	return &identityBelief{ID: svid.ID.String(), Expires: svid.Certificates[0].NotAfter}
}

func believeDoor(s engine.InboundState) doorBelief {
	out := doorBelief{Mode: s.Mode.String()}
	if s.Closed != nil {
		out.Closed = s.Closed.Error()
	}
	for why, n := range s.Turned {
		if out.Turned == nil {
			out.Turned = map[string]uint64{}
		}
		out.Turned[why.String()] = n
	}
	for _, p := range s.Plaintext {
		out.Plaintext = append(out.Plaintext, plaintextBelief{p.Addr.String(), p.Connections, p.Last})
	}
	return out
}

// policiesOf names what decides on calls, in order.
func policiesOf(g *identity.Guard) (out []string) {
	if g.JWT != nil {
		out = append(out, "jwt")
	}
	for _, steps := range [][]identity.Step{g.Connections, g.Steps} {
		for i := range steps {
			s := &steps[i]
			if s.Ask != nil {
				out = append(out, s.Name+"/"+s.Ask.Service)
			}
			out = append(out, policyNames(s.Name, s.Rules)...)
			out = append(out, policyNames(s.Name+" (only tried)", s.Shadow)...)
		}
	}
	return out
}

func policyNames(step string, r *identity.Rules) (out []string) {
	if r == nil {
		return nil
	}
	if r.Tree != nil || len(r.Policies) == 0 {
		return []string{step}
	}
	for i := range r.Policies {
		out = append(out, step+"/"+r.Policies[i].Name)
	}
	return out
}
