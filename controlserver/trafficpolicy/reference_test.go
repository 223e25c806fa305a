package trafficpolicy

import (
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/weftmesh/weft/internal/reference"
)

var update = flag.Bool("update", false, "write docs/reference")

// The reference and the schema are made of the types and their comments. go test -update writes them.
func TestReferenceIsUpToDate(t *testing.T) {
	example, err := os.ReadFile("testdata/example.yaml")
	if err != nil {
		t.Fatal(err)
	}
	page, schema, err := reference.Kind{
		Name: Kind, Version: Version, Spec: reflect.TypeFor[Spec](), Dirs: []string{"."}, Source: "controlserver/trafficpolicy",
		About: "what Istio's kinds have no words for.", Example: string(example), Bounds: Bounds, Percent: reflect.TypeFor[Percent](),
	}.Text()
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"trafficpolicy.md": page, "trafficpolicy.schema.json": schema} {
		file := filepath.Join("..", "..", "docs", "reference", name)
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != want {
			t.Errorf("%s is not what the types say; write it with: go test ./controlserver/trafficpolicy -update", file)
		}
	}
}
