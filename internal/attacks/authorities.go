package attacks

import "strings"

// authorities are ways to write the denied host.
func authorities() []Attack {
	host := func(id, what, h string) Attack { return Attack{ID: id, What: what, On: both, Host: h} }
	raw := func(what, lines string) Attack {
		return Attack{ID: "A16", What: what, On: h1, Raw: "GET /ok HTTP/1.1\r\n" + lines + "Connection: close\r\n\r\n"}
	}
	return []Attack{
		{ID: "A13", What: "the denied host by gRPC, plainly", On: rpc, Host: "secret.com"},
		{ID: "A13", What: "another host", On: both, Host: "shop.com", Want: Passes},
		{ID: "A13", What: "capitals by gRPC", On: rpc, Host: "SECRET.com"},
		host("A13", "mixed letters and a port", "sEcReT.cOm:443"),
		host("A14", "a port of nothing", "secret.com:"),
		host("A14", "a port of zeros", "secret.com:00443"),
		host("A14", "a port that is none", "secret.com:x"),
		host("A14", "a port beyond all", "secret.com:99999"),
		host("A14", "a port below all", "secret.com:-1"),
		host("A14", "two ports", "secret.com:80:80"),
		host("A14", "two dots behind it", "secret.com.."),
		host("A14", "a dot before it", ".secret.com"),
		host("A14", "a user and a password", "shop:x@secret.com"),
		host("A14", "itself as a user", "secret.com@shop"),
		host("A14", "a path", "secret.com/ok"),
		host("A14", "a query", "secret.com?x"),
		host("A14", "a fragment", "secret.com#x"),
		host("A14", "a backslash", `secret.com\shop`),
		host("A14", "a scheme", "http://secret.com"),
		host("A14", "an escaped dot", "secret%2ecom"),
		host("A14", "an escaped dot behind it", "secret.com%2e"),
		host("A14", "an escaped NUL", "secret.com%00"),
		host("A14", "brackets", "[secret.com]"),
		host("A14", "a list", "secret.com;shop"),
		host("A14", "in quotes", `"secret.com"`),
		host("A14", "a dot of China", "secret\u3002com"),
		host("A14", "wide letters", "\uff53ecret.com"),
		host("A14", "a letter of Turkey", "\u017fecret.com"),
		host("A14", "a character without width", "secret\u200b.com"),
		host("A14", "a soft hyphen", "sec\u00adret.com"),
		host("A14", "an address with a zone", "[fe80::1%25eth0]"+"@secret.com"),
		{ID: "A14", What: "another host that ends like it", On: both, Host: "notsecret.com", Want: Differs},
		{ID: "A14", What: "another host that begins like it", On: both, Host: "secret.com.evil.test", Want: Differs},
		raw("a space before the colon of Host", "Host : secret.com\r\n"),
		raw("a tab behind it", "Host: secret.com\t\r\n"),
		raw("spaces before it", "Host:\t  secret.com\r\n"),
		raw("small letters in the name", "hOST: secret.com\r\n"),
		raw("on a folded line", "Host:\r\n secret.com\r\n"),
		raw("on a folded line behind another", "Host: shop\r\n secret.com\r\n"),
		raw("three Host lines", "Host: shop\r\nHost: shop\r\nHost: secret.com\r\n"),
		raw("two Host lines of the same", "Host: secret.com\r\nHost: secret.com\r\n"),
		raw("one of two Host lines is empty", "Host: \r\nhost: secret.com\r\n"),
		raw("an empty Host", "Host:\r\n"),
		{ID: "A16", What: "HTTP/1.0 and no Host", On: h1, Raw: "GET /admin HTTP/1.0\r\n\r\n"},
		{ID: "A16", What: "Host is not that of the absolute form", On: h1, Raw: "GET http://secret.com/ok HTTP/1.1\r\nHost: shop\r\nConnection: close\r\n\r\n"},
		{ID: "A16", What: "Host beside the absolute form is not looked at", On: h1, Raw: "GET http://shop/ok HTTP/1.1\r\nHost: secret.com\r\nConnection: close\r\n\r\n", Want: Differs},
		{ID: "A16", What: "another host of other headers", On: both, Host: "secret.com", Header: [][2]string{
			{"x-forwarded-host", "shop"}, {"x-host", "shop"}, {"forwarded", "host=shop"}, {"x-original-host", "shop"}, {"x-forwarded-server", "shop"}}},
		{ID: "A16", What: "an empty :authority", On: []Wire{HTTP2, GRPC}, Pseudo: [][2]string{{":authority", "-"}, {":authority", ""}}},
		{ID: "A16", What: "an empty :authority beside a Host field", On: []Wire{HTTP2, GRPC}, Pseudo: [][2]string{{":authority", "-"}, {":authority", ""}}, Header: [][2]string{{"host", "secret.com"}}},
		{ID: "A16", What: "a Host field in place of :authority by gRPC", On: rpc, Pseudo: [][2]string{{":authority", "-"}}, Header: [][2]string{{"host", "secret.com"}}},
		{ID: "A16", What: "the denied host beside a Host field", On: []Wire{HTTP2, GRPC}, Host: "secret.com", Header: [][2]string{{"host", "shop"}}},
		{ID: "A16", What: "a Host field in capitals", On: []Wire{HTTP2, GRPC}, Host: "secret.com", Pseudo: [][2]string{{"Host", "shop"}}},
		{ID: "A16", What: "neither :authority nor Host", On: []Wire{HTTP2, GRPC}, Path: "", Pseudo: [][2]string{{":authority", "-"}}},
	}
}

// parameters are ways to write the denied query.
func parameters() []Attack {
	deny := func(what, path string) Attack { return Attack{ID: "A19", What: what, On: web, Path: path} }
	other := func(what, path string) Attack {
		return Attack{ID: "A19", What: what, On: web, Path: path, Want: Differs}
	}
	return []Attack{
		deny("an escaped letter", "/q?%61dmin=1"),
		deny("an escaped value", "/q?admin=%31"),
		deny("all escaped", "/q?%61%64%6d%69%6E=%31"),
		deny("an escaped equals sign before the value", "/q?a=%3D&admin=1"),
		deny("twice, the denied one first", "/q?admin=1&admin=0"),
		deny("twice, the denied one last", "/q?admin=0&admin=1"),
		deny("a semicolon before it", "/q?x;admin=1"),
		deny("a semicolon behind it", "/q?admin=1;x"),
		deny("a question mark before it", "/q??admin=1"),
		deny("two question marks", "/q?x?admin=1"),
		deny("an ampersand before it", "/q?&admin=1"),
		deny("ampersands around it", "/q?&&admin=1&&"),
		deny("behind a path in other form", "//q/../q?admin=1"),
		deny("behind a parameter of the path", "/q;x?admin=1"),
		deny("behind 1,000 of itself", "/q?"+strings.Repeat("admin=0&", 1000)+"admin=1"),
		deny("behind a broken escape", "/q?x=%zz&admin=1"),
		deny("behind a NUL", "/q?x=%00&admin=1"),
		other("capitals are another parameter", "/q?ADMIN=1"),
		other("an escaped question mark is of the path", "/q%3fadmin=1"),
		other("escaped twice", "/q?%2561dmin=1"),
		other("a list is another parameter", "/q?admin[]=1"),
		{ID: "A19", What: "by a form", On: h1, Want: Differs, Sees: "/q", Raw: "POST /q HTTP/1.1\r\nHost: shop\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 7\r\nConnection: close\r\n\r\nadmin=1"},
	}
}
