package identity

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

const (
	deepest     = 64      // how deep conditions and trees are nested
	longestExpr = 1 << 10 // bytes of a regular expression
	mostSteps   = 100_000 // what one decision may cost at worst, in conditions; an expression is as dear as dearExpr
	dearExpr    = 20
	fewest      = 4 // exact conditions that are worth a set
)

// A test is a Condition made ready.
//
// It is asked in one of two ways, as what a request can be taken for is not always one thing: a header has several lines, a path has
// parameters that not everybody knows. Surely: whatever it is taken for, the condition holds. Perhaps: there is something that it can be taken
// for and the condition holds. Perhaps is asked where to hold is to the caller's loss (DENY), surely where it is to the caller's gain (ALLOW);
// under Not, and by Invert, the one turns into the other. What a request lacks is no matter of tests: a policy that looks at it is not
// asked at all.
type test struct {
	kind     ConditionKind
	needs    facts
	weight   int
	keys     []keys // choices of what a request has whenever the test holds; none if nothing is known
	enough   keys   // one of them is enough for the test to hold surely, or, if it is on an inverted header, to fail
	leaf     *leaf  // of a Condition without parts
	of       []test
	is       match.Matcher
	any      bool // of Authentic: whoever it is
	whole    bool // is says itself what a path has besides names, or a header besides single elements
	domain   int  // of Authentic: how long a beginning is that ends in a trust domain; else 0
	header   *headerTest
	template *template
	claim    *claimTest
	net      netip.Prefix
	mapped   bool // net has all addresses of IPv4 that are written as IPv6
	low      uint16
	high     uint16
	set      map[string]struct{} // of kinds pathIn and peerIn
	nets     *networks           // of kinds sourceIn, clientIn and localIn
}

// Kinds that several conditions are made one of.
const (
	pathIn ConditionKind = 100 + iota
	peerIn
	sourceIn
	clientIn
	localIn
)

// facts are what a request may lack.
type facts uint8

const (
	aSource facts = 1 << iota
	aLocal
	aMethod
	aPath
	anAuthority
	aHeader
	aRequest
)

const ofRequests = aMethod | aPath | anAuthority | aHeader | aRequest

// lacking says what of the facts is not known, as a sentence that is there already.
func (f facts) lacking() string {
	switch {
	case f&aSource != 0:
		return "the address of the peer is not known"
	case f&aLocal != 0:
		return "the address that was connected to is not known"
	case f&aPath != 0:
		return "the path is not known, or is not in normal form"
	case f&anAuthority != 0:
		return "the authority is not known, or is not in normal form"
	case f&aMethod != 0:
		return "the method is not known"
	case f&aHeader != 0:
		return "the header is not known"
	default:
		return "there is only a connection yet"
	}
}

// ready makes c ready.
func (c *Condition) ready(depth int, f *faults) (t test) {
	t.kind, t.weight = c.Kind, 1
	if depth > deepest {
		f.add("is nested deeper than %d", deepest)
		return t
	}
	switch c.Kind {
	case Always:
	case All, Any, Not:
		t.readyParts(c, depth, f)
		if len(t.of) == 1 && c.Kind != Not {
			return t.of[0]
		}
	case HeaderIs:
		t.readyHeader(c, f)
	case PathIs:
		t.needs = aPath
		is, err := pathString(c.Is)
		t.readyString(is, err, f)
		t.whole = strings.Contains(is.Value, ";")
		t.keys = keysOf(key{of: ofPath}, is)
		t.enough = certain(key{of: ofPath}, is)
	case PathFits:
		t.needs = aPath
		if c.Is.Kind != match.Exact || c.Is.IgnoreCase {
			f.add("template: is compared by nothing else")
		}
		var err error
		if t.template, err = readyTemplate(c.Is.Value); err != nil {
			f.add("template %q: %w", c.Is.Value, err)
		}
		if t.whole = strings.Contains(c.Is.Value, ";"); t.template != nil {
			t.keys = t.template.keys()
		}
	case Authentic:
		t.any = c.Is.Value == "" && (c.Is.Kind == match.Exact || c.Is.Kind == match.Present)
		if domain, ok := strings.CutPrefix(c.Is.Value, "spiffe://"); ok && c.Is.Kind == match.Prefix && domain != "" && !strings.Contains(domain, "/") {
			t.domain = len(c.Is.Value)
		}
		t.readyString(c.Is, noRange(c.Is), f)
		switch who := c.Is; {
		case t.any:
			t.enough = keys{{of: ofPeer, kind: beginning}}
			t.keys = []keys{t.enough}
		case t.domain > 0:
			t.keys = keysOf(key{of: ofPeer}, who)
			who.Value += "/"
			t.enough = certain(key{of: ofPeer}, who)
		default:
			t.keys = keysOf(key{of: ofPeer}, who)
			t.enough = certain(key{of: ofPeer}, who)
		}
	case SourceIn:
		t.readyNet(c.Net, aSource, ofSource, f)
	case RemoteIn:
		t.readyNet(c.Net, aSource, ofClient, f)
	case LocalIn:
		t.readyNet(c.Net, aLocal, ofLocal, f)
	case LocalPort:
		t.needs = aLocal
		if t.low, t.high = c.Low, c.High; t.low > t.high {
			f.add("port: %d is above %d", t.low, t.high)
		}
		if t.keys = keysOfPorts(t.low, t.high); t.keys != nil {
			t.enough = t.keys[0]
		}
	case ServerName:
		is := c.Is
		is.IgnoreCase = is.IgnoreCase || is.Kind != match.Regex
		t.readyString(is, noRange(is), f)
		if is.Kind != match.Regex { // it is as the peer has written it
			lower := match.String{Kind: is.Kind, Value: match.ToLower(is.Value)}
			t.keys, t.enough = keysOf(key{of: ofServerName}, lower), certain(key{of: ofServerName}, lower)
		}
	case ClaimIs:
		t.needs = aRequest
		t.readyClaim(c, f)
	default:
		f.add("unknown kind of condition %d", c.Kind)
	}
	if len(c.Of) == 0 {
		t.leaf = &leaf{
			kind: c.Kind, is: c.Is, name: c.Name, path: strings.Join(c.Path, claimSeparator), net: c.Net, low: c.Low, high: c.High,
			invert: c.Invert, missing: c.MissingAsEmpty, inList: c.InList,
		}
	}
	if f.connection && t.needs&ofRequests != 0 && len(t.of) == 0 {
		f.add("looks at requests, and a connection is none")
	}
	return t
}

var partNames = map[ConditionKind]string{All: "all", Any: "any", Not: "not"}

func (t *test) readyParts(c *Condition, depth int, f *faults) {
	switch {
	case len(c.Of) == 0:
		f.add("%s: of nothing", partNames[c.Kind])
	case c.Kind == Not && len(c.Of) > 1:
		f.add("not: of %d conditions", len(c.Of))
	}
	for i := range c.Of {
		f.in(".", partNames[c.Kind], i)
		part := c.Of[i].ready(depth+1, f)
		f.out()
		t.needs |= part.needs
		t.weight += part.weight
		t.of = append(t.of, part)
	}
	switch c.Kind {
	case Any:
		t.of = gatherAll(t.of)
		t.keys = keysOfAny(t.of)
	case All:
		slices.SortStableFunc(t.of, func(a, b test) int { return a.weight - b.weight })
		t.keys = keysOfAll(t.of)
	}
}

func gatherAll(of []test) []test {
	of = gather(gather(of, PathIs, pathIn, ofPath), Authentic, peerIn, ofPeer)
	return gatherNets(gatherNets(gatherNets(of, SourceIn, sourceIn), RemoteIn, clientIn), LocalIn, localIn)
}

// gather makes one test of those that ask for an exact string each.
func gather(of []test, kind, in ConditionKind, what subject) []test {
	n := 0
	for i := range of {
		if of[i].kind == kind && of[i].exact() {
			n++
		}
	}
	if n < fewest {
		return of
	}
	one := test{kind: in, weight: 1, set: map[string]struct{}{}}
	var rest []test
	for i := range of {
		if of[i].kind == kind && of[i].exact() {
			one.needs |= of[i].needs
			only, _ := of[i].is.Only()
			one.set[only] = struct{}{}
		} else {
			rest = append(rest, of[i])
		}
	}
	one.keys = keysOfSet(what, one.set)
	one.enough = one.keys[0]
	return append(rest, one)
}

// gatherNets makes one test of those that ask for a range of addresses each.
func gatherNets(of []test, kind, in ConditionKind) []test {
	alone := func(t *test) bool { return t.kind == kind && !t.mapped && t.net.IsValid() }
	n := 0
	for i := range of {
		if alone(&of[i]) {
			n++
		}
	}
	if n < fewest {
		return of
	}
	one := test{kind: in, weight: 1}
	ranges := map[netip.Prefix][]int32{}
	var union keys
	var rest []test
	for i := range of {
		if alone(&of[i]) {
			one.needs |= of[i].needs
			ranges[of[i].net] = nil
			union = append(union, of[i].keys[0]...)
		} else {
			rest = append(rest, of[i])
		}
	}
	nets := newNetworks(ranges)
	one.nets, one.keys, one.enough = &nets, []keys{union}, union
	return append(rest, one)
}

// exact reports whether the test asks for one string and nothing else.
func (t *test) exact() bool {
	_, only := t.is.Only()
	return only && !t.whole && !t.any
}

// readyString makes is ready, unless there is a fault in it already.
func (t *test) readyString(is match.String, fault error, f *faults) {
	if fault == nil {
		fault = unclear(is)
	}
	if fault == nil {
		t.is, fault = is.Compile()
	}
	if fault != nil {
		f.add("%w", fault)
	}
	if is.Kind == match.Regex {
		t.weight = dearExpr
	}
}

// unclear says what is wrong with a condition on any string.
func unclear(is match.String) error {
	switch is.Kind {
	case match.Prefix, match.Suffix, match.Contains:
		if is.Value == "" {
			return errors.New("a part that is empty is in all strings")
		}
	case match.Regex:
		if is.Value == "" {
			return errors.New("regex: is empty")
		}
		if len(is.Value) > longestExpr {
			return fmt.Errorf("regex: is longer than %d bytes", longestExpr)
		}
	case match.Range:
		if is.Low >= is.High {
			return fmt.Errorf("range: [%d, %d) is empty", is.Low, is.High)
		}
	}
	return nil
}

func noRange(is match.String) error {
	if is.Kind == match.Range {
		return errors.New("range: is not of numbers")
	}
	return nil
}

func (t *test) readyNet(p netip.Prefix, needs facts, of subject, f *faults) {
	t.needs = needs
	if !p.IsValid() {
		f.add("address range: is none")
		return
	}
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		p = netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	t.net = p.Masked()
	t.mapped = t.net.Addr().Is6() && t.net.Contains(netip.AddrFrom16([16]byte{10: 0xff, 11: 0xff}))
	t.keys = keysOfNet(of, t.net, t.mapped)
	t.enough = t.keys[0][:1]
}

// holds asks the test.
func (t *test) holds(s *sight, perhaps bool) bool {
	switch t.kind {
	case Always:
		return true
	case All:
		for i := range t.of {
			if !t.of[i].holds(s, perhaps) {
				return false
			}
		}
		return true
	case Any:
		for i := range t.of {
			if t.of[i].holds(s, perhaps) {
				return true
			}
		}
		return false
	case Not:
		return !t.of[0].holds(s, !perhaps)
	case HeaderIs:
		return t.header.holds(s, perhaps)
	case PathIs, PathFits, pathIn:
		return t.onPath(s, perhaps)
	case Authentic, peerIn:
		return t.onPeer(s, perhaps)
	case SourceIn:
		return t.inNet(s.source, perhaps)
	case RemoteIn:
		return t.inNet(s.client, perhaps)
	case LocalIn:
		return t.inNet(s.local, perhaps)
	case sourceIn:
		return t.nets.narrowest(s.source) >= 0
	case clientIn:
		return t.nets.narrowest(s.client) >= 0
	case localIn:
		return t.nets.narrowest(s.local) >= 0
	case LocalPort:
		return t.low <= s.r.Local.Port() && s.r.Local.Port() <= t.high
	case ServerName:
		return t.is.Matches(s.serverName())
	case ClaimIs:
		return t.claim.holds(s.r.Claims, perhaps)
	}
	return perhaps // no Gate has such a one
}

func (t *test) onPath(s *sight, perhaps bool) bool {
	holds := t.fits(s.r.Path)
	if t.whole || holds == perhaps || len(s.bare) == len(s.r.Path) {
		return holds
	}
	return t.fits(s.bare)
}

func (t *test) fits(path string) bool {
	switch t.kind {
	case PathFits:
		return t.template.fits(path)
	case pathIn:
		_, ok := t.set[path]
		return ok
	}
	return t.is.Matches(path)
}

func (t *test) onPeer(s *sight, perhaps bool) bool {
	if !s.authentic || t.any {
		return s.authentic
	}
	if t.names(s.name, perhaps) {
		return true
	}
	for _, name := range s.names {
		if t.names(name, perhaps) {
			return true
		}
	}
	return false
}

// names reports whether the test is for who has this name. "spiffe://prod" is no beginning of "spiffe://prod.example": it surely names
// but the trust domain prod.
func (t *test) names(name string, perhaps bool) bool {
	if t.kind == peerIn {
		_, ok := t.set[name]
		return ok
	}
	if !t.is.Matches(name) {
		return false
	}
	return t.domain == 0 || perhaps || len(name) == t.domain || name[t.domain] == '/'
}

// inNet: an address of IPv4 is perhaps in a range of IPv6, as that of a socket for both.
func (t *test) inNet(a netip.Addr, perhaps bool) bool {
	return t.net.Contains(a) || perhaps && t.mapped && a.Is4()
}
