package attacks

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// policies are those that Rows tells of.
func policies() identity.Guard {
	loopback := identity.Condition{Kind: identity.RemoteIn, Net: netip.MustParsePrefix("127.0.0.0/8")}
	local := policy("local", path(exactly("/local")))
	local.Principals = []identity.Condition{loopback}
	team := identity.Condition{Kind: identity.Any, Of: []identity.Condition{path(prefix("/team/")), path(prefix("/shop.Team/"))}}
	return identity.Guard{Steps: []identity.Step{
		step("deny", identity.Deny,
			policy("paths", path(exactly("/admin")), path(prefix("/admin/")), path(exactly("/user/profile")), path(exactly("/shop.Vault/Open"))),
			policy("roles", header("x-role", "admin"), header("X-Tier", "gold")),
			policy("verbs", all(path(exactly("/items")), header(":method", "DELETE"))),
			policy("hosts", header(":authority", "secret.com")),
			policy("queries", identity.Condition{Kind: identity.HeaderIs, Name: ":path", Is: match.String{Kind: match.Regex, Value: `.*[?&]admin=1(&.*)?`}}),
			local),
		step("allow", identity.Allow, policy("others", not(team)), policy("team", all(team, header("x-team", "blue")))),
	}}
}

// The table knows attacks by their names.
func TestNamesOfRows(t *testing.T) {
	seen := map[string]bool{}
	rows := Rows()
	for i := range rows {
		a := &rows[i]
		if name := a.Name(); seen[name] || strings.Contains(name, " (") {
			t.Errorf("%s: there are two, or it has a bracket", name)
		}
		seen[a.Name()] = true
	}
}

// Every attack on a server of the mesh, over mutual TLS by a caller whom it knows.
func TestRows(t *testing.T) {
	g := serve(t, strictly(policies()))
	alice := g.ca.Source(aliceID)
	results := Results{}
	rows := Rows()
	for i := range rows {
		a := &rows[i]
		by := map[Wire]Outcome{}
		for _, w := range a.On {
			t.Run(a.ID+"/"+a.What+"/"+w.String(), func(t *testing.T) {
				g.t = t
				o := g.attack(a, w, alice)
				by[w] = o
				if bad := a.Bad(o); bad != "" {
					t.Errorf("%s (answer %s)", bad, o.Answer)
				}
				t.Logf("%+v", o)
			})
		}
		results.Outcomes(a, by)
	}
	g.t = t
	if t.Failed() {
		return
	}
	if err := results.Check("../../docs/security.md", "weft", *update); err != nil {
		t.Error(err)
	}
}
