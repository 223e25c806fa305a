package identity

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	pathpkg "path"
	"strings"
	"testing"
)

func TestNormalizePath(t *testing.T) {
	for _, tc := range []struct{ raw, want, note string }{
		{"/", "/", "as it is"},
		{"", "/", "none is the root"},
		{"*", "*", "of OPTIONS"},
		{"/a/b.c/~d", "/a/b.c/~d", "as it is"},
		{"//admin", "/admin", "A1"},
		{"/a///b//", "/a/b/", "A1"},
		{"/%2Fadmin", "", "A2"},
		{"/x%2f..%2Fadmin", "", "A2"},
		{"/%5Cadmin", "", "A2"},
		{`/\admin`, "", "A2"},
		{`\admin`, "", "A2"},
		{"/public/../admin", "/admin", "dot segments"},
		{"/public/%2e%2E/admin", "/admin", "dot segments, escaped"},
		{"/public/./admin", "/public/admin", "dot segments"},
		{"/../../admin", "/admin", "above the root"},
		{"/a//../b", "/b", "slashes are merged first"},
		{"/a/b/..", "/a/", "a dot segment at the end"},
		{"/a/.", "/a/", "a dot segment at the end"},
		{"/..", "/", "a dot segment at the end"},
		{"/a/...", "/a/...", "three dots are a name"},
		{"/.well-known/x", "/.well-known/x", "a dot begins a name"},
		{"/public/..;/admin", "", "A4"},
		{"/public/..;x/admin", "", "A4"},
		{"/public/.;x/admin", "", "A4"},
		{"/;x/admin", "", "A4"},
		{"/admin;/", "", "A4"},
		{"/admin;", "", "A4"},
		{"/admin;;v=1", "", "A4"},
		{"/admin;v=1", "/admin;v=1", "A4: rules see it with and without"},
		{"/admin%3Bv=1", "/admin;v=1", "A4, escaped"},
		{"/user/profile#x", "/user/profile", "A5"},
		{"/user/..#/../x", "/", "A5"},
		{"#x", "/", "A5"},
		{"/user%23x", "/user%23x", "an escaped # is no fragment"},
		{"/ADMIN", "/ADMIN", "A7"},
		{"/admin/", "/admin/", "A7"},
		{"/admin%20", "/admin%20", "A7"},
		{"/admin ", "/admin%20", "A7"},
		{"/admin%00", "", "A7"},
		{"/admin\x00", "", "A7"},
		{"/admin.", "/admin.", "A7"},
		{"/a%0d%0ab", "", "control characters"},
		{"/a\x7f", "", "control characters"},
		{"/a%C2%85", "", "control characters"},
		{"/%252e%252e%252fadmin", "/%252e%252e%252fadmin", "A8: decoded once"},
		{"/%25%32%65", "/%252e", "A8: decoded once"},
		{"/%61dmin", "/admin", "unreserved"},
		{"/v1/x%3Acancel", "/v1/x:cancel", "what may stand in a path is not escaped"},
		{"/a%3fb", "/a%3Fb", "capitals"},
		{"/café", "/caf%C3%A9", "not ASCII"},
		{"/caf%c3%a9", "/caf%C3%A9", "not ASCII, escaped"},
		{"/%c0%ae%c0%ae/admin", "", "overlong"},
		{"/%c0%afadmin", "", "overlong"},
		{"/%e9", "", "no UTF-8"},
		{"/%c3a", "", "no UTF-8"},
		{"/%", "", "broken"},
		{"/%4", "", "broken"},
		{"/%zz", "", "broken"},
		{"/a?b", "", "a query"},
		{"admin", "", "no slash"},
		{"http://a/b", "", "no slash"},
		{"%2Fadmin", "", "no slash"},
	} {
		got, err := NormalizePath(tc.raw)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%s: %q: %q, %v, want %q", tc.note, tc.raw, got, err, tc.want)
		}
	}
}

func TestNormalizeMethod(t *testing.T) {
	for _, good := range []string{"/pkg.Svc/Method", "/Svc/M", "/grpc.health.v1.Health/Check", "/a-b.c_d/M1"} {
		if got, err := NormalizeMethod(good); err != nil || got != good {
			t.Errorf("%q: %q, %v", good, got, err)
		}
	}
	for _, bad := range []string{
		"", "/", "//", "//pkg.Svc/Method", "/pkg.Svc/Method/x", "/pkg.Svc/", "/pkg.Svc", "pkg.Svc/Method", "/pkg.Svc//Method", "/./Method", "/pkg.Svc/..", // A10
		"/pkg.Svc%2FMethod", "/pkg.Svc/Meth%6fd", "/pkg.Svc/Méthod", "/pkg.Svc/Method ", "/pkg.Svc/Method\x00", "/pkg.Svc/Method?x", "/pkg.Svc/Method#x", "/pkg.Svc/Method;x", // A11
		strings.Repeat("/", 64<<10),
	} {
		if got, err := NormalizeMethod(bad); err == nil {
			t.Errorf("%.40q is taken for %.40q", bad, got)
		}
	}
}

func TestNormalizeAuthority(t *testing.T) {
	for _, tc := range []struct{ raw, want string }{
		{"secret.com", "secret.com"},
		{"Secret.COM", "secret.com"},      // A13
		{"secret.com:8443", "secret.com"}, // A14
		{"secret.com:", "secret.com"},
		{"secret.com.", "secret.com"},
		{"SECRET.com.:443", "secret.com"},
		{"payments", "payments"},
		{"a_b-c.ns", "a_b-c.ns"},
		{"10.0.0.1:80", "10.0.0.1"},
		{"[::1]", "[::1]"},
		{"[::1]:80", "[::1]"},
		{"[0:0::0:1]", "[::1]"},
		{"[FE80::1%25eth0]:1", "[fe80::1]"},
		{"[::ffff:10.0.0.1]:80", "10.0.0.1"},
		{"", ""},
		{".", ""},
		{"a..b", ""},
		{".a", ""},
		{"a..", ""},
		{"a:b", ""},
		{"a:80:80", ""},
		{"a:65536", ""},
		{"a:99999999999999999999", ""},
		{"a:-1", ""},
		{"user@a", ""},
		{"a,b", ""}, // A16: two lines that were joined
		{"a b", ""},
		{"a/b", ""},
		{"a%2eb", ""},
		{"a\x00", ""},
		{"é.com", ""},
		{"::1", ""},
		{"[::1", ""},
		{"[::1]x", ""},
		{"[10.0.0.1]", ""},
		{"[]", ""},
	} {
		got, err := NormalizeAuthority(tc.raw)
		if got != tc.want || (err == nil) != (tc.want != "") {
			t.Errorf("%q: %q, %v, want %q", tc.raw, got, err, tc.want)
		}
	}
}

// What is normal already costs nothing.
func TestNormalizingDoesNotAllocate(t *testing.T) {
	for _, p := range []string{"/", "/pkg.Svc/Method", "/.well-known/a%20b;v=1", "/caf%C3%A9", "*"} {
		if n := testing.AllocsPerRun(100, func() { NormalizePath(p) }); n != 0 && !raceEnabled {
			t.Errorf("path %q: %v allocations", p, n)
		}
	}
	for _, a := range []string{"payments.shop.svc.cluster.local", "payments:8080", "[::1]", "[::1]:80"} {
		if n := testing.AllocsPerRun(100, func() { NormalizeAuthority(a) }); n != 0 && !raceEnabled && a != "[::1]:80" {
			t.Errorf("authority %q: %v allocations", a, n)
		}
	}
}

// The form of a form is itself; net/http's handlers, and what they ask to look at paths, have one view of it; and it is the view that
// path.Clean has of the decoded path.
func FuzzNormalizePath(f *testing.F) {
	for _, seed := range []string{
		"/", "", "*", "//admin", "/%2Fadmin", "/x%2F..%2Fadmin", "/public/..;/admin", "/admin;v=1", "/u#x", "/%252e%252e%252f", "/a/./b/../c/", "/%e2%82%ac/é", "/a!b[c]\"d^", "/%c0%ae",
	} {
		f.Add(seed)
	}
	mux := http.NewServeMux()
	f.Fuzz(func(t *testing.T, raw string) {
		p, err := NormalizePath(raw)
		if err != nil {
			if p != "" {
				t.Fatalf("%q: %q beside an error", raw, p)
			}
			return
		}
		if again, err := NormalizePath(p); again != p || err != nil {
			t.Fatalf("%q: %q, then %q, %v", raw, p, again, err)
		}
		if p == "*" {
			return
		}
		view, err := url.PathUnescape(p)
		if err != nil {
			t.Fatalf("%q: %q: %v", raw, p, err)
		}
		if strings.ContainsAny(view, "\x00\\") || strings.Count(view, "/") != strings.Count(p, "/") {
			t.Fatalf("%q: handlers see %q in %q", raw, view, p)
		}
		u := url.URL{Path: view, RawPath: p}
		if u.EscapedPath() != p {
			t.Fatalf("%q: net/url takes %q for %q", raw, p, u.EscapedPath())
		}
		if parsed, err := url.ParseRequestURI(p); err != nil || parsed.Path != view || parsed.EscapedPath() != p {
			t.Fatalf("%q: net/url reads %q otherwise: %+v, %v", raw, p, parsed, err)
		}
		clean := pathpkg.Clean(view)
		if strings.HasSuffix(view, "/") && clean != "/" {
			clean += "/"
		}
		if clean != view {
			t.Fatalf("%q: %q is not clean: %q", raw, view, clean)
		}
		// The mux sends nobody to another path.
		r := &http.Request{Method: http.MethodGet, URL: &u, Host: "a"}
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, r)
		if w.Code != http.StatusNotFound {
			t.Fatalf("%q: the mux answers %q with %d to %s", raw, p, w.Code, w.Header().Get("Location"))
		}
		// What net/url reads in the path as it came, cleaned, is the same.
		before, _, _ := strings.Cut(raw, "#")
		if came, err := url.PathUnescape(before); err == nil && before != "" {
			want := pathpkg.Clean(came)
			if got := pathpkg.Clean(view); got != want {
				t.Fatalf("%q: net/url sees %q, we %q", raw, want, got)
			}
		}
		// Other escapes of the same path have the same form.
		if other, err := NormalizePath(escapeAll(p)); other != p || err != nil {
			t.Fatalf("%q: %q escaped is %q, %v", raw, p, other, err)
		}
	})
}

// escapeAll escapes what is not a slash, nor an escape.
func escapeAll(p string) string {
	const digits = "0123456789abcdef"
	var b strings.Builder
	for i := 0; i < len(p); i++ {
		switch c := p[i]; c {
		case '/':
			b.WriteByte(c)
		case '%':
			b.WriteString(strings.ToLower(p[i : i+3]))
			i += 2
		default:
			b.Write([]byte{'%', digits[c>>4], digits[c&15]})
		}
	}
	return b.String()
}

func FuzzNormalizeAuthority(f *testing.F) {
	for _, seed := range []string{"Secret.com:8443", "[::1]:80", "a..", "user@a", "[::ffff:1.2.3.4]", "[fe80::1%eth0]", "a.:80", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, raw string) {
		a, err := NormalizeAuthority(raw)
		if err != nil {
			return
		}
		if again, err := NormalizeAuthority(a); again != a || err != nil {
			t.Fatalf("%q: %q, then %q, %v", raw, a, again, err)
		}
		for _, same := range []string{a + ":80", strings.ToUpper(a), a + ":"} {
			if other, err := NormalizeAuthority(same); other != a || err != nil {
				t.Fatalf("%q: %q is %q, %v", raw, same, other, err)
			}
		}
		u, err := url.Parse("http://" + raw + "/")
		if err != nil {
			return
		}
		host := strings.ToLower(strings.TrimSuffix(u.Hostname(), "."))
		if ours := strings.Trim(a, "[]"); host != ours && !strings.Contains(raw, "[") {
			t.Fatalf("%q: net/url sees %q, we %q", raw, host, ours)
		}
	})
}

func BenchmarkNormalizePath(b *testing.B) {
	for _, bc := range []struct{ name, path string }{
		{"normal", "/shop.payments.v1.Payments/Charge"}, {"escaped", "/a%20b/caf%C3%A9/.well-known"}, {"mended", "/a//b/../%61dmin"},
	} {
		b.Run(bc.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				NormalizePath(bc.path)
			}
		})
	}
}

func BenchmarkNormalizeAuthority(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		NormalizeAuthority("payments.shop.svc.cluster.local:8080")
	}
}
