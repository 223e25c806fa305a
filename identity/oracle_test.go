package identity

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

// The oracle says what becomes of a request, slowly, and from the words of Conditions alone: nothing here is shared with what it judges but the
// values, and match.String.

// A truth is what is known of a condition.
type truth int

const (
	no truth = iota
	maybe
	yes
)

func truthOf(sure, possible bool) truth {
	switch {
	case sure:
		return yes
	case possible:
		return maybe
	}
	return no
}

// An oracle judges. A strict one takes a policy that looks at what is not known for unknown as a whole, as a Gate does; else what holds, or
// fails, whatever the unknown might be, is known.
type oracle struct{ strict bool }

func (o oracle) allows(steps []Step, r *Request) bool {
	return !slices.ContainsFunc(steps, func(s Step) bool { return s.Rules != nil && !o.passes(s.Rules, r) })
}

func (o oracle) passes(rs *Rules, r *Request) bool {
	if rs.Tree != nil {
		return o.tree(rs.Tree, r) == outcomes{allow: true}
	}
	most := no
	for _, p := range rs.Policies {
		most = max(most, o.policy(p, r))
	}
	switch rs.Action {
	case Allow:
		return most == yes
	case Deny:
		return most == no
	}
	return true
}

func (o oracle) policy(p Policy, r *Request) truth {
	if o.strict && slices.ContainsFunc(slices.Concat(p.Permissions, p.Principals), func(c Condition) bool { return lacks(c, r) }) {
		return maybe
	}
	return min(o.any(p.Permissions, r), o.any(p.Principals, r))
}

func (o oracle) any(of []Condition, r *Request) truth {
	most := no
	for _, c := range of {
		most = max(most, o.condition(c, r))
	}
	return most
}

func (o oracle) condition(c Condition, r *Request) truth {
	switch c.Kind {
	case Always:
		return yes
	case Not:
		return yes - o.condition(c.Of[0], r)
	case Any:
		return o.any(c.Of, r)
	case All:
		least := yes
		for _, part := range c.Of {
			least = min(least, o.condition(part, r))
		}
		return least
	}
	if lacks(c, r) {
		return maybe
	}
	return atom(c, r)
}

// lacks reports whether c looks at anything that the request does not have.
func lacks(c Condition, r *Request) bool {
	switch c.Kind {
	case All, Any, Not:
		return slices.ContainsFunc(c.Of, func(c Condition) bool { return lacks(c, r) })
	case SourceIn, RemoteIn:
		return !r.Source.IsValid()
	case LocalIn, LocalPort:
		return !r.Local.IsValid()
	case PathIs, PathFits:
		return r.Path == ""
	case HeaderIs:
		switch c.Name {
		case "host":
			return r.Authority == ""
		case ":method":
			return r.Method == ""
		}
		return r.Header == nil
	}
	return false
}

func atom(c Condition, r *Request) truth {
	switch c.Kind {
	case PathIs:
		return onForms(r.Path, c.Is.Holds)
	case PathFits:
		return onForms(r.Path, func(p string) bool { return fitsSlowly(strings.Split(c.Is.Value, "/"), strings.Split(p, "/")) })
	case Authentic:
		if r.Peer == nil {
			return no
		}
		id := r.Peer.ID.String()
		sure := c.Is.Value == "" || c.Is.Holds(id)
		domain := strings.TrimPrefix(c.Is.Value, "spiffe://")
		if c.Is.Kind == match.Prefix && !strings.Contains(domain, "/") && r.Peer.ID.TrustDomain().Name() != domain {
			return truthOf(false, sure)
		}
		return truthOf(sure, sure)
	case SourceIn:
		return onNet(c.Net, r.Source.Addr())
	case RemoteIn:
		if r.Client.IsValid() {
			return onNet(c.Net, r.Client)
		}
		return onNet(c.Net, r.Source.Addr())
	case LocalIn:
		return onNet(c.Net, r.Local.Addr())
	case LocalPort:
		in := r.Local.Port() >= c.Low && r.Local.Port() <= c.High
		return truthOf(in, in)
	case ServerName:
		in := r.Peer != nil && c.Is.Holds(r.Peer.ServerName)
		return truthOf(in, in)
	case ClaimIs:
		return onClaims(c, r.Claims)
	case HeaderIs:
		return onHeader(c, r)
	}
	panic("a condition that the oracle does not know")
}

func onForms(path string, holds func(string) bool) truth {
	var segments []string
	for s := range strings.SplitSeq(path, "/") {
		segments = append(segments, strings.SplitN(s, ";", 2)[0])
	}
	a, b := holds(path), holds(strings.Join(segments, "/"))
	return truthOf(a && b, a || b)
}

// fitsSlowly knows "*" and "**" as whole segments.
func fitsSlowly(template, path []string) bool {
	switch {
	case len(template) == 0:
		return len(path) == 0
	case template[0] == "**":
		for i := range len(path) + 1 {
			if i > 0 && fitsSlowly(template[1:], path[i:]) {
				return true
			}
		}
		return false
	case len(path) == 0 || template[0] != "*" && template[0] != path[0] || template[0] == "*" && path[0] == "":
		return false
	}
	return fitsSlowly(template[1:], path[1:])
}

func onNet(net netip.Prefix, a netip.Addr) truth {
	in := net.Contains(netip.MustParseAddr(strings.TrimPrefix(a.WithZone("").String(), "::ffff:")))
	return truthOf(in, in)
}

func onHeader(c Condition, r *Request) truth {
	is := func(s string) bool { return c.Is.Holds(s) }
	flip := func(t truth) truth {
		if c.Invert {
			return yes - t
		}
		return t
	}
	var values []string
	switch c.Name {
	case ":method":
		values = []string{r.Method}
	case "host":
		values = []string{r.Authority}
	default:
		values = r.Header.Values(match.Named(c.Name))
	}
	if len(values) == 0 && c.MissingAsEmpty {
		values = []string{""}
	}
	if len(values) == 0 {
		there := c.Is.Kind == match.Present && c.Invert
		return truthOf(there, there)
	}
	readings := append([]string{strings.Join(values, ",")}, values...)
	sure := true
	for _, v := range values {
		for element := range strings.SplitSeq(v, ",") {
			readings = append(readings, strings.TrimSpace(element), strings.Trim(element, ` "`))
			for piece := range strings.SplitSeq(element, ";") {
				readings = append(readings, strings.Trim(piece, ` "`))
			}
			if c.Is.Kind != match.Exact && !strings.Contains(c.Is.Value, ",") {
				sure = sure && is(strings.TrimSpace(element))
			}
		}
		if c.Is.Kind == match.Exact || strings.Contains(c.Is.Value, ",") {
			sure = sure && is(v)
		}
	}
	return flip(truthOf(sure, slices.ContainsFunc(readings, is)))
}

func onClaims(c Condition, claims []Claims) truth {
	most := no
	for _, one := range claims {
		if c.Name != "" && c.Name != one.Provider {
			continue
		}
		v, ok := one.Payload[c.Path[0]]
		for _, key := range c.Path[1:] {
			object, _ := v.(map[string]any)
			v, ok = object[key]
		}
		if !ok {
			continue
		}
		t := no
		switch v := v.(type) {
		case string:
			t = truthOf(!c.InList && c.Is.Holds(v), c.Is.Holds(v))
		case bool:
			text := map[bool]string{true: "true", false: "false"}[v]
			t = truthOf(c.Is.Kind == match.Present && !c.InList, c.Is.Holds(text))
		case []any:
			for _, element := range v {
				holds := c.Is.Holds(element.(string))
				t = max(t, truthOf(holds && (c.InList || c.Is.Kind == match.Present), holds))
			}
			if c.Is.Kind == match.Present && !c.InList {
				t = yes
			}
		case map[string]any:
			t = truthOf(c.Is.Kind == match.Present && !c.InList, c.Is.Kind == match.Present)
		}
		most = max(most, t)
	}
	return most
}

// outcomes are what a tree leads to in some world in which what may be is, or is not. nothing is that nothing matches.
type outcomes struct{ allow, deny, nothing bool }

func (a outcomes) or(b outcomes) outcomes {
	return outcomes{a.allow || b.allow, a.deny || b.deny, a.nothing || b.nothing}
}

func (o oracle) tree(t *Tree, r *Request) outcomes {
	for i, f := range t.Fields {
		if lacks(f.If, r) {
			return outcomes{deny: true}
		}
		is := o.condition(f.If, r)
		if is == no || f.KeepMatching {
			continue
		}
		rest := func() outcomes { return o.tree(&Tree{Fields: t.Fields[i+1:], Else: t.Else}, r) }
		then := o.branch(f.Then, r)
		if then.nothing {
			then.nothing = false
			then = then.or(rest())
		}
		if is == maybe {
			then = then.or(rest())
		}
		return then
	}
	if t.Else == nil {
		return outcomes{nothing: true}
	}
	return o.branch(*t.Else, r)
}

func (o oracle) branch(b Branch, r *Request) outcomes {
	if b.Tree != nil {
		return o.tree(b.Tree, r)
	}
	return outcomes{allow: b.Action != Deny, deny: b.Action == Deny}
}

// Dice choose one of n.
type dice func(n int) int

func random(seed uint64) dice {
	r := rand.New(rand.NewPCG(seed, seed))
	return r.IntN
}

// bytesOf are dice that were thrown before; when there are none left, it is always the first.
func bytesOf(data []byte) dice {
	return func(n int) int {
		if len(data) == 0 {
			return 0
		}
		b := data[0]
		data = data[1:]
		return int(b) % n
	}
}

func one[T any](d dice, of ...T) T { return of[d(len(of))] }

var somePaths = []string{"/a", "/b", "/a/b", "/a/", "/a;v=1", "/a;v=1/b", "/b/c/d", "/x%20y"}

var someIDs = []string{"spiffe://prod/a", "spiffe://prod/b", "spiffe://prod/ns/x/sa/y", "spiffe://prod.evil/a", "spiffe://test/a"}

var someNets = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("192.168.0.0/16"), netip.MustParsePrefix("fd00::/8")}

func (d dice) request() *Request {
	r := &Request{
		Method: one(d, "GET", "POST"), Authority: one(d, "a.com", "b.a.com"), Path: one(d, somePaths...), GRPC: d(2) == 0,
		Source: netip.AddrPortFrom(d.address(), 1), Local: netip.AddrPortFrom(d.address(), one[uint16](d, 80, 8080)),
	}
	h := lines{}
	for range d(4) {
		name := one(d, "x-a", "x-b")
		h[name] = append(h[name], one(d, "u", "v", "u,v", "v; u", "w", "", `"u"`, "u1,u2", "u;x,u;x", "v, u;x"))
	}
	r.Header = h
	if d(4) > 0 {
		r.Peer = svid(one(d, someIDs...))
		r.Peer.ServerName = one(d, "", "sni.com")
	}
	if d(3) == 0 {
		r.Client = d.address()
	}
	for range d(3) {
		r.Claims = append(r.Claims, Claims{Provider: one(d, "p", "q"), Payload: map[string]any{
			"sub": one(d, "u", "v"), "g": one[any](d, []any{"u", "w"}, "u", true, []any{}), "o": map[string]any{"k": one(d, "u", "v")},
		}})
	}
	return r
}

func (d dice) address() netip.Addr {
	return netip.MustParseAddr(one(d, "10.0.0.1", "10.1.0.1", "::ffff:10.1.0.1", "192.168.1.1", "fd00::1", "fd00::1%eth0"))
}

// lose takes something from the request.
func (d dice) lose(r *Request) {
	switch d(6) {
	case 0:
		r.Source, r.Client = netip.AddrPort{}, netip.Addr{}
	case 1:
		r.Local = netip.AddrPort{}
	case 2:
		r.Path = ""
	case 3:
		r.Authority = ""
	case 4:
		r.Method = ""
	default:
		r.Header = nil
	}
}

func (d dice) steps() (steps []Step) {
	for range 1 + d(3) {
		rs := &Rules{Action: one(d, Allow, Deny, Deny, Log)}
		for i := range d(4) {
			rs.Policies = append(rs.Policies, Policy{Name: string(rune('a' + i)), Permissions: d.conditions(3), Principals: d.conditions(3)})
		}
		if d(5) == 0 {
			rs.Tree = d.tree(3)
		}
		steps = append(steps, Step{Name: "s", Rules: rs})
	}
	return steps
}

func (d dice) tree(depth int) *Tree {
	t := &Tree{}
	for range d(3) {
		t.Fields = append(t.Fields, Field{If: d.condition(2), Then: d.branch(depth), KeepMatching: d(6) == 0})
	}
	if d(2) == 0 {
		b := d.branch(depth)
		t.Else = &b
	}
	return t
}

func (d dice) branch(depth int) Branch {
	if depth > 0 && d(3) == 0 {
		return Branch{Tree: d.tree(depth - 1)}
	}
	return Branch{Policy: "leaf", Action: one(d, Allow, Allow, Deny, Log)}
}

func (d dice) conditions(depth int) (out []Condition) {
	for range one(d, 1, 1, 2, 5) {
		out = append(out, d.condition(depth))
	}
	return out
}

func (d dice) condition(depth int) Condition {
	if depth > 0 && d(2) == 0 {
		switch d(3) {
		case 0:
			return not(d.condition(depth - 1))
		case 1:
			return all(d.conditions(depth - 1)...)
		default:
			return either(d.conditions(depth - 1)...)
		}
	}
	switch ConditionKind(1 + d(13)) {
	case PathIs:
		return path(one(d, exact("/a"), exact("/b"), exact("/a/b"), prefix("/a/"), prefix("/a"), suffix("/b"), contains("/c/"), regex("/[ab]"), regex("/a.*")))
	case PathFits:
		return fits(one(d, "/*", "/*/b", "/a/**", "/**", "/*/c/*"))
	case Authentic:
		return peer(one(d, match.String{}, exact(someIDs[0]), exact(someIDs[1]), exact(someIDs[2]), exact(someIDs[4]), prefix("spiffe://prod"), prefix("spiffe://prod/ns/"), suffix("/a"), regex("spiffe://.*/sa/y"), regex(".*/ns/x/.*")))
	case SourceIn, RemoteIn, LocalIn:
		return Condition{Kind: one(d, SourceIn, RemoteIn, LocalIn), Net: one(d, someNets...)}
	case LocalPort:
		return Condition{Kind: LocalPort, Low: one[uint16](d, 1, 81), High: one[uint16](d, 100, 9000)}
	case ServerName:
		return Condition{Kind: ServerName, Is: one(d, exact("sni.com"), suffix(".com"), exact("other"))}
	case ClaimIs:
		return Condition{
			Kind: ClaimIs, Name: one(d, "", "p"), Path: one(d, []string{"sub"}, []string{"g"}, []string{"o", "k"}, []string{"o"}, []string{"none"}),
			Is: one(d, exact("u"), exact("true"), prefix("u"), present), InList: d(2) == 0,
		}
	case HeaderIs:
		c := Condition{Kind: HeaderIs, Name: one(d, "x-a", "x-a", "x-b", "host", ":method"), Invert: d(3) == 0, MissingAsEmpty: d(4) == 0}
		switch c.Name {
		case "host":
			c.Is = one(d, exact("b.a.com"), suffix("a.com"), prefix("b."), regex("a.*"), present)
		case ":method":
			c.Is = one(d, exact("GET"), prefix("P"), regex("GET|PUT"), present)
		default:
			c.Is = one(d, exact("u"), exact("v"), exact("u,v"), exact(""), prefix("u"), suffix("v"), contains("u"), contains(","), regex("u|v"), regex("u;x"), regex("u.*"), present)
		}
		return c
	}
	return always
}
