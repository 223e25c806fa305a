package attacks

import "strings"

// roles are ways to say the denied role, or to be of the team.
func roles() []Attack {
	role := func(id, what string, lines ...[2]string) Attack {
		return Attack{ID: id, What: what, On: both, Header: lines}
	}
	line := func(value string) [2]string { return [2]string{"x-role", value} }
	raw := func(id, what, lines string) Attack {
		return Attack{ID: id, What: what, On: h1, Raw: "GET /ok HTTP/1.1\r\nHost: shop\r\n" + lines + "Connection: close\r\n\r\n"}
	}
	frames := func(what string, fields ...[2]string) Attack {
		return Attack{ID: "B16", What: what, On: []Wire{HTTP2, GRPC}, Pseudo: fields}
	}
	team := func(what string, lines ...[2]string) []Attack {
		return []Attack{
			{ID: "B2", What: "ALLOW: " + what, On: web, Path: "/team/plan", Header: lines},
			{ID: "B2", What: "ALLOW by gRPC: " + what, On: rpc, Path: "/shop.Team/Plan", Header: lines},
		}
	}
	blue := [2]string{"x-team", "blue"}
	all := []Attack{
		role("B1", "on the third of five lines", line("a"), line("b"), line("admin"), line("c"), line("d")),
		role("B1", "behind an empty line", line(""), line("admin")),
		role("B1", "before an empty line", line("admin"), line("")),
		role("B1", "twice the same", line("admin"), line("admin")),
		role("B1", "on the last of 50 lines", append(repeated("x-role", "user", 49), line("admin"))...),
		role("B1", "another header between", line("user"), [2]string{"x-other", "y"}, line("admin")),
		role("B1", "names in other letters", [2]string{"X-Role", "user"}, [2]string{"x-ROLE", "admin"}),
		role("B2", "in a list with tabs", line("user,\tadmin\t,x")),
		role("B2", "in a list, in quotes", line(`user,"admin"`)),
		role("B2", "with a weight", line("admin;q=1")),
		role("B2", "with a weight, in a list", line("user, admin;q=0.1")),
		role("B2", "behind a weight", line("user;q=1, admin")),
		role("B2", "behind 10,000 others", line(strings.Repeat("u,", 10000)+"admin")),
		role("B2", "behind 10,000 commas", line(strings.Repeat(",", 10000)+"admin")),
		role("B2", "a comma behind it", line("admin,")),
		role("B2", "a comma before it", line(",admin")),
		role("B2", "a list on two lines", line("user,x"), line("y , admin")),
		role("B7", "a good one with a dash, it with an underscore", line("user"), [2]string{"x_role", "admin"}),
		role("B7", "a good one with an underscore, it with a dash", [2]string{"x_role", "user"}, line("admin")),
		{ID: "B7", What: "a dot for the dash is another header", On: both, Header: [][2]string{{"x.role", "admin"}}, Want: Differs},
		{ID: "B2", What: "capitals are another role", On: both, Header: [][2]string{line("ADMIN")}, Want: Differs},
		raw("B16", "a tab before the value", "x-role:\tadmin\r\n"),
		raw("B16", "no space", "x-role:admin\r\n"),
		raw("B16", "a folded line behind another", "x-role: user,\r\n\tadmin\r\n"),
		raw("B16", "a folded line first", " x-a: b\r\nx-role: admin\r\n"),
		raw("B16", "a line without a colon before it", "x-a\r\nx-role: admin\r\n"),
		raw("B16", "an empty name before it", ": b\r\nx-role: admin\r\n"),
		raw("B16", "a carriage return alone", "x-a: b\rx-role: user\r\nx-role: admin\r\n"),
		raw("B16", "a carriage return alone before it", "x-a: b\rx-role: admin\r\n"),
		raw("B16", "a NUL in the name", "x-role\x00: user\r\nx-role: admin\r\n"),
		raw("B16", "a NUL behind the value", "x-role: admin\x00\r\n"),
		raw("B16", "a form feed behind the value", "x-role: admin\x0c\r\n"),
		raw("B16", "a name in quotes", "\"x-role\": user\r\nx-role: admin\r\n"),
		raw("B16", "a name that is not ASCII", "x-r\xc3\xb6le: user\r\nx-role: admin\r\n"),
		raw("B16", "two colons", "x-role:: admin\r\nx-role: admin\r\n"),
		raw("B8", "Connection names it alone", "x-role: admin\r\nConnection: x-role\r\n"),
		raw("B8", "Connection in capitals names it", "x-role: admin\r\nCONNECTION: Keep-Alive,X-ROLE\r\n"),
		raw("B8", "Proxy-Connection names it", "x-role: admin\r\nProxy-Connection: x-role\r\n"),
		raw("B8", "TE and Trailer name it", "x-role: admin\r\nTE: trailers, x-role\r\nTrailer: x-role\r\n"),
		raw("B8", "Keep-Alive names it", "x-role: admin\r\nKeep-Alive: x-role\r\n"),
		{ID: "B8", What: "headers of connections by HTTP/2", On: []Wire{HTTP2, GRPC}, Header: [][2]string{{"keep-alive", "x-role"}, {"x-role", "admin"}}},
		{ID: "B8", What: "transfer-encoding by HTTP/2", On: []Wire{HTTP2, GRPC}, Header: [][2]string{{"transfer-encoding", "chunked"}, {"x-role", "admin"}}},
		{ID: "B8", What: "upgrade by HTTP/2", On: []Wire{HTTP2, GRPC}, Header: [][2]string{{"upgrade", "websocket"}, {"x-role", "admin"}}},
		frames("a capital besides a good one", [2]string{"x-role", "user"}, [2]string{"x-Role", "admin"}),
		frames("a colon in a name", [2]string{"x-role:", "user"}, [2]string{"x-role", "admin"}),
		frames("a space behind a name", [2]string{"x-role ", "admin"}),
		frames("a line break in a name", [2]string{"x-a: b\r\nx-role", "admin"}),
		frames("an empty name", [2]string{"", "user"}, [2]string{"x-role", "admin"}),
		frames("a line break of one byte in a value", [2]string{"x-role", "user\nx-role: admin"}, [2]string{"x-role", "admin"}),
		frames("spaces around a value", [2]string{"x-role", " admin"}),
		frames("a tab behind a value", [2]string{"x-role", "admin\t"}),
	}
	for _, some := range [][]Attack{
		team("spaces within", [2]string{"x-team", "bl ue"}),
		team("the team behind the beginning", [2]string{"x-team", "darkblue"}),
		team("the team at the beginning", [2]string{"x-team", "blueish"}),
		team("a list of the team and nothing", [2]string{"x-team", "blue,"}),
		team("a list of nothing and the team", [2]string{"x-team", ",blue"}),
		team("the team with a weight", [2]string{"x-team", "blue;q=1"}),
		team("in quotes", [2]string{"x-team", `"blue"`}),
		team("another line before", [2]string{"x-team", "red"}, blue),
		team("a line with an underscore besides", [2]string{"x_team", "red"}, blue),
		team("by another header", [2]string{"x-team-name", "blue"}),
		team("by an empty header", [2]string{"x-team", ""}),
		team("behind a NUL", [2]string{"x-team", "blue\x00"}),
	} {
		all = append(all, some...)
	}
	return append(all,
		Attack{ID: "B8", What: "ALLOW: Connection names the team", On: h1, Raw: "GET /team/plan HTTP/1.1\r\nHost: shop\r\nConnection: close, x-team\r\n\r\n"},
		Attack{ID: "A1", What: "ALLOW: no team, a slash twice", On: web, Path: "//team/plan"},
		Attack{ID: "A1", What: "ALLOW: no team, dots", On: web, Path: "/ok/../team/plan"},
		Attack{ID: "A1", What: "ALLOW: no team, an escaped letter", On: web, Path: "/%74eam/plan"},
		Attack{ID: "A2", What: "ALLOW: no team, an escaped slash", On: web, Path: "/team%2Fplan"},
		Attack{ID: "A4", What: "ALLOW: no team, a parameter", On: web, Path: "/team;x/plan"},
		Attack{ID: "A4", What: "ALLOW: no team, a parameter on dots", On: web, Path: "/ok/..;/team/plan"},
		Attack{ID: "A5", What: "ALLOW: no team, a fragment", On: web, Path: "/team/plan#/ok"},
		Attack{ID: "A5", What: "ALLOW: no team, the absolute form", On: h1, Path: "http://shop/team/plan"},
		Attack{ID: "A8", What: "ALLOW: no team, escaped twice", On: web, Path: "/%2574eam/plan", Want: Differs, Sees: "/%74eam/plan"},
	)
}
