package identity

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/match"
)

// What can't be told is no rule: each fault is found, and named by where it stands.
func TestFaults(t *testing.T) {
	nested := always
	for range deepest + 1 {
		nested = not(nested)
	}
	tree := func(t Tree) *Rules { return &Rules{Tree: &t} }
	deep := Tree{Else: &Branch{}}
	for range deepest + 1 {
		inner := deep
		deep = Tree{Else: &Branch{Tree: &inner}}
	}
	ranged := match.String{Kind: match.Range, Low: 1, High: 2}
	for _, tc := range []struct {
		note  string
		is    Condition
		wants string
	}{
		{"no kind", Condition{}, "permissions[0].all[0]: unknown kind of condition 0"},
		{"unknown kind", Condition{Kind: 99}, "unknown kind of condition 99"},
		{"a kind of ours", Condition{Kind: pathIn}, "unknown kind"},
		{"not of unknown (X130)", not(Condition{Kind: 99}), "all[0].not[0]: unknown kind"},
		{"not of nothing (C2)", Condition{Kind: Not}, "not: of nothing"},
		{"not of two", Condition{Kind: Not, Of: []Condition{always, always}}, "not: of 2"},
		{"all of nothing (X127)", all(), "all: of nothing"},
		{"any of nothing (X127)", either(always, either()), "all[0].any[1]: any: of nothing"},
		{"deep", nested, "nested deeper than 64"},
		{"unknown string", path(match.String{Kind: 99, Value: "/a"}), "unknown kind 99"},
		{"bad regex", peer(regex("(")), "regex"},
		{"long regex", peer(regex(strings.Repeat("a", longestExpr+1))), "longer than 1024 bytes"},
		{"empty regex", peer(regex("")), "regex: is empty"},
		{"empty prefix", peer(prefix("")), "empty"},
		{"empty suffix", header("x-a", suffix("")), "empty"},
		{"empty contains", path(contains("")), "empty"},
		{"range of peers", peer(ranged), "range"},
		{"range of paths", path(ranged), "range"},
		{"range of hosts", header("host", ranged), "range"},
		{"range of names", Condition{Kind: ServerName, Is: ranged}, "range"},
		{"empty range", header("x-n", match.String{Kind: match.Range, Low: 2, High: 2}), "range: [2, 2) is empty"},
		{"no address range", Condition{Kind: SourceIn}, "address range"},
		{"bad address range", Condition{Kind: RemoteIn, Net: netip.PrefixFrom(netip.MustParseAddr("1.2.3.4"), 40)}, "address range"},
		{"ports", Condition{Kind: LocalPort, Low: 2, High: 1}, "port: 2 is above 1"},
		{"no header", header("", present), "no name of a header"},
		{"bad header", header("x a", present), "no name of a header"},
		{"grpc header (A41)", header("grpc-timeout", present), "gRFC A41"},
		{"grpc header in capitals (A41)", header("Grpc-Timeout", present), "gRFC A41"},
		{"scheme (A41, A17)", header(":scheme", exact("https")), "gRFC A41"},
		{"unknown pseudo header", header(":status", present), "no name of a header"},
		{"claim without path", Condition{Kind: ClaimIs, Is: exact("a")}, "claim: has no path"},
		{"claim with an empty key", Condition{Kind: ClaimIs, Path: []string{"a", ""}, Is: exact("a")}, "claim: has no path"},
		{"path that nothing has", path(exact("/a%2Fb")), "no path in normal form"},
		{"path without slash", path(exact("a")), "no path in normal form"},
		{"empty path", path(exact("")), "no path in normal form"},
		{"path with query", path(exact("/a?b")), "no path in normal form"},
		{"path with fragment", path(exact("/a#b")), "no path in normal form"},
		{"prefix without slash", path(prefix("admin")), "no path in normal form"},
		{"prefix with dots", path(prefix("/a/../b")), "no path in normal form"},
		{"prefix with slashes", path(prefix("//a")), "no path in normal form"},
		{"prefix with half an escape", path(prefix("/a%2")), "no path in normal form"},
		{"suffix with dots", path(suffix("/..")), "no path in normal form"},
		{"contains slashes", path(contains("a//b")), "no path in normal form"},
		{"regex that no path matches", path(regex("/a b")), "no path in normal form"},
		{"regex that no path matches", path(regex("(/é|/ü)+x")), "no path in normal form"},
		{"template", fits("/**/*"), "template"},
		{"template by prefix", Condition{Kind: PathFits, Is: prefix("/a")}, "template"},
		{"host", header("host", exact("a b")), "authority"},
		{"host with a port that is none", header("host", suffix("a:b")), "authority"},
		{"port alone", header("host", suffix(":80")), "authority"},
		{"regex of a port", header("host", regex(`a:\d+`)), "authority"},
	} {
		for _, action := range []Action{Allow, Deny, Log} {
			_, err := NewGate(Guard{Steps: []Step{{Name: "rbac", Rules: rules(action, policyOf("p", tc.is))}}})
			if err == nil || !strings.Contains(err.Error(), tc.wants) || !strings.Contains(err.Error(), "step rbac: policy p: permissions[0]") {
				t.Errorf("%s: %v", tc.note, err)
			}
		}
	}
	good := &ExtAuthz{Service: "a:1"}
	for _, tc := range []struct {
		note  string
		is    Guard
		wants string
	}{
		{"step of nothing", Guard{Steps: []Step{{Name: "a"}}}, "step a: decides nothing"},
		{"step without name", Guard{Steps: []Step{{Ask: good}, {}}}, "step 1: decides nothing"},
		{"no permissions (X127)", Guard{Steps: []Step{{Name: "a", Rules: rules(Allow, Policy{Name: "100%", Principals: []Condition{always}})}}}, "step a: policy 100%: permissions: there is none"},
		{"no principals (X127)", Guard{Steps: []Step{{Rules: rules(Deny, Policy{Name: "p", Permissions: []Condition{always}})}}}, "principals: there is none"},
		{"unknown action (X131)", Guard{Steps: []Step{{Rules: rules(7)}}}, "unknown action 7"},
		{"shadow", Guard{Steps: []Step{{Shadow: rules(7)}}}, "shadow: unknown action 7"},
		{"when", Guard{Steps: []Step{{Ask: &ExtAuthz{Service: "a", When: rules(Deny, policyOf("p", Condition{}))}}}}, "when: policy p"},
		{"nobody to ask", Guard{Steps: []Step{{Ask: &ExtAuthz{}}}}, "ask: service"},
		{"timeout", Guard{Steps: []Step{{Ask: &ExtAuthz{Service: "a", Timeout: -time.Second}}}}, "ask: timeout"},
		{"status", Guard{Steps: []Step{{Ask: &ExtAuthz{Service: "a", StatusOnError: 42}}}}, "ask: status on error"},
		{"headers to a service", Guard{Steps: []Step{{Ask: &ExtAuthz{Service: "a", AllowedHeaders: []match.String{regex("(")}}}}}, "allowed headers[0]"},
		{"tree", Guard{Steps: []Step{{Rules: tree(Tree{Fields: []Field{{}}})}}}, "tree.fields[0]: unknown kind"},
		{"tree, action", Guard{Steps: []Step{{Rules: tree(Tree{Else: &Branch{Action: 9}})}}}, "tree.else: unknown action 9"},
		{"tree, deep", Guard{Steps: []Step{{Rules: tree(deep)}}}, "nested deeper"},
		{"path of a connection", Guard{Connections: []Step{{Rules: rules(Deny, policyOf("p", not(path(exact("/a")))))}}}, "connection step 0: policy p: permissions[0].all[0].not[0]: looks at requests"},
		{"header of a connection", Guard{Connections: []Step{{Rules: rules(Deny, policyOf("p", header("x-a", present)))}}}, "looks at requests"},
		{"method of a connection", Guard{Connections: []Step{{Rules: rules(Deny, policyOf("p", header(":method", present)))}}}, "looks at requests"},
		{"claim of a connection", Guard{Connections: []Step{{Rules: rules(Deny, policyOf("p", Condition{Kind: ClaimIs, Path: []string{"a"}, Is: present}))}}}, "looks at requests"},
		{"asking by HTTP about a connection", Guard{Connections: []Step{{Ask: &ExtAuthz{Service: "a", HTTP: true}}}}, "no request to ask about"},
		{"trusted", Guard{Trusted: []match.String{regex("(")}}, "trusted[0]"},
		{"jwt, path", Guard{JWT: &JWT{Requirements: []PathRequirement{{Path: Condition{Kind: 99}}}}}, "jwt: requirements[0]: path"},
		{"jwt, provider", Guard{JWT: &JWT{Requirements: []PathRequirement{{Need: Requirement{Kind: NeedToken, Provider: "x"}}}}}, `provider "x"`},
		{"jwt, two providers", Guard{JWT: &JWT{Providers: []Provider{{Name: "a"}, {Name: "a"}}}}, "two of this name"},
		{"jwt, any of nothing", Guard{JWT: &JWT{Requirements: []PathRequirement{{Need: Requirement{Kind: NeedAnyOf}}}}}, "of nothing"},
		{"jwt, unknown", Guard{JWT: &JWT{Requirements: []PathRequirement{{Need: Requirement{Kind: 77}}}}}, "unknown kind of requirement"},
		{"too dear (C19)", Guard{Steps: []Step{{Name: "a", Rules: rules(Deny, dear()...)}}}, "step a: cost"},
	} {
		g, err := NewGate(tc.is)
		if g != nil || err == nil || !strings.Contains(err.Error(), tc.wants) {
			t.Errorf("%s: %v", tc.note, err)
		}
	}
}

func dear() (some []Policy) {
	for i := range mostSteps/dearExpr + 1 {
		some = append(some, policyOf("p", header("x-a", regex(fmt.Sprintf("a%d.*", i)))))
	}
	return some
}

func TestAllFaultsAreFound(t *testing.T) {
	_, err := NewGate(Guard{Steps: []Step{
		{Name: "a", Rules: rules(Allow, policyOf("p", Condition{}, peer(regex("("))))}, {Name: "b"},
	}})
	if all, ok := err.(interface{ Unwrap() []error }); !ok || len(all.Unwrap()) != 3 {
		t.Error(err)
	}
}

// CUSTOM, DENY and ALLOW, there or not, naming the request or not (C8).
func TestCustomDenyAllow(t *testing.T) {
	type state int // of a list of policies
	const (
		absent state = iota
		misses
		names
	)
	on := func(s state) Condition {
		if s == names {
			return path(exact("/a"))
		}
		return path(exact("/other"))
	}
	r := ordinary()
	for custom := absent; custom <= names; custom++ {
		for deny := absent; deny <= names; deny++ {
			for allow := absent; allow <= names; allow++ {
				for _, says := range []bool{true, false} {
					var g Guard
					if custom != absent {
						g.Steps = append(g.Steps, Step{Name: "custom", Ask: &ExtAuthz{Service: "authz:1", When: rules(Deny, policyOf("c", on(custom)))}})
					}
					if deny != absent {
						g.Steps = append(g.Steps, Step{Name: "deny", Rules: rules(Deny, policyOf("d", on(deny)))})
					}
					if allow != absent {
						g.Steps = append(g.Steps, Step{Name: "allow", Rules: rules(Allow, policyOf("a", on(allow)))})
					}
					gate, err := NewGate(g)
					if err != nil {
						t.Fatal(err)
					}
					asker := &service{says: says}
					d := gate.Check(t.Context(), &r, asker, nil)
					want, by := true, ""
					switch {
					case custom == names && !says:
						want, by = false, "custom"
					case deny == names:
						want, by = false, "deny"
					case allow == misses:
						want, by = false, "allow"
					}
					if d.Allowed != want || !want && d.Step != by || (asker.asked > 0) != (custom == names) {
						t.Errorf("CUSTOM %d (says %v), DENY %d, ALLOW %d: %+v, asked %d times", custom, says, deny, allow, d, asker.asked)
					}
					if (d.Answer != nil) != (by == "custom") || !d.Allowed && d.Reason == "" {
						t.Errorf("%+v", d)
					}
				}
			}
		}
	}
}

// A service is a service outside.
type service struct {
	says  bool
	asked int
	body  []byte
	with  Verdict
	saw   []string
}

func (s *service) Ask(_ context.Context, _ *ExtAuthz, r *Request, body []byte) Verdict {
	s.asked++
	s.body = body
	if r.Header != nil {
		s.saw = r.Header.Values(match.Named("x-user"))
	}
	v := s.with
	v.Allowed = s.says
	return v
}

func TestRulesWithoutPolicies(t *testing.T) {
	r := ordinary()
	for action, want := range map[Action]bool{Allow: false, Deny: true, Log: true} {
		if d := gateOf(t, Step{Rules: rules(action)}).Check(t.Context(), &r, nil, nil); d.Allowed != want {
			t.Errorf("%v without policies: %+v", action, d)
		}
	}
	if d := gateOf(t, Step{Rules: &Rules{}}).Check(t.Context(), &r, nil, nil); d.Allowed {
		t.Error("the zero Rules let something through")
	}
	if d := gateOf(t).Check(t.Context(), &r, nil, nil); !d.Allowed {
		t.Error("no rules refuse something")
	}
}

// What is noted or only tried has no effect (C11).
func TestShadows(t *testing.T) {
	r := ordinary()
	hit, miss := policyOf("hit", path(exact("/a"))), policyOf("miss", path(exact("/b")))
	for _, tc := range []struct {
		note    string
		step    Step
		allowed bool
		want    []Shadow
	}{
		{"log", Step{Rules: rules(Log, miss, hit)}, true, []Shadow{{"s", "hit", Log, true}}},
		{"log, nothing", Step{Rules: rules(Log, miss)}, true, nil},
		{"deny", Step{Shadow: rules(Deny, hit)}, true, []Shadow{{"s", "hit", Deny, false}}},
		{"deny, nothing", Step{Shadow: rules(Deny, miss)}, true, nil},
		{"allow", Step{Shadow: rules(Allow, hit)}, true, nil},
		{"allow, nothing", Step{Shadow: rules(Allow, miss)}, true, []Shadow{{"s", "", Allow, false}}},
		{"what is denied would be allowed", Step{Rules: rules(Deny, hit), Shadow: rules(Allow, hit)}, false, []Shadow{{"s", "hit", Allow, true}}},
		{"what is denied would be denied", Step{Rules: rules(Deny, hit), Shadow: rules(Deny, hit)}, false, nil},
		{"what is not known", Step{Shadow: rules(Deny, policyOf("net", in(SourceIn, "1.0.0.0/8")))}, true, []Shadow{{"s", "net", Deny, false}}},
		{"tree", Step{Shadow: &Rules{Tree: &Tree{}}}, true, []Shadow{{"s", "", Deny, false}}},
		{"kept", Step{Rules: &Rules{Tree: &Tree{
			Fields: []Field{{If: always, Then: Branch{Policy: "kept", Action: Deny}, KeepMatching: true}},
			Else:   &Branch{Policy: "else", Action: Log},
		}}}, true, []Shadow{{"s", "kept", Deny, false}, {"s", "else", Log, true}}},
	} {
		tc.step.Name = "s"
		r.Source = netip.AddrPort{}
		d := gateOf(t, tc.step).Check(t.Context(), &r, nil, nil)
		if d.Allowed != tc.allowed || !slices.Equal(d.Shadow, tc.want) {
			t.Errorf("%s: %+v", tc.note, d)
		}
	}
}

func TestTrees(t *testing.T) {
	on := func(p string, then Branch) Field { return Field{If: path(exact(p)), Then: then} }
	allow, deny := Branch{Policy: "allow", Action: Allow}, Branch{Policy: "deny", Action: Deny}
	role := header("x-role", exact("admin"))
	two := lines{"x-role": {"user", "admin"}}
	for _, tc := range []struct {
		note   string
		tree   Tree
		header lines
		want   string // the policy; "" is refused by none
	}{
		{"nothing", Tree{}, nil, ""},
		{"no match", Tree{Fields: []Field{on("/b", allow)}}, nil, ""},
		{"match", Tree{Fields: []Field{on("/b", deny), on("/a", allow)}}, nil, "allow"},
		{"first match", Tree{Fields: []Field{on("/a", deny), on("/a", allow)}}, nil, "deny"},
		{"else", Tree{Fields: []Field{on("/b", deny)}, Else: &allow}, nil, "allow"},
		{"inner match", Tree{Fields: []Field{on("/a", Branch{Tree: &Tree{Else: &allow}})}, Else: &deny}, nil, "allow"},
		{"inner does not match", Tree{Fields: []Field{on("/a", Branch{Tree: &Tree{}}), on("/a", allow)}}, nil, "allow"},
		{"else does not match", Tree{Else: &Branch{Tree: &Tree{}}}, nil, ""},
		{"kept", Tree{Fields: []Field{{If: always, Then: deny, KeepMatching: true}}, Else: &allow}, nil, "allow"},
		{"kept alone", Tree{Fields: []Field{{If: always, Then: allow, KeepMatching: true}}}, nil, ""},
		{"perhaps denied", Tree{Fields: []Field{{If: role, Then: deny}}, Else: &allow}, two, "deny"},
		{"perhaps allowed", Tree{Fields: []Field{{If: role, Then: allow}}, Else: &deny}, two, "deny"},
		{"allowed either way", Tree{Fields: []Field{{If: role, Then: allow}}, Else: &allow}, two, "allow"},
		{"perhaps not denied", Tree{Fields: []Field{{If: not(role), Then: deny}}, Else: &allow}, two, "deny"},
		{"perhaps allowed, or nothing", Tree{Fields: []Field{{If: role, Then: allow}}}, two, ""},
		{"not known", Tree{Fields: []Field{{If: in(LocalIn, "1.0.0.0/8"), Then: allow}}, Else: &allow}, nil, "allow denied"},
		{"not known behind a match", Tree{Fields: []Field{on("/a", allow), {If: in(LocalIn, "1.0.0.0/8"), Then: deny}}}, nil, "allow"},
		{"not known, kept", Tree{Fields: []Field{{If: in(LocalIn, "1.0.0.0/8"), Then: allow, KeepMatching: true}}, Else: &allow}, nil, "allow denied"},
	} {
		r := with(func(r *Request) { r.Header, r.Local = tc.header, netip.AddrPort{} })
		if tc.header == nil {
			r.Header = lines{}
		}
		d := gateOf(t, Step{Rules: &Rules{Tree: &tc.tree, Action: Deny}}).Check(t.Context(), r, nil, nil)
		want, refused := strings.CutSuffix(tc.want, " denied")
		if d.Policy != want || d.Allowed != (want == "allow" && !refused) || !d.Allowed && d.Reason == "" {
			t.Errorf("%s: %+v", tc.note, d)
		}
	}
}

// Facts that are missing deny, whatever the action, and however often it is negated (C10).
func TestWhatIsNotKnown(t *testing.T) {
	c := all(path(prefix("/")), header(":method", present), header("host", present), inverted("x-none", present), in(SourceIn, "0.0.0.0/0"), in(LocalIn, "0.0.0.0/0"))
	for _, is := range []Condition{c, not(c), not(not(c)), either(always, c), all(not(always), c)} {
		if allows, denies := verdict(t, c, with(func(*Request) {})); !allows || !denies {
			t.Fatal("the ordinary request lacks something")
		}
		for note, r := range map[string]*Request{
			"path":                with(func(r *Request) { r.Path = "" }),
			"path that is not":    with(func(r *Request) { r.Path = "//a" }),
			"path with query":     with(func(r *Request) { r.Path = "/a?b" }),
			"path with dots":      with(func(r *Request) { r.Path = "/a/../b" }),
			"authority":           with(func(r *Request) { r.Authority = "" }),
			"authority with port": with(func(r *Request) { r.Authority = "a:1" }),
			"authority, capitals": with(func(r *Request) { r.Authority = "A" }),
			"method":              with(func(r *Request) { r.Method = "" }),
			"header":              with(func(r *Request) { r.Header = nil }),
			"source":              with(func(r *Request) { r.Source = netip.AddrPort{} }),
			"local":               with(func(r *Request) { r.Local = netip.AddrPort{} }),
			"everything":          {},
		} {
			if allows, denies := verdict(t, is, r); allows || !denies {
				t.Errorf("%s: allows %v, denies %v", note, allows, denies)
			}
		}
	}
	// What another policy says for sure stands.
	unknown := policyOf("net", in(SourceIn, "10.0.0.0/8"))
	r := with(func(r *Request) { r.Source = netip.AddrPort{} })
	d := gateOf(t, Step{Rules: rules(Allow, unknown, policyOf("all", always))}).Check(t.Context(), r, nil, nil)
	if !d.Allowed || d.Policy != "all" {
		t.Errorf("%+v", d)
	}
	d = gateOf(t, Step{Rules: rules(Deny, unknown)}).Check(t.Context(), r, nil, nil)
	if d.Allowed || d.Policy != "net" || d.Reason != "the address of the peer is not known" {
		t.Errorf("%+v", d)
	}
}

func TestConnections(t *testing.T) {
	net := rules(Allow, policyOf("net", in(SourceIn, "10.0.0.0/8")))
	g, err := NewGate(Guard{Steps: []Step{{Name: "requests", Rules: rules(Allow)}}, Connections: []Step{{Name: "connections", Rules: net}}})
	if err != nil {
		t.Fatal(err)
	}
	r := &Request{Connection: true, Source: netip.MustParseAddrPort("10.0.0.1:1")}
	if d := g.Check(t.Context(), r, nil, nil); !d.Allowed {
		t.Errorf("%+v", d)
	}
	r.Source = netip.MustParseAddrPort("11.0.0.1:1")
	if d := g.Check(t.Context(), r, nil, nil); d.Allowed || d.Step != "connections" {
		t.Errorf("%+v", d)
	}
}

func TestAsking(t *testing.T) {
	r := with(func(r *Request) { r.Header = lines{"x-user": {"forged"}, "x-old": {"1"}} })
	ask := func(e ExtAuthz) Step { e.Service = "authz:1"; return Step{Name: "ask", Ask: &e} }
	body := func(s string) func(int) ([]byte, error) {
		return func(limit int) ([]byte, error) { return []byte(s[:min(len(s), limit)]), nil }
	}
	fails := func(int) ([]byte, error) { return nil, errors.New("reset") }

	t.Run("nobody asks", func(t *testing.T) {
		if d := gateOf(t, ask(ExtAuthz{})).Check(t.Context(), r, nil, nil); d.Allowed || d.Answer == nil || d.Step != "ask" {
			t.Errorf("%+v", d)
		}
	})
	t.Run("in doubt it is asked", func(t *testing.T) {
		for _, when := range []*Rules{
			nil,
			rules(Deny, policyOf("p", header("x-user", exact("forged")))),
			rules(Allow, policyOf("p", header("x-user", exact("forged")))),
			rules(Deny, policyOf("p", in(LocalIn, "1.0.0.0/8"))),
			{Tree: &Tree{Fields: []Field{{If: in(LocalIn, "1.0.0.0/8")}}}},
			{Tree: &Tree{Fields: []Field{{If: always, Then: Branch{Tree: &Tree{Else: &Branch{}}}}}}},
		} {
			s := &service{says: true}
			r := *r
			r.Local = netip.AddrPort{}
			if d := gateOf(t, ask(ExtAuthz{When: when})).Check(t.Context(), &r, s, nil); !d.Allowed || s.asked != 1 || len(d.Verdicts) != 1 {
				t.Errorf("%+v: %+v", when, d)
			}
		}
		for _, when := range []*Rules{
			rules(Deny), rules(Allow, policyOf("p", path(exact("/b")))), {Tree: &Tree{}}, {Tree: &Tree{Fields: []Field{{If: path(exact("/b"))}}}},
		} {
			s := &service{}
			if d := gateOf(t, ask(ExtAuthz{When: when})).Check(t.Context(), r, s, nil); !d.Allowed || s.asked != 0 {
				t.Errorf("%+v: %+v", when, d)
			}
		}
	})
	t.Run("denied before it is asked", func(t *testing.T) {
		s := &service{says: true}
		st := ask(ExtAuthz{})
		st.Rules = rules(Deny, policyOf("p", always))
		if d := gateOf(t, st).Check(t.Context(), r, s, nil); d.Allowed || s.asked != 0 {
			t.Errorf("%+v", d)
		}
	})
	t.Run("body", func(t *testing.T) {
		for _, tc := range []struct {
			e       ExtAuthz
			body    func(int) ([]byte, error)
			allowed bool
			saw     string
			status  int
		}{
			{ExtAuthz{}, fails, true, "", 0},
			{ExtAuthz{MaxBody: 4}, body("abcd"), true, "abcd", 0},
			{ExtAuthz{MaxBody: 4}, body("abcde"), false, "", 413},
			{ExtAuthz{MaxBody: 4, PartialBody: true}, body("abcde"), true, "abcd", 0},
			{ExtAuthz{MaxBody: 4}, fails, false, "", 0},
			{ExtAuthz{MaxBody: 4}, nil, false, "", 0},
		} {
			s := &service{says: true}
			d := gateOf(t, ask(tc.e)).Check(t.Context(), r, s, tc.body)
			if d.Allowed != tc.allowed || string(s.body) != tc.saw || !d.Allowed && (d.Answer == nil || d.Answer.Status != tc.status || s.asked > 0) {
				t.Errorf("%+v: %+v, saw %q", tc.e, d, s.body)
			}
		}
		reads := 0
		once := func(limit int) ([]byte, error) {
			if reads++; limit != 9 {
				t.Error("limit", limit)
			}
			return []byte("abcdef"), nil
		}
		s := &service{says: true}
		gateOf(t, ask(ExtAuthz{MaxBody: 8}), ask(ExtAuthz{MaxBody: 2, PartialBody: true})).Check(t.Context(), r, s, once)
		if reads != 1 || string(s.body) != "ab" {
			t.Errorf("read %d times, saw %q", reads, s.body)
		}
	})
	t.Run("rules behind it see what it changes", func(t *testing.T) {
		s := &service{says: true, with: Verdict{
			Set: []HeaderField{{"X-User", "alice"}}, Append: []HeaderField{{"x-group", "a"}, {"x-group", "b"}}, Remove: []string{"X-Old"},
		}}
		g := gateOf(t, ask(ExtAuthz{}), Step{Name: "deny", Rules: rules(Deny, policyOf("forged", header("x-user", exact("forged"))), policyOf("old", header("x-old", present)))},
			Step{Name: "allow", Rules: rules(Allow, policyOf("ok", header("x-user", exact("alice")), header("x-group", regex("a|b"))))}, ask(ExtAuthz{}))
		d := g.Check(t.Context(), r, s, nil)
		if !d.Allowed || d.Step != "allow" || d.Policy != "ok" || len(d.Verdicts) != 2 {
			t.Errorf("%+v", d)
		}
		if !slices.Equal(s.saw, []string{"alice"}) || !reflect.DeepEqual(r.Header, lines{"x-user": {"forged"}, "x-old": {"1"}}) {
			t.Error(s.saw, r.Header)
		}
	})
	t.Run("refusal", func(t *testing.T) {
		s := &service{with: Verdict{Status: 401, Body: "who?"}}
		if d := gateOf(t, ask(ExtAuthz{})).Check(t.Context(), r, s, nil); d.Allowed || d.Answer == nil || d.Answer.Body != "who?" || d.Reason != "authz:1 refuses" {
			t.Errorf("%+v", d)
		}
		s.with.Failed = errors.New("timeout")
		if d := gateOf(t, ask(ExtAuthz{})).Check(t.Context(), r, s, nil); d.Reason != "authz:1: timeout" {
			t.Errorf("%+v", d)
		}
	})
}

// The same policy is named whatever else there is, and the reason stands for operators.
func TestReasons(t *testing.T) {
	r := ordinary()
	d := gateOf(t, Step{Name: "rbac", Rules: rules(Deny, policyOf("one", path(prefix("/"))), policyOf("two", path(exact("/a"))))}).Check(t.Context(), &r, nil, nil)
	if d.Step != "rbac" || d.Policy != "one" || d.Reason != "policy one of step rbac denies" {
		t.Errorf("%+v", d)
	}
	d = gateOf(t, Step{Name: "rbac", Rules: rules(Allow, policyOf("one", path(exact("/b"))))}).Check(t.Context(), &r, nil, nil)
	if d.Step != "rbac" || d.Policy != "" || d.Reason != "no policy of step rbac allows" {
		t.Errorf("%+v", d)
	}
}

func TestSteering(t *testing.T) {
	for _, name := range []string{
		"x-envoy-upstream-rq-timeout-ms", "X-Envoy-Retry-On", "x_envoy_max_retries", "x-weft-criticality", "X-Weft_Lane", "x-mesh-identity", "grpc-previous-rpc-attempts",
		"X-Forwarded-Client-Cert", "x_forwarded-client_cert", "l5d-client-id", "x-envoy-fault-abort-request",
	} {
		if !Steering(name) {
			t.Errorf("%s does not steer", name)
		}
	}
	for _, name := range []string{"", "x-envoy", "x-env", "x-request-id", "traceparent", "grpc-timeout", "x-forwarded-for", "x-forwarded-client-certs", "authorization", "my-x-envoy-a"} {
		if Steering(name) {
			t.Errorf("%s steers", name)
		}
	}
}

// What tokens are in, and what says what they prove, is no one else's to say either.
func TestMimicsOfTokens(t *testing.T) {
	g, err := NewGate(Guard{JWT: &JWT{Providers: []Provider{{
		Name: "p", JWKS: `{"keys":[]}`, PayloadHeader: "x-payload", ClaimHeaders: []ClaimHeader{{Header: "x-token-user", Claim: "sub"}},
		From: []TokenPlace{{Name: "x-my-token"}, {Kind: InQuery, Name: "a-token"}},
	}}}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]bool{"X_Payload": true, "x_token-user": true, "x_my_token": true, "a_token": false, "x-my-token": false} {
		if g.Mimics(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
	if !g.Mimicked() || gateOf(t, Step{Rules: rules(Deny, policyOf("p", header("role", exact("a"))))}).Mimicked() {
		t.Error("whether any name can be mimicked is told wrong")
	}
}

// Underscores (B7).
func TestMimics(t *testing.T) {
	g := gateOf(t, Step{Rules: rules(Deny, policyOf("p", not(header("x-my-role", exact("a"))), header("x_own", exact("b"))))},
		Step{Shadow: &Rules{Tree: &Tree{Fields: []Field{{If: either(header("x-in-tree", present))}}}}})
	for name, want := range map[string]bool{
		"x_my_role": true, "X_My-Role": true, "x-my_role": true, "x-my-role": false, "x_other": false, "x_own": false, "x_in-tree": true, "host": false,
	} {
		if g.Mimics(name) != want {
			t.Errorf("%s: %v", name, !want)
		}
	}
}
