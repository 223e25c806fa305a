package catalog_test

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/controlserver/trafficpolicy"
	"github.com/weftmesh/weft/internal/reference"
)

var update = flag.Bool("update", false, "write docs/reference")

// The references and the schemas are made of the types and their comments. go test -update writes them.
func TestReferencesAreUpToDate(t *testing.T) {
	for _, k := range []reference.Kind{
		{Name: catalog.KindMeshConfig, Spec: reflect.TypeFor[catalog.MeshConfig](), About: "what holds for the mesh as a whole, with the names that Istio's MeshConfig has."},
		{Name: catalog.KindRevocation, Spec: reflect.TypeFor[catalog.Revocation](), About: "certificates and identities that are not believed any more."},
	} {
		file := strings.ToLower(k.Name)
		example, err := os.ReadFile("testdata/" + file + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		if objects, findings := catalog.Parse("example", example); len(objects) != 1 || len(findings) > 0 {
			t.Errorf("example of %s: %v", k.Name, findings)
		}
		k.Version, k.Source, k.Dirs, k.Example = catalog.Version, "controlserver/catalog", []string{".", "../trafficpolicy"}, string(example)
		k.Bounds = trafficpolicy.Bounds
		page, schema, err := k.Text()
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]string{file + ".md": page, file + ".schema.json": schema} {
			name = filepath.Join("..", "..", "docs", "reference", name)
			if *update {
				if err := os.WriteFile(name, []byte(want), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			got, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			if string(got) != want {
				t.Errorf("%s is not what the types say; write it with: go test ./controlserver/catalog -update", name)
			}
		}
	}
}
