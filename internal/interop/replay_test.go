package interop

import (
	"encoding/json"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/fault/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/envoyproxy/go-control-plane/pkg/resource/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"
)

// A replay answers with what an istiod once said, by the state-of-the-world
// protocol alone.
type replay struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	*ledger
	addr      string
	resources map[string]map[string]*anypb.Any // by type and name
}

// startReplay serves a case of testdata/istiod. The addresses in its endpoints
// are replaced by those in live; one that is not there is an error.
func startReplay(t *testing.T, name string, live map[string]string) *replay {
	t.Helper()
	ln := listen(t)
	r := &replay{ledger: newLedger(), addr: ln.Addr().String(), resources: map[string]map[string]*anypb.Any{}}
	b, err := os.ReadFile(filepath.Join("testdata", "istiod", name, "client.grpc.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dump struct{ LDS, RDS, CDS, EDS recorded }
	if err := json.Unmarshal(b, &dump); err != nil {
		t.Fatal(err)
	}
	for _, d := range []recorded{dump.LDS, dump.RDS, dump.CDS, dump.EDS} {
		r.resources[d.Type] = map[string]*anypb.Any{}
		for _, text := range d.Resources {
			var a anypb.Any
			if err := protojson.Unmarshal(text, &a); err != nil {
				t.Fatal(err)
			}
			var named struct {
				Name    string
				Cluster string `json:"cluster_name"`
			}
			if err := json.Unmarshal(text, &named); err != nil {
				t.Fatal(err)
			}
			r.resources[d.Type][named.Name+named.Cluster] = move(t, &a, live)
		}
	}
	srv := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(srv, r)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ln) }()
	t.Cleanup(func() {
		srv.Stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return r
}

// recorded is what istiod sent of one type.
type recorded struct {
	Type      string `json:"type_url"`
	Resources []json.RawMessage
}

// move gives endpoints the addresses of live backends.
func move(t *testing.T, a *anypb.Any, live map[string]string) *anypb.Any {
	t.Helper()
	if a.GetTypeUrl() != resource.EndpointType {
		return a
	}
	var m endpointv3.ClusterLoadAssignment
	if err := a.UnmarshalTo(&m); err != nil {
		t.Fatal(err)
	}
	for _, l := range m.GetEndpoints() {
		for _, e := range l.GetLbEndpoints() {
			s := e.GetEndpoint().GetAddress().GetSocketAddress()
			was := net.JoinHostPort(s.GetAddress(), strconv.FormatUint(uint64(s.GetPortValue()), 10))
			if live[was] == "" {
				t.Fatalf("no backend for %s", was)
			}
			e.GetEndpoint().Address = addressOf(t, live[was])
		}
	}
	return pack(t, &m)
}

// StreamAggregatedResources answers each request for names that differ from those of the last.
func (r *replay) StreamAggregatedResources(s discoveryv3.AggregatedDiscoveryService_StreamAggregatedResourcesServer) error {
	asked := map[string][]string{}
	for nonce := 1; ; nonce++ {
		req, err := s.Recv()
		if err != nil {
			return err
		}
		typeURL, names := req.GetTypeUrl(), req.GetResourceNames()
		r.request(0, req.GetResponseNonce(), typeURL, req.GetErrorDetail().GetMessage())
		if before, ok := asked[typeURL]; ok && slices.Equal(before, names) {
			continue // an acknowledgement
		}
		asked[typeURL] = names
		resp := &discoveryv3.DiscoveryResponse{TypeUrl: typeURL, VersionInfo: "1", Nonce: strconv.Itoa(nonce)}
		for _, name := range names {
			if a := r.resources[typeURL][name]; a != nil {
				resp.Resources = append(resp.Resources, a)
			}
		}
		r.response(0, resp.GetNonce(), resp.GetVersionInfo())
		if err := s.Send(resp); err != nil {
			return err
		}
	}
}
