package wire

import (
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
)

var update = flag.Bool("update", false, "write what the test finds as what it wants")

// A dump is what a real istiod sent to a proxyless client, as JSON.
type dump map[string]struct {
	Resources []json.RawMessage `json:"resources"`
}

func readDump(t testing.TB, file string) dump {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	raw := map[string]json.RawMessage{}
	if err := json.Unmarshal(b, &raw); err != nil {
		t.Fatal(err)
	}
	delete(raw, "node")
	b, err = json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	d := dump{}
	if err := json.Unmarshal(b, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func (d dump) resources(t testing.TB, kind string) (out []*anypb.Any) {
	t.Helper()
	for _, r := range d[kind].Resources {
		a := new(anypb.Any)
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(r, a); err != nil {
			t.Fatal(err)
		}
		out = append(out, a)
	}
	return out
}

// TestIstiodIsUnderstood compares what recorded answers mean with files beside them.
func TestIstiodIsUnderstood(t *testing.T) {
	files, err := filepath.Glob("testdata/istiod/*.json")
	if err != nil || len(files) != 4 {
		t.Fatalf("%d files, %v", len(files), err)
	}
	for _, file := range files {
		t.Run(filepath.Base(file), func(t *testing.T) {
			d := readDump(t, file)
			var b strings.Builder
			for _, a := range d.resources(t, "lds") {
				v, err := DecodeListener(a)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "listener %s\n", brief(v))
				mirrored(t, without(*v), EncodeListener, DecodeListener)
			}
			for _, a := range d.resources(t, "rds") {
				v, err := DecodeRouteTable(a)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "routes %s\n", v.Name)
				for _, w := range v.Warnings {
					fmt.Fprintf(&b, "  warning %s\n", w)
				}
				for _, h := range v.VirtualHosts {
					fmt.Fprintf(&b, "  host %s %v\n", h.Name, h.Domains)
					for _, r := range h.Routes {
						fmt.Fprintf(&b, "    %s\n", brief(r))
					}
				}
				v.Warnings = nil
				mirrored(t, *v, EncodeRouteTable, DecodeRouteTable)
			}
			for _, a := range d.resources(t, "cds") {
				v, err := DecodeCluster(a)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "cluster %s\n", brief(v))
				v.Warnings = nil
				mirrored(t, *v, EncodeCluster, DecodeCluster)
			}
			for _, a := range d.resources(t, "eds") {
				v, err := DecodeEndpoints(a)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&b, "endpoints %s\n", v.Name)
				for _, e := range v.Endpoints {
					fmt.Fprintf(&b, "  %s\n", brief(e))
				}
				mirrored(t, *v, EncodeEndpoints, DecodeEndpoints)
			}
			golden := strings.TrimSuffix(file, ".json") + ".golden"
			if *update {
				if err := os.WriteFile(golden, []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if b.String() != string(want) {
				t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
			}
		})
	}
}

func without(l Listener) Listener {
	l.Warnings = nil
	return l
}

// brief is a value as JSON without what is zero.
func brief(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	var tree any
	if err := json.Unmarshal(b, &tree); err != nil {
		return err.Error()
	}
	b, err = json.Marshal(prune(tree))
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// prune returns nil for what is zero.
func prune(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for _, k := range slices.Collect(maps.Keys(v)) {
			if v[k] = prune(v[k]); v[k] == nil {
				delete(v, k)
			}
		}
		if len(v) == 0 {
			return nil
		}
	case []any:
		for i := range v {
			v[i] = prune(v[i])
		}
		if len(v) == 0 {
			return nil
		}
	case string:
		if v == "" {
			return nil
		}
	case float64:
		if v == 0 {
			return nil
		}
	case bool:
		if !v {
			return nil
		}
	}
	return v
}
