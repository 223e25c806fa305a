package xds

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/test/bufconn"

	"github.com/weftmesh/weft/balancer"
)

const minimal = `{"xds_servers": [{"server_uri": "cp:1", "channel_creds": [{"type": "insecure"}]}]}`

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestItem31ListenerNames(t *testing.T) {
	for _, test := range []struct{ config, client, server string }{
		{minimal, "payments:80", "xds.istio.io/grpc/lds/inbound/10.0.0.1:80"},
		{`{"xds_servers": [{"server_uri": "cp:1", "channel_creds": [{"type": "insecure"}]}],
		   "client_default_listener_resource_name_template": "svc/%s",
		   "server_listener_resource_name_template": "in/%s?at=%s"}`, "svc/payments:80", "in/10.0.0.1:80?at=10.0.0.1:80"},
		{`{"xds_servers": [{"server_uri": "cp:1", "channel_creds": [{"type": "insecure"}]}],
		   "client_default_listener_resource_name_template": "xdstp://a/envoy.config.listener.v3.Listener/%s"}`,
			"xdstp://a/envoy.config.listener.v3.Listener/payments:80", "xds.istio.io/grpc/lds/inbound/10.0.0.1:80"},
	} {
		b, err := ParseBootstrap(test.config)
		if err != nil {
			t.Fatal(err)
		}
		if got := b.listenerName("payments:80"); got != test.client {
			t.Errorf("listener %q, want %q", got, test.client)
		}
		if got := b.serverListenerName("10.0.0.1:80"); got != test.server {
			t.Errorf("server listener %q, want %q", got, test.server)
		}
	}
	if got, want := fill("xdstp://a/t/%s", "[::1]:80 ä"), "xdstp://a/t/%5B::1%5D:80%20%C3%A4"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestItem32EnvironmentIsReadByNew(t *testing.T) {
	file := write(t, "b.json", strings.Replace(minimal, "cp:1", "file:1", 1))
	server := func() string {
		t.Helper()
		c, err := New(Config{})
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		return c.Status().Server
	}
	t.Setenv(EnvBootstrapConfig, minimal)
	t.Setenv(EnvBootstrap, "")
	if got := server(); got != "cp:1" {
		t.Errorf("inline: %q", got)
	}
	t.Setenv(EnvBootstrap, file)
	if got := server(); got != "file:1" {
		t.Errorf("the file must win: %q", got)
	}
	b, err := BootstrapFor("code:1", "code:2")
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Bootstrap: b})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.Status().Server; got != "code:1" {
		t.Errorf("code must win: %q", got)
	}
}

func TestBootstrapFromAFileNamedInCode(t *testing.T) {
	b, err := ParseBootstrap(write(t, "b.json", minimal))
	if err != nil || b.servers[0].uri != "cp:1" {
		t.Errorf("%+v, %v", b, err)
	}
}

func TestItem33ServersAndCredentials(t *testing.T) {
	b, err := ParseBootstrap(`{
		"xds_servers": [
			{"server_uri": "unix:///run/a.sock", "channel_creds": [{"type": "google_default"}, {"type": "insecure"}, {"type": "tls"}],
			 "server_features": ["xds_v3", "ignore_resource_deletion", {"newer": true}, "fail_on_data_errors"], "unknown": 1},
			{"server_uri": "passthrough:///b:2", "channel_creds": [{"type": "tls", "config": {"refresh_interval": "600s"}}],
			 "server_features": ["resource_timer_is_transient_error", "ads_sotw"]}],
		"authorities": {"x": {}},
		"unknown": [1, 2]}`)
	if err != nil {
		t.Fatal(err)
	}
	want := []server{
		{uri: "unix:///run/a.sock", creds: channelCreds{kind: "insecure"}, features: features{ignoreDeletion: true, failOnDataErrors: true}},
		{uri: "passthrough:///b:2", creds: channelCreds{kind: "tls"}, features: features{timerTransient: true, sotw: true}},
	}
	if !slices.Equal(b.servers, want) {
		t.Errorf("servers %+v, want %+v", b.servers, want)
	}
}

func TestItem35CertificateProviders(t *testing.T) {
	b, err := ParseBootstrap(strings.Replace(minimal, "{", `{"certificate_providers": {"b": {"plugin_name": "who_knows"}, "a": {"plugin_name": "file_watcher", "config": {}}},`, 1))
	if err != nil || !slices.Equal(b.certificateProviders, []string{"a", "b"}) {
		t.Errorf("%v, %v", b, err)
	}
}

func TestItem36NodeIsPassedOn(t *testing.T) {
	b, err := ParseBootstrap(strings.Replace(minimal, "{", `{"node": {"id": "me", "cluster": "c", "locality": {"region": "r", "zone": "z", "sub_zone": "s"},
		"metadata": {"CLUSTER_ID": "mine", "N": {"a": [1, true]}}, "unknown": 1},`, 1))
	if err != nil {
		t.Fatal(err)
	}
	n := newNode(Config{Service: "payments.shop", Labels: map[string]string{"version": "v1"}, Locality: balancer.Locality{Region: "other"}}, b.node)
	if n.GetId() != "me" || n.GetCluster() != "c" || n.GetLocality().GetSubZone() != "s" || n.GetUserAgentName() != "weft" {
		t.Errorf("node %v", n)
	}
	m := n.GetMetadata().AsMap()
	for k, want := range map[string]any{"CLUSTER_ID": "mine", "NAMESPACE": "shop", "GENERATOR": "grpc", "WEFT_SERVICE": "payments.shop"} {
		if m[k] != want {
			t.Errorf("metadata %s is %v, want %v", k, m[k], want)
		}
	}
	if labels, _ := m["LABELS"].(map[string]any); labels["version"] != "v1" {
		t.Errorf("labels %v", m["LABELS"])
	}
}

func TestNodeWithoutABootstrapIsWhatIstioExpects(t *testing.T) {
	n := newNode(Config{Service: "payments.shop", Locality: balancer.Locality{Region: "r", Zone: "z"}}, nil)
	parts := strings.Split(n.GetId(), "~")
	if len(parts) != 4 || parts[0] != "sidecar" || net.ParseIP(parts[1]) == nil ||
		!strings.HasPrefix(parts[2], "payments-") || !strings.HasSuffix(parts[2], ".shop") || parts[3] != "shop.svc.cluster.local" {
		t.Errorf("id %q", n.GetId())
	}
	if again := newNode(Config{Service: "payments.shop"}, nil); again.GetId() == n.GetId() {
		t.Error("two processes have one id")
	}
	if l := n.GetLocality(); l.GetRegion() != "r" || l.GetZone() != "z" {
		t.Errorf("locality %v", l)
	}
	if ip := n.GetMetadata().GetFields()["INSTANCE_IPS"].GetStringValue(); ip != parts[1] {
		t.Errorf("INSTANCE_IPS %q", ip)
	}
}

// Each error is one sentence that names the source and the field and says what to set.
func TestBootstrapErrors(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct {
		name, path, inline string
		want               []string
	}{
		{"nothing", "", "", []string{EnvBootstrap, EnvBootstrapConfig, "set "}},
		{"no such file", filepath.Join(dir, "none.json"), "", []string{EnvBootstrap, "none.json", "no such file", "set "}},
		{"a directory", dir, "", []string{EnvBootstrap, dir, "directory"}},
		{"empty file", write(t, "empty.json", " \n"), "", []string{"empty.json", "is empty"}},
		{"half a file", write(t, "half.json", "{\n\"xds_servers\": [{\n"), "", []string{"half.json", "not JSON", "line "}},
		{"not JSON", "", "{\n  \"node\": oops}", []string{EnvBootstrapConfig, "line 2", "oops"[:1]}},
		{"wrong type", "", `{"xds_servers": [{"server_uri": 7}]}`, []string{"xds_servers", "server_uri", "number", "string"}},
		{"a list", "", `[]`, []string{"array"}},
		{"no servers", "", `{}`, []string{"xds_servers", "server_uri"}},
		{"no address", "", `{"xds_servers": [{"channel_creds": [{"type": "insecure"}]}]}`, []string{"xds_servers[0].server_uri", "host:port"}},
		{"no credentials", "", `{"xds_servers": [{"server_uri": "a:1"}]}`, []string{"xds_servers[0].channel_creds", "insecure"}},
		{"foreign credentials", "", `{"xds_servers": [{"server_uri": "a:1", "channel_creds": [{"type": "google_default"}]}]}`, []string{"xds_servers[0].channel_creds", "google_default", "tls"}},
		{"no such root", "", `{"xds_servers": [{"server_uri": "a:1", "channel_creds": [{"type": "tls", "config": {"ca_certificate_file": "/none.pem"}}]}]}`,
			[]string{"xds_servers[0].channel_creds[0].config.ca_certificate_file", "/none.pem", "set it"}},
		{"half a pair", "", `{"xds_servers": [{"server_uri": "a:1", "channel_creds": [{"type": "tls", "config": {"certificate_file": "/c.pem"}}]}]}`,
			[]string{"channel_creds[0].config", "private_key_file", "both"}},
		{"bad pair", "", `{"xds_servers": [{"server_uri": "a:1", "channel_creds": [{"type": "tls", "config": {"certificate_file": "/c.pem", "private_key_file": "/k.pem"}}]}]}`,
			[]string{"channel_creds[0].config.certificate_file", "/c.pem"}},
		{"root without a certificate", "", `{"xds_servers": [{"server_uri": "a:1", "channel_creds": [{"type": "tls", "config": {"ca_certificate_file": "` + write(t, "x.pem", "x") + `"}}]}]}`,
			[]string{"ca_certificate_file", "x.pem"}},
		{"bad node", "", strings.Replace(minimal, "{", `{"node": {"id": 7},`, 1), []string{"field node"}},
		{"template without a place", "", strings.Replace(minimal, "{", `{"server_listener_resource_name_template": "in",`, 1), []string{"server_listener_resource_name_template", `"%s"`}},
		{"provider without a plugin", "", strings.Replace(minimal, "{", `{"certificate_providers": {"d": {}},`, 1), []string{"certificate_providers.d.plugin_name"}},
		{"two things", "", `{"xds_servers": [{}], "server_listener_resource_name_template": "in"}`, []string{"server_uri", "channel_creds", "template"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Setenv(EnvBootstrap, test.path)
			t.Setenv(EnvBootstrapConfig, test.inline)
			c, err := New(Config{})
			if err == nil {
				c.Close()
				t.Fatal("accepted")
			}
			t.Log(err)
			for _, want := range test.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q lacks %q", err, want)
				}
			}
			if strings.Contains(err.Error(), "\n") {
				t.Errorf("error %q is more than one line", err)
			}
		})
	}
	for _, list := range [][]string{nil, {""}, {"a:1", " "}, {"127.0.0.1"}, {"a:1", "cp.example"}} {
		if _, err := BootstrapFor(list...); err == nil {
			t.Errorf("%q is accepted", list)
		}
	}
}

// pair makes a certificate for names, signed by parent or by itself, as PEM files.
func pair(t *testing.T, dir, name string, parent *tls.Certificate) (tls.Certificate, string, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: parent == nil, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signer, signerKey := template, any(key)
	if parent != nil {
		signer, signerKey = parent.Leaf, parent.PrivateKey
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &key.PublicKey, signerKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	certFile, keyFile := filepath.Join(dir, name+".pem"), filepath.Join(dir, name+".key")
	for path, text := range map[string][]byte{certFile: certPEM, keyFile: keyPEM} {
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := tls.X509KeyPair(certPEM, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	return c, certFile, keyFile
}

func TestItem34TLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		ca, caFile, _ := pair(t, dir, "ca", nil)
		serverCert, _, _ := pair(t, dir, "cp", &ca)
		_, certFile, keyFile := pair(t, dir, "client", &ca)
		_, otherFile, _ := pair(t, dir, "other", nil)
		roots := x509.NewCertPool()
		roots.AddCert(ca.Leaf)

		s := newScript(t)
		s.lis = bufconn.Listen(1 << 20)
		secured := grpc.NewServer(grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{serverCert}, ClientCAs: roots, ClientAuth: tls.RequireAndVerifyClientCert})))
		discoveryv3.RegisterAggregatedDiscoveryServiceServer(secured, s)
		lis := s.lis
		go secured.Serve(lis)
		t.Cleanup(secured.Stop)

		config := func(ca string) Config {
			b, err := ParseBootstrap(`{"xds_servers": [{"server_uri": "passthrough:///cp", "channel_creds": [{"type": "tls", "config":
				{"ca_certificate_file": "` + ca + `", "certificate_file": "` + certFile + `", "private_key_file": "` + keyFile + `"}}]}]}`)
			if err != nil {
				t.Fatal(err)
			}
			return Config{Bootstrap: b}
		}
		w := watching(s.clientOf(config(caFile)), "a")
		s.accept().settle(worldOf(shop("a")...))
		w.value(t)
		bad := watching(s.clientOf(config(otherFile)), "a")
		if err := bad.error(t); !contains(err.Error(), "unknown authority") {
			t.Errorf("error %q", err)
		}

		// Files are read again for the next connection.
		c := s.clientOf(config(caFile))
		if err := os.Remove(caFile); err != nil {
			t.Fatal(err)
		}
		if err := watching(c, "a").error(t); !contains(err.Error(), "ca_certificate_file") || !contains(err.Error(), "ca.pem") {
			t.Errorf("error %q", err)
		}
	})
}

func TestUnixSocket(t *testing.T) {
	dir := t.TempDir()
	lis, err := net.Listen("unix", filepath.Join(dir, "cp.sock"))
	if err != nil {
		t.Skipf("no unix sockets here: %v", err)
	}
	s := newScript(t)
	server := grpc.NewServer()
	discoveryv3.RegisterAggregatedDiscoveryServiceServer(server, s)
	go server.Serve(lis)
	defer server.Stop()
	b, err := BootstrapFor("unix://" + filepath.Join(dir, "cp.sock"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := New(Config{Bootstrap: b})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	w := watching(c, "a")
	defer w.stop()
	st := s.accept()
	st.expect(listeners, "a")
	st.end <- errors.New("enough")
}
