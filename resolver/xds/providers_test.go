package xds

import (
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	tlsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// TestCertificateProvidersMustBeInTheBootstrap: what is by another is refused (gRFC A29).
func TestCertificateProvidersMustBeInTheBootstrap(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		w := watching(c, "a")
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		w.value(t)
		nonce := st.send(clusters, "2", securedBy("a-c", "stranger"))
		if m := st.acked(clusters, nonce).nack.GetMessage(); !contains(m, `"a-c"`) || !contains(m, `"stranger"`) {
			t.Errorf("refusal %q, want one of the provider", m)
		}
		if got := stateOf(t, c, clusters, "a-c"); got.State != Nacked || got.Version != "1" {
			t.Errorf("status is %+v, want NACKED with version 1 in use", got)
		}
		nonce = st.send(clusters, "3", securedBy("a-c", "default"))
		if m := st.acked(clusters, nonce).nack.GetMessage(); m != "" {
			t.Errorf("the provider that is always there is refused: %s", m)
		}
	})
	b := &Bootstrap{certificateProviders: []string{"stranger"}}
	if err := b.provides([]string{"stranger"}); err != nil {
		t.Error(err)
	}
}

// securedBy is a cluster of mTLS by an instance of a certificate provider.
func securedBy(name, instance string) piece {
	m := wire.EncodeCluster(wire.Cluster{
		Cluster: resolver.Cluster{Name: name, TLS: &identity.ClientTLS{Mutual: true}}, EndpointsName: "a-e", Secrets: wire.Providers,
	}).(*clusterv3.Cluster)
	var up tlsv3.UpstreamTlsContext
	if err := m.GetTransportSocket().GetTypedConfig().UnmarshalTo(&up); err != nil {
		panic(err)
	}
	up.GetCommonTlsContext().GetTlsCertificateProviderInstance().InstanceName = instance
	config, err := anypb.New(&up)
	if err != nil {
		panic(err)
	}
	m.TransportSocket.ConfigType = &corev3.TransportSocket_TypedConfig{TypedConfig: config}
	return packed(m)
}
