package identity

import (
	"crypto/x509"
	"net"
	"net/url"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/match"
)

func TestNames(t *testing.T) {
	cert := &x509.Certificate{
		DNSNames:       []string{"", "a.test", "*.b.test", "w*.c.test", "*.*.d.test", "*", "*."},
		IPAddresses:    []net.IP{net.IPv4(10, 0, 0, 1), net.ParseIP("fe80::1")},
		EmailAddresses: []string{"a@mail.test"},
		URIs:           []*url.URL{{Scheme: "spiffe", Host: "td", Path: "/a"}},
	}
	for _, c := range []struct {
		kind NameType
		is   match.String
		ok   bool
	}{
		{DNSName, match.String{Value: "a.test"}, true},
		{DNSName, match.String{Value: "A.Test"}, true},
		{DNSName, match.String{Value: "x.a.test"}, false},
		{DNSName, match.String{Value: ""}, false},
		{AnyName, match.String{Value: ""}, false},
		{DNSName, match.String{Kind: match.Prefix}, true}, // of any that is not empty
		{DNSName, match.String{Value: "x.b.test"}, true},
		{DNSName, match.String{Value: "X.B.test"}, true},
		{DNSName, match.String{Value: "x.y.b.test"}, false}, // E5
		{DNSName, match.String{Value: "b.test"}, false},
		{DNSName, match.String{Value: ".b.test"}, false},
		{DNSName, match.String{Value: "*.b.test"}, true}, // literally
		{DNSName, match.String{Value: "*.a.test"}, false},
		{DNSName, match.String{Value: "wx.c.test"}, false},
		{DNSName, match.String{Value: "x.y.d.test"}, false},
		{DNSName, match.String{Value: "x.*.d.test"}, true}, // the one label, and then literally
		{DNSName, match.String{Value: "test"}, false},
		{DNSName, match.String{Value: "x."}, false},
		{DNSName, match.String{Kind: match.Suffix, Value: ".b.test"}, true}, // of the name as it stands
		{DNSName, match.String{Kind: match.Suffix, Value: "x.b.test"}, false},
		{DNSName, match.String{Value: "10.0.0.1"}, false},
		{IPName, match.String{Value: "10.0.0.1"}, true},
		{IPName, match.String{Value: "::ffff:10.0.0.1"}, true},
		{IPName, match.String{Value: "FE80:0:0::1"}, true},
		{IPName, match.String{Value: "10.0.0.2"}, false},
		{IPName, match.String{Value: "10.0.0.1:443"}, false},
		{IPName, match.String{Kind: match.Prefix, Value: "10.0."}, true},
		{EmailName, match.String{Value: "a@mail.test"}, true},
		{EmailName, match.String{Value: "mail.test"}, false},
		{URIName, match.String{Value: "spiffe://td/a"}, true},
		{URIName, match.String{Value: "spiffe://td/A"}, false},
		{URIName, match.String{Value: "spiffe://TD/a", IgnoreCase: true}, true},
		{URIName, match.String{Value: "a.test"}, false},
		{AnyName, match.String{Value: "x.b.test"}, true},
		{AnyName, match.String{Value: "10.0.0.1"}, true},
		{AnyName, match.String{Value: "a@mail.test"}, true},
		{AnyName, match.String{Value: "spiffe://td/a"}, true},
		{AnyName, match.String{Value: "spiffe://td/b"}, false},
	} {
		ready, err := readyNames([]SubjectAltName{{Type: c.kind, Is: c.is}})
		if err != nil {
			t.Fatal(err)
		}
		if err := ready.in(cert, webNames(cert)); (err == nil) != c.ok {
			t.Errorf("%v %+v: %v", c.kind, c.is, err)
		}
	}
	for name, bad := range map[string]SubjectAltName{
		"a bad regex":     {Is: match.String{Kind: match.Regex, Value: "("}},
		"an unknown type": {Type: EmailName + 1},
	} {
		if _, err := readyNames([]SubjectAltName{bad}); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// The oracle has another way: it takes names apart into labels.
func FuzzNames(f *testing.F) {
	f.Add("*.b.test", "x.b.test")
	f.Add("*.b.test", "x.y.b.test")
	f.Add("*.", "x.")
	f.Add("A.test", "a.TEST")
	f.Add("*.xn--a.test", "*.xn--a.test")
	f.Add("", "")
	f.Fuzz(func(t *testing.T, have, want string) {
		ready, err := readyNames(ExactNames(want))
		if err != nil {
			t.Fatal(err)
		}
		cert := &x509.Certificate{DNSNames: []string{have}}
		got := ready.in(cert, nil) == nil
		if oracle := sameName(have, want); got != oracle {
			t.Fatalf("certificate %q, wanted %q: %v, the oracle says %v", have, want, got, oracle)
		}
		// Whatever a name is, it is no URI and no address.
		for _, kind := range []NameType{URIName, IPName, EmailName} {
			typed, _ := readyNames([]SubjectAltName{{Type: kind, Is: match.String{Value: want}}})
			if typed.in(cert, nil) == nil {
				t.Fatalf("a DNS name %q was taken for a name of type %d", have, kind)
			}
		}
		if got := ready.in(&x509.Certificate{}, []string{have}) == nil; got != (have == want && have != "") {
			t.Fatalf("URI %q, wanted %q: %v", have, want, got)
		}
	})
}

func sameName(have, want string) bool {
	lower := func(s string) []string {
		b := []byte(s)
		for i, c := range b {
			if c >= 'A' && c <= 'Z' {
				b[i] = c + 32
			}
		}
		return strings.Split(string(b), ".")
	}
	if have == "" {
		return false
	}
	h, w := lower(have), lower(want)
	if len(h) != len(w) {
		return false
	}
	for i := range h {
		// A wildcard is a whole label, the first, of a name that goes on; it stands for a label that is there.
		wild := i == 0 && h[0] == "*" && have != "*." && len(h) > 1 && w[0] != ""
		if h[i] != w[i] && !wild {
			return false
		}
	}
	return true
}
