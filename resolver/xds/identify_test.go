package xds

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/identitytest"
)

// secured is a script that speaks mTLS as the identity.
func secured(t *testing.T, ca *identitytest.CA, path string) *script {
	s := newScript(t)
	s.lis = bufconn.Listen(1 << 20)
	own := ca.Source(path)
	srv := grpc.NewServer(grpc.Creds(credentials.NewTLS(tlsconfig.MTLSServerConfig(own, own, tlsconfig.AuthorizeAny()))))
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(srv, s)
	go srv.Serve(s.lis)
	t.Cleanup(srv.Stop)
	return s
}

func (s *script) clientAs(own identity.Source) *Client {
	b, err := BootstrapFor("passthrough:///" + s.name)
	if err != nil {
		s.t.Fatal(err)
	}
	return s.clientOf(Config{Bootstrap: b, Identity: own, Service: "payments"})
}

func TestWithAnIdentityTheControlServerIsSpokenToByMTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := identitytest.New(t, "td")
		s := secured(t, ca, identity.ControlServerPath)
		own := ca.Source("/ns/shop/sa/till")
		w := watching(s.clientAs(own), "a")
		c := s.accept()
		first := c.expect(listeners, "a")
		c.asks <- first // it is to be answered yet
		node := first.node
		for key, want := range map[string]string{"NAMESPACE": "shop", "SERVICE_ACCOUNT": "till", "WEFT_SERVICE": "payments"} {
			if got := node.Metadata.Fields[key].GetStringValue(); got != want {
				t.Errorf("%s is %q, want %q", key, got, want)
			}
		}
		if !strings.HasSuffix(node.Id, ".shop~shop.svc.cluster.local") {
			t.Errorf("node id %s", node.Id)
		}
		c.settle(worldOf(shop("a")...))
		w.value(t)
	})
}

func TestOthersAreNoControlServer(t *testing.T) {
	for name, c := range map[string]struct {
		stranger bool
		path     string
		want     string
	}{
		"a workload":         {false, "/ns/shop/sa/till", "unexpected ID"},
		"a stranger's issue": {true, identity.ControlServerPath, "unknown authority"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ca := identitytest.New(t, "td")
				issuer := ca
				if c.stranger {
					issuer = identitytest.New(t, "td")
				}
				w := watching(secured(t, issuer, c.path).clientAs(ca.Source("/ns/shop/sa/till")), "a")
				if err := w.error(t); !contains(err.Error(), c.want) {
					t.Error(err)
				}
			})
		})
	}
}

func TestWithoutAnSVIDNothingIsSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca := identitytest.New(t, "td")
		own := ca.Source("/ns/shop/sa/till")
		own.Fail(errors.New("nobody has signed it"))
		s := secured(t, ca, identity.ControlServerPath)
		w := watching(s.clientAs(own), "a")
		time.Sleep(connectTimeout + time.Second)
		if err := w.error(t); !contains(err.Error(), "no SVID") {
			t.Error(err)
		}
		if len(s.opens) > 0 {
			t.Errorf("%d streams", len(s.opens))
		}
	})
}

func TestCredentialsThatNeedAnIdentity(t *testing.T) {
	b, err := ParseBootstrap(`{"xds_servers": [{"server_uri": "a:1", "channel_creds": [{"type": "weft"}]}]}`)
	if err != nil {
		t.Fatal(err)
	}
	if c, err := New(Config{Bootstrap: b}); err == nil || !contains(err.Error(), `xds_servers[0].channel_creds: type "weft" needs an identity`) {
		t.Errorf("%v, %v", c, err)
	}
}

func TestTokensGoWithTLSAlone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	entry := func(creds, token string) (*Bootstrap, error) {
		return ParseBootstrap(`{"xds_servers": [{"server_uri": "a:1", "channel_creds": [{"type": "` + creds + `"}],
			"call_creds": [{"type": "newer"}, {"type": "jwt_token_file", "config": {"jwt_token_file": "` + token + `"}}]}]}`)
	}
	b, err := entry("tls", file)
	if err != nil || b.servers[0].token != file {
		t.Errorf("%+v, %v", b, err)
	}
	if conn, err := b.servers[0].dial(nil); err != nil {
		t.Error(err)
	} else {
		conn.Close()
	}
	if _, err := entry("insecure", file); err == nil || !contains(err.Error(), "would send a token in plaintext") {
		t.Error(err)
	}
	if _, err := entry("tls", ""); err == nil || !contains(err.Error(), "call_creds[1].config.jwt_token_file") {
		t.Error(err)
	}
}
