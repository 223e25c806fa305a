package interop

import (
	"os"
	"testing"
)

// startShop starts a control server over the shop's YAML with the file under
// testdata instead of its routes for payments, two instances of v1 and one of v2.
func startShop(t *testing.T, routes string) (*control, map[string]*backend) {
	t.Helper()
	files := shopFiles(t)
	files["payments.yaml"] = read(t, routes)
	c := startControl(t, files)
	backends := map[string]*backend{}
	for _, name := range []string{"v1.1", "v1.2", "v2.1"} {
		backends[name] = payments(t, c, name)
	}
	return c, backends
}

// payments starts an instance of the service payments. Its name begins with its version.
func payments(t *testing.T, c *control, name string) *backend {
	t.Helper()
	return grpcMember(t, c, name, "payments.shop", map[string]string{"app": "payments", "version": version(name)})
}

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// trickyCases are calls under testdata/tricky.yaml and the version that answers each.
var trickyCases = []struct {
	request request
	want    string
}{
	{request{}, "v1"},
	{request{header: map[string]string{"x-case": "without"}}, "v2"},
	{request{header: map[string]string{"x-case": "without", "x-robot": "no"}}, "v2"},
	{request{header: map[string]string{"x-case": "without", "x-robot": "yes"}}, "v1"},
	{request{header: map[string]string{"x-case": "without-any"}}, "v2"},
	{request{header: map[string]string{"x-case": "without-any", "x-robot": "no"}}, "v1"},
	{request{header: map[string]string{"x-case": "without-regex"}}, "v2"},
	{request{header: map[string]string{"x-case": "without-regex", "x-robot": "cat"}}, "v2"},
	{request{header: map[string]string{"x-case": "without-regex", "x-robot": "a robot"}}, "v1"},
	{request{header: map[string]string{"x-case": "without-regex", "x-other": "or"}}, "v1"},
	{request{header: map[string]string{"x-case": "post"}}, "v2"},
	{request{header: map[string]string{"x-case": "re42"}}, "v2"},
	{request{header: map[string]string{"x-case": "re42x"}}, "v1"},
	{request{header: map[string]string{"x-present": "anything"}}, "v2"},
	{request{header: map[string]string{"x-case": "pre-fix"}}, "v2"},
	{request{header: map[string]string{"x-case": "a pre-fix"}}, "v1"},
	{request{path: "/shop.Payments/Refund"}, "v2"},
	{request{path: "/shop.Payments/Refunds"}, "v1"},
	{request{path: "/shop.LedgerOfAll/Read"}, "v2"},
	{request{path: "/shop.Receipts/Read"}, "v2"},
	{request{path: "/shop.R2/Read"}, "v1"},
	{request{path: "/Shop.Case/Read"}, "v2"},
	{request{path: "/shop.EXACT/case"}, "v2"},
	{request{path: "/shop.EXACT/cases"}, "v1"},
}
