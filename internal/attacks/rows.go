package attacks

import (
	"fmt"
	"strings"
)

var (
	web  = []Wire{HTTP1, HTTP2}
	h1   = []Wire{HTTP1}
	h2   = []Wire{HTTP2}
	rpc  = []Wire{GRPC}
	both = []Wire{HTTP1, HTTP2, GRPC}
)

// Rows are the attacks on a server with these policies, and an honest request or a plain attack beside each, which prove that the
// policies hold at all:
//
//   - DENY the paths /admin, /admin/* and /user/profile, and the method /shop.Vault/Open
//   - DENY the header x-role: admin, and X-Tier: gold, written like that
//   - DENY the method DELETE where the path is /items
//   - DENY the host secret.com
//   - DENY a query with admin=1
//   - DENY the path /local to 127.0.0.0/8
//   - ALLOW all but /team/* and /shop.Team/*
//   - ALLOW these to who has x-team: blue
func Rows() []Attack {
	var all []Attack
	for _, some := range [][]Attack{
		paths(), targets(), verbs(), methods(), services(), hosts(), authorities(), queries(), parameters(), headers(), roles(), encodings(), framings(), bodies(), trailers(),
	} {
		all = append(all, some...)
	}
	return all
}

func paths() []Attack {
	deny := func(id, what, path string) Attack { return Attack{ID: id, What: what, On: web, Path: path} }
	other := func(id, what, path, sees string) Attack {
		return Attack{ID: id, What: what, On: web, Path: path, Want: Differs, Sees: sees}
	}
	return []Attack{
		{ID: "A", What: "an honest path", On: web, Path: "/ok", Want: Passes, Sees: "/ok"},
		deny("A", "the denied path, plainly", "/admin"),
		deny("A", "below the denied path, plainly", "/admin/users"),
		deny("A1", "a slash twice", "//admin"),
		deny("A1", "slashes within", "/admin//users"),
		deny("A1", "dot segments", "/x/../admin"),
		deny("A1", "dot segments, escaped", "/x/%2e%2E/admin"),
		deny("A1", "a segment of one dot", "/./admin"),
		deny("A1", "an escaped letter", "/%61dmin"),
		deny("A2", "an escaped slash", "/%2Fadmin"),
		deny("A2", "an escaped slash before dots", "/x%2F..%2Fadmin"),
		deny("A2", "an escaped backslash", "/%5Cadmin"),
		deny("A2", "dots and backslashes", `/x\..\admin`),
		{ID: "A2", What: "a backslash in place of the slash", On: h1, Path: `\admin`},
		deny("A4", "a parameter on dots", "/public/..;/admin"),
		deny("A4", "a parameter", "/admin;v=1"),
		deny("A4", "a parameter of nothing", "/admin;/"),
		deny("A4", "an escaped parameter", "/admin%3Bv=1"),
		deny("A5", "a fragment", "/user/profile#x"),
		deny("A5", "a fragment with a question mark", "/admin#?x"),
		deny("A5", "a fragment with dots", "/admin#/../../ok"),
		{ID: "A5", What: "a fragment in the absolute form", On: h1, Path: "http://shop/admin#x"},
		{ID: "A5", What: "the absolute form", On: h1, Path: "http://shop/admin"},
		{ID: "A5", What: "the absolute form of another host", On: h1, Path: "http://secret.com/ok"},
		other("A7", "capitals are another path", "/ADMIN", "/ADMIN"),
		other("A7", "so is a space", "/admin%20", "/admin "),
		other("A7", "so is a dot", "/admin.", "/admin."),
		deny("A7", "an escaped NUL", "/admin%00"),
		deny("A7", "an escaped line break", "/admin%0d%0a"),
		deny("A7", "an overlong encoding", "/%c0%afadmin"),
		deny("A7", "a broken escape", "/%zzadmin"),
		other("A8", "escaped twice", "/%252e%252e%252fadmin", "/%2e%2e%2fadmin"),
		other("A8", "an escape that is escaped", "/%2561dmin", "/%61dmin"),
		{ID: "A8", What: "a path without a slash before it", On: h2, Path: "admin"},
		{ID: "A8", What: "a path of 64 KiB before it", On: web, Path: "/" + strings.Repeat("x/../", 13000) + "admin"},
	}
}

func methods() []Attack {
	bad := func(id, what, path string) Attack { return Attack{ID: id, What: what, On: rpc, Path: path} }
	return []Attack{
		{ID: "A10", What: "an honest method", On: rpc, Path: "/shop.Shop/Read", Want: Passes, Sees: "/shop.Shop/Read"},
		bad("A10", "the denied method, plainly", "/shop.Vault/Open"),
		bad("A10", "a slash twice before it", "//shop.Vault/Open"),
		bad("A10", "a slash twice within", "/shop.Vault//Open"),
		bad("A10", "a segment more", "/shop.Vault/Open/x"),
		bad("A10", "a slash behind it", "/shop.Vault/Open/"),
		bad("A10", "no slash before it", "shop.Vault/Open"),
		bad("A10", "a slash alone", "/"),
		bad("A10", "dots", "/x/../shop.Vault/Open"),
		bad("A10", "64 KiB", "/shop.Vault/"+strings.Repeat("x/", 32<<10)),
		bad("A11", "an escaped slash", "/shop.Vault%2FOpen"),
		bad("A11", "an escaped letter", "/shop.Vault/%4fpen"),
		bad("A11", "not ASCII", "/shop.Vault/Öpen"),
		bad("A11", "a space behind it", "/shop.Vault/Open "),
		bad("A11", "a query", "/shop.Vault/Open?x"),
		bad("A11", "a fragment", "/shop.Vault/Open#x"),
		{ID: "A11", What: "other letters are another method", On: rpc, Path: "/shop.Vault/open", Want: Differs, Sees: "/shop.Vault/open"},
	}
}

func hosts() []Attack {
	host := func(id, what, h string) Attack { return Attack{ID: id, What: what, On: web, Host: h} }
	return []Attack{
		host("A13", "the denied host, plainly", "secret.com"),
		host("A13", "capitals", "Secret.COM"),
		host("A14", "a port", "secret.com:8443"),
		host("A14", "a dot behind it", "secret.com."),
		host("A14", "a dot and a port", "SECRET.com.:80"),
		host("A14", "a user", "x@secret.com"),
		host("A14", "a space behind it", "secret.com "),
		host("A14", "an escaped letter", "%73ecret.com"),
		{ID: "A16", What: "two Host lines, the good one first", On: h1, Header: [][2]string{{"Host", "secret.com"}}},
		{ID: "A16", What: "two Host lines, the bad one first", On: h1, Host: "secret.com", Header: [][2]string{{"Host", "shop"}}},
		{ID: "A16", What: "two hosts in one line", On: web, Host: "shop, secret.com"},
		{ID: "A16", What: "two :authority", On: []Wire{HTTP2, GRPC}, Pseudo: [][2]string{{":authority", "secret.com"}}},
		{ID: "A16", What: ":authority behind a field", On: h2, Pseudo: [][2]string{{":authority", "-"}, {"x", "y"}, {":authority", "secret.com"}}},
		{ID: "A16", What: "two Host fields and no :authority", On: []Wire{HTTP2, GRPC}, Pseudo: [][2]string{{":authority", "-"}}, Header: [][2]string{{"host", "shop"}, {"host", "secret.com"}}},
		{ID: "A16", What: "a Host field in place of :authority", On: h2, Pseudo: [][2]string{{":authority", "-"}}, Header: [][2]string{{"host", "secret.com"}}},
		{ID: "A16", What: "a Host field beside :authority is not looked at", On: h2, Header: [][2]string{{"host", "secret.com"}}, Want: Differs, Sees: "/ok"},
		{ID: "A16", What: "no Host at all", On: h1, Raw: "GET /ok HTTP/1.1\r\nConnection: close\r\n\r\n"},
		{ID: "A17", What: "a scheme in other letters does not open a path", On: h2, Scheme: "hTTp", Path: "/admin"},
		{ID: "A17", What: "a scheme that is none does not open a path", On: h2, Scheme: "gopher", Path: "/admin"},
		{ID: "A17", What: "two :path", On: h2, Pseudo: [][2]string{{":path", "/admin"}}},
		{ID: "A17", What: "two :method", On: h2, Path: "/admin", Pseudo: [][2]string{{":method", "GET"}}},
		{ID: "A17", What: "another method", On: web, Method: "BREW", Path: "/admin"},
		{ID: "A17", What: "CONNECT to a path", On: h1, Method: "CONNECT", Path: "/admin"},
	}
}

func queries() []Attack {
	many := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "a%d&", i)
		}
		return b.String()
	}
	return []Attack{
		{ID: "A19", What: "the denied query, plainly", On: web, Path: "/q?admin=1"},
		{ID: "A19", What: "behind 10,001 parameters", On: web, Path: "/q?" + many(10001) + "admin=1"},
		{ID: "A19", What: "behind a fragment that is cut off", On: web, Path: "/q?admin=1#x"},
		{ID: "A19", What: "another query", On: web, Path: "/q?admin=0", Want: Passes},
	}
}

func headers() []Attack {
	roles := func(id, what string, want Want, lines ...[2]string) Attack {
		return Attack{ID: id, What: what, On: both, Header: lines, Want: want}
	}
	team := func(what string, want Want, lines ...[2]string) Attack {
		return Attack{ID: "B2", What: "ALLOW: " + what, On: web, Path: "/team/plan", Header: lines, Want: want}
	}
	long := strings.Repeat("user,", 200) + "admin"
	return []Attack{
		roles("B1", "an honest role", Passes, [2]string{"x-role", "user"}),
		roles("B1", "the denied role, plainly", Blocked, [2]string{"x-role", "admin"}),
		roles("B1", "the name in capitals", Blocked, [2]string{"X-ROLE", "admin"}),
		roles("B1", "on the second line", Blocked, [2]string{"x-role", "user"}, [2]string{"x-role", "admin"}),
		roles("B1", "on the first line", Blocked, [2]string{"x-role", "admin"}, [2]string{"x-role", "user"}),
		roles("B2", "the second of a list", Blocked, [2]string{"x-role", "user,admin"}),
		roles("B2", "the first of a list", Blocked, [2]string{"x-role", "admin, user"}),
		roles("B2", "behind a semicolon", Blocked, [2]string{"x-role", "user;admin"}),
		roles("B2", "spaces around it", Blocked, [2]string{"x-role", " \tadmin "}),
		roles("B2", "between empty elements", Blocked, [2]string{"x-role", ",,admin,,"}),
		roles("B2", "behind 200 others", Blocked, [2]string{"x-role", long}),
		roles("B2", "in quotes", Blocked, [2]string{"x-role", `"admin"`}),
		roles("B4", "a policy that writes its header in capitals", Blocked, [2]string{"x-tier", "gold"}),
		roles("B7", "an underscore for the dash", Blocked, [2]string{"x_role", "admin"}),
		roles("B7", "an underscore and capitals", Blocked, [2]string{"X_Role", "admin"}),
		team("the team", Passes, [2]string{"x-team", "blue"}),
		team("no team", Blocked),
		team("another team", Blocked, [2]string{"x-team", "red"}),
		team("a list with the team", Blocked, [2]string{"x-team", "blue,red"}),
		team("another line besides", Blocked, [2]string{"x-team", "blue"}, [2]string{"x-team", "red"}),
		team("an empty line besides", Blocked, [2]string{"x-team", "blue"}, [2]string{"x-team", ""}),
		team("other letters", Blocked, [2]string{"x-team", "BLUE"}),
		team("an underscore", Blocked, [2]string{"x_team", "blue"}),
		{ID: "B5", What: "the host is denied whatever header says it", On: h2, Host: "secret.com", Header: [][2]string{{"x-forwarded-host", "shop"}}},
		{ID: "B8", What: "Connection names the header", On: h1, Raw: "GET /ok HTTP/1.1\r\nHost: shop\r\nx-role: admin\r\nConnection: close, x-role\r\n\r\n"},
		{ID: "B8", What: "Connection over HTTP/2", On: []Wire{HTTP2, GRPC}, Header: [][2]string{{"connection", "x-role"}, {"x-role", "admin"}}},
		{ID: "B13", What: "the denied address, plainly", On: web, Path: "/local"},
		{ID: "B13", What: "another address in x-forwarded-for", On: web, Path: "/local", Header: [][2]string{{"x-forwarded-for", "203.0.113.9"}}},
		{ID: "B13", What: "another address in forwarded and x-real-ip", On: web, Path: "/local", Header: [][2]string{{"forwarded", "for=203.0.113.9"}, {"x-real-ip", "203.0.113.9"}}},
		{ID: "B16", What: "a line break in a value", On: h2, Header: [][2]string{{"x-a", "b\r\nx-role: user"}, {"x-role", "admin"}}},
		{ID: "B16", What: "a line break of one byte", On: h1, Raw: "GET /ok HTTP/1.1\r\nHost: shop\r\nx-a: b\nx-role: admin\r\nConnection: close\r\n\r\n"},
		{ID: "B16", What: "a NUL in a value", On: []Wire{HTTP2, GRPC}, Header: [][2]string{{"x-role", "admin\x00"}, {"x-role", "admin"}}},
		{ID: "B16", What: "a folded line", On: h1, Raw: "GET /ok HTTP/1.1\r\nHost: shop\r\nx-role:\r\n admin\r\nConnection: close\r\n\r\n"},
		{ID: "B16", What: "a space before the colon", On: h1, Raw: "GET /ok HTTP/1.1\r\nHost: shop\r\nx-role : admin\r\nConnection: close\r\n\r\n"},
		{ID: "B16", What: "a capital in a name of HTTP/2", On: h2, Pseudo: [][2]string{{"X-Role", "admin"}}},
		{ID: "B19", What: "headers of 10 MB", On: both, Header: repeated("x-a", strings.Repeat("a", 8<<10), 1280)},
		{ID: "B19", What: "20,000 cookie crumbs by HPACK", On: []Wire{HTTP2, GRPC}, Header: repeated("cookie", strings.Repeat("c", 500), 20000)},
	}
}

func repeated(name, value string, n int) (out [][2]string) {
	for range n {
		out = append(out, [2]string{name, value})
	}
	return out
}

// encodings are bodies whose end is not the same to all (request smuggling): the second request is never to be seen.
func encodings() []Attack {
	return []Attack{
		post("length and chunks", "Content-Length: 4\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n", "0\r\n\r\n"+second),
		post("an encoding that is none", "Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"+second),
		post("chunked twice", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", "0\r\n\r\n"+second),
		post("two lengths", "Content-Length: 0\r\nContent-Length: 44\r\n", second),
		post("a length with a sign", "Content-Length: +4\r\n", "abcd"+second),
		post("a length in a list", "Content-Length: 4, 4\r\n", "abcd"+second),
	}
}

// second is a request that stands behind another, as part of its body or not.
const second = "GET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n"

// post is a request whose body does not end where all think that it does.
func post(what, head, body string) Attack {
	return Attack{ID: "T8", What: what, On: h1, Want: Differs, Sees: "/ok", Raw: "POST /ok HTTP/1.1\r\nHost: shop\r\n" + head + "\r\n" + body}
}

// bodies are what a connection has besides requests.
func bodies() []Attack {
	return []Attack{
		{ID: "B17", What: "the denied role in trailers of chunks is no header", On: h1, Want: Differs, Raw: "POST /ok HTTP/1.1\r\nHost: shop\r\nTrailer: x-role\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\nx-role: admin\r\n\r\n"},
		{ID: "B17", What: "ALLOW: the team in trailers is no header", On: h1, Raw: "POST /team/plan HTTP/1.1\r\nHost: shop\r\nTrailer: x-team\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\nx-team: blue\r\n\r\n"},
		{ID: "T10", What: "a request behind CONNECT", On: h1, Raw: "CONNECT secret.com:443 HTTP/1.1\r\nHost: secret.com:443\r\n\r\nGET /admin HTTP/1.1\r\nHost: shop\r\n\r\n"},
		{ID: "T10", What: "a request behind an upgrade", On: h1, Raw: "GET /admin HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nGET /admin HTTP/1.1\r\nHost: shop\r\n\r\n"},
		{ID: "T10", What: "an upgrade to HTTP/2", On: h1, Raw: "GET /admin HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"},
	}
}
