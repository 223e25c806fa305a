package attacks

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/identity"
)

// More tokens that lie, and good ones where they are not looked for, beside bad ones, or written otherwise (D1 to D19): none reaches a handler whose
// rules ask for alice's.
func TestDPlaces(t *testing.T) {
	i := tokens()
	stranger := issuer{}
	stranger.key, _ = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	j := i.jwt()
	j.Providers[0].ClaimHeaders = []identity.ClaimHeader{{Header: "x-user", Claim: "sub"}, {Header: "x-org", Claim: "org"}}
	member := policy("member", path(exactly("/ok")), path(exactly("/shop.Shop/Read")))
	member.Principals = []identity.Condition{claim("sub", "alice")}
	named := policy("named", path(exactly("/named")), path(exactly("/shop.Shop/Named")))
	named.Principals = []identity.Condition{header("x-user", "root"), header("x-org", "root")}
	g := serve(t, strictly(identity.Guard{JWT: j, Steps: []identity.Step{step("allow", identity.Allow, member, named)}}))
	alice := g.ca.Source(aliceID)
	const head = `{"alg":"ES256","kid":"k"}`
	now := time.Now().Unix()
	body := `{"iss":"https://issuer.test","aud":"shop","exp":4102444800,"sub":"alice"}`
	swap := func(old, with string) string { return i.forge(head, strings.Replace(body, old, with, 1)) }
	good, bad := i.sign(map[string]any{"sub": "alice"}), stranger.sign(map[string]any{"sub": "alice"})
	bob := i.sign(map[string]any{"sub": "bob"})
	parts := strings.Split(good, ".")
	bearer := func(token string) [][2]string { return [][2]string{{"authorization", "Bearer " + token}} }
	for name, tc := range map[string]struct {
		header [][2]string
		good   bool
	}{
		"good":                            {bearer(good), true},
		"good, the scheme in capitals":    {[][2]string{{"Authorization", "BEARER " + good}}, true},
		"good, audiences":                 {bearer(i.sign(map[string]any{"sub": "alice", "aud": []string{"x", "shop"}})), true},
		"no scheme":                       {[][2]string{{"authorization", good}}, false},
		"another scheme":                  {[][2]string{{"authorization", "Basic " + good}}, false},
		"a scheme that begins like it":    {[][2]string{{"authorization", "BearerX " + good}}, false},
		"the scheme twice":                {bearer("Bearer " + good), false},
		"the scheme alone":                {[][2]string{{"authorization", "Bearer"}}, false},
		"two in a line":                   {bearer(good + ", Bearer " + bob), false},
		"two in a line, by a space":       {bearer(good + " " + bob), false},
		"two lines, both good":            {append(bearer(good), bearer(good)...), false},
		"another header":                  {[][2]string{{"x-authorization", "Bearer " + good}, {"proxy-authorization", "Bearer " + good}}, false},
		"a header with an underscore":     {[][2]string{{"authorization_", "Bearer " + good}}, false},
		"a cookie":                        {[][2]string{{"cookie", "access_token=" + good}}, false},
		"x-forwarded-authorization":       {[][2]string{{"x-forwarded-authorization", "Bearer " + good}}, false},
		"D1 alg nOnE":                     {bearer(b64([]byte(`{"alg":"nOnE"}`)) + "." + parts[1] + "." + parts[2]), false},
		"D1 alg of nothing":               {bearer(i.forge(`{"alg":"","kid":"k"}`, body)), false},
		"D1 alg is null":                  {bearer(i.forge(`{"alg":null,"kid":"k"}`, body)), false},
		"D1 a space behind alg":           {bearer(i.forge(`{"alg":"ES256 ","kid":"k"}`, body)), false},
		"D2 alg of another curve":         {bearer(i.forge(`{"alg":"ES384","kid":"k"}`, body)), false},
		"D2 alg of Bitcoin":               {bearer(i.forge(`{"alg":"ES256K","kid":"k"}`, body)), false},
		"D2 EdDSA":                        {bearer(i.forge(`{"alg":"EdDSA","kid":"k"}`, body)), false},
		"D2 RS256":                        {bearer(i.forge(`{"alg":"RS256","kid":"k"}`, body)), false},
		"D2 PS256":                        {bearer(i.forge(`{"alg":"PS256","kid":"k"}`, body)), false},
		"D2 HS512":                        {bearer(i.forge(`{"alg":"HS512","kid":"k"}`, body)), false},
		"D4 exp is text":                  {bearer(swap("4102444800", `"4102444800"`)), false},
		"D4 exp is a list":                {bearer(swap("4102444800", `[4102444800]`)), false},
		"D4 exp is true":                  {bearer(swap("4102444800", `true`)), false},
		"D4 exp is null":                  {bearer(swap("4102444800", `null`)), false},
		"D4 exp below zero":               {bearer(swap("4102444800", `-1`)), false},
		"D4 exp of zero":                  {bearer(swap("4102444800", `0`)), false},
		"D4 exp beyond 64 bits":           {bearer(swap("4102444800", `18446744073709551616`)), false},
		"D4 exp of 1e400":                 {bearer(swap("4102444800", `1e400`)), false},
		"D4 exp in capitals":              {bearer(swap(`"exp"`, `"EXP"`)), false},
		"D4 exp twice":                    {bearer(swap(`"exp"`, `"exp":1,"exp"`)), false},
		"D4 nbf in the future":            {bearer(i.sign(map[string]any{"sub": "alice", "nbf": now + 3600})), false},
		"D4 nbf is text":                  {bearer(i.sign(map[string]any{"sub": "alice", "nbf": "0"})), false},
		"D4 iat in the future":            {bearer(i.sign(map[string]any{"sub": "alice", "iat": now + 3600})), false},
		"D5 aud of nothing":               {bearer(i.sign(map[string]any{"sub": "alice", "aud": ""})), false},
		"D5 aud of no elements":           {bearer(i.sign(map[string]any{"sub": "alice", "aud": []string{}})), false},
		"D5 aud in capitals":              {bearer(i.sign(map[string]any{"sub": "alice", "aud": "SHOP"})), false},
		"D5 aud with a space":             {bearer(i.sign(map[string]any{"sub": "alice", "aud": "shop "})), false},
		"D5 aud, two in one":              {bearer(i.sign(map[string]any{"sub": "alice", "aud": "shop,bank"})), false},
		"D5 aud is an object":             {bearer(i.sign(map[string]any{"sub": "alice", "aud": map[string]any{"shop": "shop"}})), false},
		"D5 aud in a list of a list":      {bearer(i.sign(map[string]any{"sub": "alice", "aud": []any{[]any{"shop"}}})), false},
		"D10 iss with a slash":            {bearer(i.sign(map[string]any{"sub": "alice", "iss": "https://issuer.test/"})), false},
		"D10 iss in capitals":             {bearer(i.sign(map[string]any{"sub": "alice", "iss": "HTTPS://issuer.test"})), false},
		"D10 iss with a space":            {bearer(i.sign(map[string]any{"sub": "alice", "iss": " https://issuer.test"})), false},
		"D10 no iss":                      {bearer(i.sign(map[string]any{"sub": "alice", "iss": nil})), false},
		"D10 iss is a list":               {bearer(i.sign(map[string]any{"sub": "alice", "iss": []string{"https://issuer.test"}})), false},
		"D11 sub in capitals":             {bearer(i.sign(map[string]any{"sub": "Alice"})), false},
		"D11 sub is a list":               {bearer(i.sign(map[string]any{"sub": []string{"alice"}})), false},
		"D11 sub with a NUL":              {bearer(i.sign(map[string]any{"sub": "alice\x00"})), false},
		"D11 sub twice":                   {bearer(swap(`"sub":"alice"`, `"sub":"alice","sub":"alice"`)), false},
		"D11 sub by an escape, twice":     {bearer(swap(`"sub":"alice"`, `"sub":"bob","s\u0075b":"alice"`)), false},
		"D16 kid of a path":               {bearer(stranger.forge(`{"alg":"ES256","kid":"../../../../dev/null"}`, body)), false},
		"D16 kid of SQL":                  {bearer(stranger.forge(`{"alg":"ES256","kid":"k' OR '1'='1"}`, body)), false},
		"D16 kid of 8 KiB":                {bearer(stranger.forge(`{"alg":"ES256","kid":"`+strings.Repeat("k", 8<<10)+`"}`, body)), false},
		"D16 kid twice":                   {bearer(i.forge(`{"alg":"ES256","kid":"x","kid":"k"}`, body)), false},
		"D16 kid is a number":             {bearer(i.forge(`{"alg":"ES256","kid":1}`, body)), false},
		"D16 jku":                         {bearer(stranger.forge(`{"alg":"ES256","kid":"k","jku":"http://127.0.0.1:1/"}`, body)), false},
		"D16 x5u":                         {bearer(stranger.forge(`{"alg":"ES256","kid":"k","x5u":"http://127.0.0.1:1/"}`, body)), false},
		"D16 b64":                         {bearer(i.forge(`{"alg":"ES256","kid":"k","b64":true}`, body)), false},
		"D16 crit of b64":                 {bearer(i.forge(`{"alg":"ES256","kid":"k","b64":false,"crit":["b64"]}`, body)), false},
		"D13 zip":                         {bearer(i.forge(`{"alg":"ES256","kid":"k","zip":"DEF"}`, body)), false},
		"D13 enc":                         {bearer(i.forge(`{"alg":"ES256","kid":"k","enc":"A128GCM"}`, body)), false},
		"D17 a list":                      {bearer(i.forge(head, "["+body+"]")), false},
		"D17 two objects":                 {bearer(i.forge(head, body+body)), false},
		"D17 something behind it":         {bearer(i.forge(head, body+"x")), false},
		"D17 a byte order mark":           {bearer(i.forge(head, "\ufeff"+body)), false},
		"D17 no UTF-8":                    {bearer(i.forge(head, strings.Replace(body, "alice", "alice\xff", 1))), false},
		"D17 40 KiB":                      {bearer(i.sign(map[string]any{"sub": "alice", "x": strings.Repeat("x", 40<<10)})), false},
		"a signature in DER":              {bearer(parts[0] + "." + parts[1] + "." + b64([]byte("\x30\x06\x02\x01\x01\x02\x01\x01"))), false},
		"a signature of 0":                {bearer(parts[0] + "." + parts[1] + "." + b64(make([]byte, 64))), false},
		"a signature of another":          {bearer(parts[0] + "." + parts[1] + "." + strings.Split(bob, ".")[2]), false},
		"a payload of another":            {bearer(strings.Split(bob, ".")[0] + "." + parts[1] + "." + strings.Split(bob, ".")[2]), false},
		"padded":                          {bearer(good + "=="), false},
		"standard base64":                 {bearer(parts[0] + "." + parts[1] + "." + strings.Repeat("+/", 43)), false},
		"a dot behind it":                 {bearer(good + "."), false},
		"a dot before it":                 {bearer("." + good), false},
		"four parts":                      {bearer(good + ".x"), false},
		"JSON":                            {bearer(`{"protected":"` + parts[0] + `","payload":"` + parts[1] + `","signature":"` + parts[2] + `"}`), false},
		"in quotes":                       {bearer(`"` + good + `"`), false},
		"escaped":                         {bearer(strings.Replace(good, ".", "%2e", 1)), false},
		"a good one, and claims of a lie": {append(bearer(bob), [2]string{"x-user", "alice"}), false},
	} {
		a := &Attack{Header: tc.header}
		for _, w := range both {
			if o := g.attack(a, w, alice); (o.Reached == 1) != tc.good || o.Reached > 1 {
				t.Errorf("%s: %v: %+v", name, w, o)
			}
		}
	}
	// In the query as well as in the header, and headers that only tokens may write.
	_ = bad
	for name, tc := range map[string]struct {
		path   string
		header [][2]string
		good   bool
	}{
		"good, in the query":            {"/ok?access_token=" + good, nil, true},
		"a bad one in the query":        {"/ok?access_token=" + bad, bearer(good), false},
		"a bad one in the header":       {"/ok?access_token=" + good, bearer(bad), false},
		"another's in the query":        {"/ok?access_token=" + bob, nil, false},
		"two in the query":              {"/ok?access_token=" + good + "&access_token=" + good, nil, false},
		"two in the query, one escaped": {"/ok?access_token=" + good + "&access%5ftoken=" + bad, nil, false},
		"behind a semicolon":            {"/ok?x;access_token=" + good, nil, false},
		"in the fragment":               {"/ok#access_token=" + good, nil, false},
		"in capitals":                   {"/ok?ACCESS_TOKEN=" + good, nil, false},
		"good, who is named root":       {"/named", bearer(i.sign(map[string]any{"org": "root"})), true},
		"a claim's header":              {"/named", append(bearer(good), [2]string{"x-org", "root"}), false},
		"a claim's header, no token":    {"/named", [][2]string{{"x-user", "root"}}, false},
		"a claim's header, twice":       {"/named", append(bearer(good), [2]string{"x-user", "root"}, [2]string{"X-User", "root"}), false},
		"one with an underscore":        {"/named", append(bearer(good), [2]string{"x_user", "root"}), false},
		"a claim with a line break":     {"/named", bearer(i.sign(map[string]any{"sub": "x\r\nx-org: root"})), false},
		"a claim that is a list":        {"/named", bearer(i.sign(map[string]any{"org": []string{"root"}})), false},
	} {
		for _, w := range both {
			a := &Attack{Path: tc.path, Header: tc.header}
			if w == GRPC {
				if strings.Contains(tc.path, "?") || strings.Contains(tc.path, "#") {
					continue // methods have neither
				}
				a.Path = "/shop.Shop/Named"
			}
			if o := g.attack(a, w, alice); (o.Reached == 1) != tc.good || o.Reached > 1 {
				t.Errorf("%s: %v: %+v", name, w, o)
			}
		}
	}
}
