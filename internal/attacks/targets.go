package attacks

import "strings"

// targets are request targets, methods and pseudo-headers that lead to the denied path another way.
func targets() []Attack {
	raw := func(what, line string) Attack {
		return Attack{ID: "A5", What: what, On: h1, Raw: line + "\r\nHost: shop\r\nConnection: close\r\n\r\n"}
	}
	deny := func(id, what, path string) Attack { return Attack{ID: id, What: what, On: web, Path: path} }
	pseudo := func(what string, wires []Wire, p ...[2]string) Attack {
		return Attack{ID: "A17", What: what, On: wires, Path: "/admin", Pseudo: p}
	}
	return []Attack{
		deny("A1", "slashes and dots by turns", "/.//..///.//admin"),
		deny("A1", "dots above the root", "/../../../admin"),
		deny("A1", "a dot segment behind it", "/admin/."),
		deny("A1", "dots behind a name below it", "/admin/x/.."),
		deny("A1", "a host where the path is", "//shop/../admin"),
		deny("A1", "one dot of two escaped", "/x/.%2e/admin"),
		deny("A1", "all letters escaped", "/%61%64%6D%69%6E"),
		deny("A1", "an escaped slash behind it", "/admin%2f"),
		deny("A1", "an escaped slash within", "/admin%2Fusers"),
		deny("A2", "a backslash for the slash, within", `/admin\users`),
		deny("A2", "dots and escaped backslashes", "/x/..%5cadmin"),
		deny("A2", "dots, escaped, and escaped slashes", "/x/%2e%2e%2fadmin"),
		deny("A4", "a parameter before dots", "/x;y/../admin"),
		deny("A4", "a parameter on a dot", "/.;x/admin"),
		deny("A4", "a parameter of a segment below", "/admin/users;v=1"),
		deny("A4", "a parameter with a slash, escaped", "/admin;x=%2F"),
		deny("A4", "two parameters", "/admin;v=1;w=2"),
		deny("A4", "a parameter and a query", "/admin;v=1?x"),
		deny("A4", "a parameter before the slash", "/;/admin"),
		deny("A5", "a query", "/admin?x=/ok"),
		deny("A5", "a query of nothing", "/admin?"),
		deny("A5", "a query with a fragment", "/admin?x#/ok"),
		deny("A5", "a question mark, escaped, below it", "/admin/%3f/../x"),
		deny("A7", "a NUL below it", "/admin/%00"),
		deny("A7", "a delete below it", "/admin/%7f"),
		deny("A7", "an overlong NUL", "/admin/%c0%80"),
		deny("A7", "overlong dots", "/x/%c0%ae%c0%ae/admin"),
		deny("A7", "half of a surrogate", "/admin/%ed%a0%80"),
		deny("A7", "a control character of Unicode", "/admin/%c2%85"),
		deny("A7", "an escape of IIS", "/%u0061dmin"),
		deny("A7", "an escape that is cut off", "/admin/%"),
		deny("A7", "a byte that is no UTF-8", "/admin/%ff"),
		{ID: "A7", What: "wide letters are other letters", On: web, Path: "/%ef%bd%81dmin", Want: Differs, Sees: "/\uff41dmin"},
		{ID: "A7", What: "a combining mark makes another letter", On: web, Path: "/admin%cc%81", Want: Differs, Sees: "/admin\u0301"},
		{ID: "A7", What: "a character without width is one", On: web, Path: "/admin%e2%80%8b", Want: Differs, Sees: "/admin\u200b"},
		{ID: "A8", What: "three times escaped", On: web, Path: "/%25252e%25252e/admin", Want: Differs, Sees: "/%252e%252e/admin"},
		{ID: "A8", What: "a slash, escaped twice", On: web, Path: "/x%252f..%252fadmin", Want: Differs, Sees: "/x%2f..%2fadmin"},
		{ID: "A8", What: "no path at all", On: h2, Path: "?/admin"},
		raw("the absolute form with a user", "GET http://x:y@shop/admin HTTP/1.1"),
		raw("the absolute form with a port", "GET http://shop:80/admin HTTP/1.1"),
		raw("the absolute form in capitals", "GET HTTP://SHOP/admin HTTP/1.1"),
		raw("the absolute form with slashes", "GET http://shop//admin HTTP/1.1"),
		raw("the absolute form with dots", "GET http://shop/x/../admin HTTP/1.1"),
		raw("the absolute form of the denied host, with a fragment", "GET http://secret.com#/ok HTTP/1.1"),
		raw("the absolute form of the denied host, with a query", "GET http://secret.com?/ok HTTP/1.1"),
		raw("the absolute form, the denied host behind a user", "GET http://shop@secret.com/ok HTTP/1.1"),
		raw("the absolute form, a backslash before the user", `GET http://shop\@secret.com/ok HTTP/1.1`),
		raw("the absolute form without a host", "GET http:///admin HTTP/1.1"),
		raw("the absolute form of another scheme", "GET gopher://shop/admin HTTP/1.1"),
		raw("a scheme and no host", "GET http:/admin HTTP/1.1"),
		raw("a scheme and no slash", "GET http:admin HTTP/1.1"),
		raw("a scheme that is a word, with a fragment", "GET x:/admin#y HTTP/1.1"),
		raw("a host without a scheme", "GET shop/admin HTTP/1.1"),
		raw("nothing", "GET  HTTP/1.1"),
		raw("two targets", "GET /ok /admin HTTP/1.1"),
		raw("tabs for spaces", "GET\t/admin\tHTTP/1.1"),
		raw("HTTP/1.0", "GET /admin HTTP/1.0"),
		raw("HTTP/0.9", "GET /admin"),
		raw("HTTP/3.0", "GET /admin HTTP/3.0"),
		raw("HTTP/2.0 by a line", "PRI /admin HTTP/2.0"),
		raw("a line of its own before", "\r\nGET /admin HTTP/1.1"),
		{ID: "A5", What: "a star that is not of OPTIONS", On: web, Path: "*"},
		{ID: "A5", What: "a star that is not of OPTIONS, by POST", On: web, Method: "POST", Path: "*"},
		{ID: "A5", What: "CONNECT to the denied host", On: h1, Method: "CONNECT", Path: "secret.com:443"},
		{ID: "A5", What: "CONNECT to a path that looks like the denied host", On: h1, Method: "CONNECT", Path: "//secret.com/ok", Want: Differs, Sees: "/secret.com/ok"},
		{ID: "A5", What: "CONNECT to dots before it", On: h1, Method: "CONNECT", Path: "/x/../admin"},
		{ID: "A17", What: "CONNECT to the denied host by HTTP/2", On: h2, Method: "CONNECT", Host: "secret.com:443", Pseudo: [][2]string{{":path", "-"}, {":scheme", "-"}}},
		{ID: "A17", What: "CONNECT with a path by HTTP/2", On: h2, Method: "CONNECT", Path: "/admin"},
		pseudo("CONNECT with a protocol", h2, [2]string{":method", "-"}, [2]string{":method", "CONNECT"}, [2]string{":protocol", "websocket"}),
		pseudo("a pseudo-header that nobody knows", []Wire{HTTP2, GRPC}, [2]string{":role", "user"}),
		pseudo("a pseudo-header of answers", []Wire{HTTP2, GRPC}, [2]string{":status", "200"}),
		pseudo("no :scheme", h2, [2]string{":scheme", "-"}),
		pseudo("no :method", []Wire{HTTP2, GRPC}, [2]string{":method", "-"}),
		pseudo("two :scheme", []Wire{HTTP2, GRPC}, [2]string{":scheme", "https"}),
		pseudo("a :path in capitals besides", h2, [2]string{":PATH", "/ok"}),
		pseudo(":path behind a field", []Wire{HTTP2, GRPC}, [2]string{":path", "-"}, [2]string{"x", "y"}, [2]string{":path", "/shop.Vault/Open"}),
		{ID: "A17", What: "no :path", On: []Wire{HTTP2, GRPC}, Pseudo: [][2]string{{":path", "-"}}},
		{ID: "A17", What: "an absolute :path", On: h2, Path: "http://shop/admin"},
		{ID: "A17", What: "an absolute :path of the denied host", On: h2, Path: "http://secret.com/ok"},
		{ID: "A17", What: "a :path with a space and a version is another path", On: h2, Path: "/admin HTTP/1.1", Want: Differs, Sees: "/admin HTTP/1.1"},
		{ID: "A17", What: "a :path with a line break", On: h2, Path: "/ok HTTP/1.1\r\nx-role: admin\r\n"},
		{ID: "A17", What: "a :method with a line break", On: h2, Method: "GET /ok HTTP/1.1\r\n", Path: "/admin"},
		{ID: "A17", What: "an empty :method", On: h2, Path: "/admin", Pseudo: [][2]string{{":method", "-"}, {":method", ""}}},
		{ID: "A17", What: "the path of another header does not count", On: web, Path: "/admin", Header: [][2]string{
			{"x-original-url", "/ok"}, {"x-rewrite-url", "/ok"}, {"x-envoy-original-path", "/ok"}, {"x-forwarded-prefix", "/ok"}}},
	}
}

// verbs are methods, of which the policies deny DELETE where /items is.
func verbs() []Attack {
	verb := func(what, method string, lines ...[2]string) Attack {
		return Attack{ID: "A17", What: "DELETE: " + what, On: web, Method: method, Path: "/items", Header: lines}
	}
	honest := verb("another method", "POST")
	honest.Want, honest.Sees = Passes, "/items"
	options := verb("said of the future", "OPTIONS", [2]string{"access-control-request-method", "DELETE"})
	options.Want, options.Sees = Differs, "/items"
	return []Attack{
		honest,
		verb("the denied method, plainly", "DELETE"),
		verb("small letters", "delete"),
		verb("mixed letters", "DeLeTe"),
		verb("by a header", "POST", [2]string{"x-http-method-override", "DELETE"}),
		verb("by a header, in small letters", "POST", [2]string{"X-HTTP-Method-Override", "delete"}),
		verb("by a header of another name", "POST", [2]string{"x-http-method", "DELETE"}),
		verb("by a header of a third name", "POST", [2]string{"x-method-override", " DELETE"}),
		verb("by a header, on the second line", "POST", [2]string{"x-http-method-override", "PATCH"}, [2]string{"x-http-method-override", "DELETE"}),
		verb("by a header, in a list", "POST", [2]string{"x-http-method-override", "PATCH, DELETE"}),
		verb("by a header with an underscore", "POST", [2]string{"x_http_method_override", "DELETE"}),
		verb("by a header of GET", "GET", [2]string{"x-http-method-override", "DELETE"}),
		options,
	}
}

// services are gRPC's paths.
func services() []Attack {
	bad := func(id, what, path string) Attack { return Attack{ID: id, What: what, On: rpc, Path: path} }
	other := func(id, what, path string) Attack {
		return Attack{ID: id, What: what, On: rpc, Path: path, Want: Differs, Sees: path}
	}
	return []Attack{
		bad("A10", "no path but a query", "?/shop.Vault/Open"),
		bad("A10", "an empty path", ""+"\x00"),
		bad("A10", "a star", "*"),
		bad("A10", "an absolute path", "http://shop/shop.Vault/Open"),
		bad("A10", "a host before it", "//shop/shop.Vault/Open"),
		bad("A10", "a dot segment before it", "/./shop.Vault/Open"),
		bad("A10", "a dot segment within", "/shop.Vault/./Open"),
		bad("A10", "dots behind it", "/shop.Vault/Open/x/.."),
		bad("A10", "a service alone", "/shop.Vault"),
		bad("A10", "a service and a slash", "/shop.Vault/"),
		bad("A10", "a method alone", "//Open"),
		bad("A10", "a dot for the slash", "/shop.Vault.Open"),
		bad("A10", "a backslash for the slash", `/shop.Vault\Open`),
		bad("A11", "a parameter", "/shop.Vault/Open;x=1"),
		bad("A11", "a parameter of the service", "/shop.Vault;x=1/Open"),
		bad("A11", "a NUL behind it", "/shop.Vault/Open\x00"),
		bad("A11", "an escaped NUL behind it", "/shop.Vault/Open%00"),
		bad("A11", "a tab before it", "/shop.Vault/\tOpen"),
		bad("A11", "a line break behind it", "/shop.Vault/Open\r\n"),
		bad("A11", "wide letters", "/shop.Vault/\uff2fpen"),
		bad("A11", "a character without width", "/shop.Vault/Open\u200b"),
		bad("A11", "escaped twice", "/shop.Vault/%254fpen"),
		bad("A11", "a plus", "/shop.Vault/+Open"),
		other("A11", "a dot behind it is another method", "/shop.Vault/Open."),
		other("A11", "a dot before it is another service", "/.shop.Vault/Open"),
		other("A11", "other letters are another service", "/Shop.Vault/Open"),
		{ID: "A17", What: "GET of a method", On: rpc, Method: "GET", Path: "/shop.Vault/Open"},
		{ID: "A17", What: "GET of another method", On: rpc, Method: "GET"},
		{ID: "A17", What: "PUT of another method", On: rpc, Method: "PUT"},
		{ID: "A17", What: "a method of another header does not count", On: rpc, Path: "/shop.Vault/Open", Header: [][2]string{{"x-original-url", "/shop.Shop/Read"}, {"x-http-method-override", "GET"}}},
		{ID: "A17", What: "another content-type", On: rpc, Path: "/shop.Vault/Open", Header: [][2]string{{"content-type", "application/json"}}},
		{ID: "A10", What: "ALLOW: the team by gRPC", On: rpc, Path: "/shop.Team/Plan", Header: [][2]string{{"x-team", "blue"}}, Want: Passes, Sees: "/shop.Team/Plan"},
		bad("A10", "ALLOW: no team, plainly", "/shop.Team/Plan"),
		bad("A10", "ALLOW: no team, a slash twice", "//shop.Team/Plan"),
		bad("A10", "ALLOW: no team, a slash behind it", "/shop.Team/Plan/"),
		bad("A10", "ALLOW: no team, dots", "/x/../shop.Team/Plan"),
		bad("A10", "ALLOW: no team, escaped", "/shop.Team%2fPlan"),
		bad("A10", "ALLOW: no team, 16 KiB", "/shop.Team/"+strings.Repeat("Plan", 4<<10)),
	}
}
