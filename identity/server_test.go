package identity

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/weftmesh/weft/identity/identitytest"
)

// What Envoy offers, and what each of our servers understands.
func TestProtocols(t *testing.T) {
	ca := identitytest.New(t, "td")
	server := (&ServerTLS{}).Config(ca.Source("/b"), nil)
	for _, c := range []struct {
		offered []string
		want    string
		ok      bool
	}{
		{nil, "", true},
		{[]string{"h2"}, "h2", true},
		{[]string{"http/1.1"}, "http/1.1", true},
		{[]string{"http/1.1", "h2"}, "h2", true},
		{[]string{"istio", "h2"}, "h2", true},
		{[]string{"istio-h2", "istio", "h2"}, "h2", true},
		{[]string{"istio-peer-exchange", "istio", "h2"}, "h2", true},
		{[]string{"istio-http/1.1", "istio", "http/1.1"}, "http/1.1", true},
		{[]string{"istio-http/1.0", "istio", "http/1.0"}, "", true},
		{[]string{"istio-peer-exchange", "istio"}, "", true},
		{[]string{"istio"}, "", true},
		{[]string{"istio-h2"}, "", false}, // HTTP/2 that a server of HTTP would not know to be that
		{[]string{"postgresql"}, "", false},
		{[]string{"istio", "postgresql"}, "", false},
	} {
		client := mutual(t, ClientTLS{}, ca.Source("/a"))
		client.NextProtos = c.offered
		if m := meet(t, client, server); m.served != c.ok || m.state.NegotiatedProtocol != c.want {
			t.Errorf("%q: %q, served %v, %v", c.offered, m.state.NegotiatedProtocol, m.served, m.server)
		}
	}
}

// A server of HTTP speaks what was agreed on, and HTTP/1.1 where that is nothing.
func TestServerOfHTTP(t *testing.T) {
	ca := identitytest.New(t, "td")
	l, err := tls.Listen("tcp", "127.0.0.1:0", (&ServerTLS{}).Config(ca.Source("/b"), nil))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{
		ReadHeaderTimeout: time.Minute,
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			p, err := PeerOf(*r.TLS)
			if err != nil {
				t.Error(err)
				return
			}
			io.WriteString(w, r.Proto+" "+p.ID.Path())
		}),
	}
	served := make(chan error)
	go func() { served <- server.Serve(l) }()
	defer func() {
		server.Close()
		<-served
	}()
	for want, offered := range map[string][]string{
		"HTTP/2.0 /a": {"istio", "h2", "http/1.1"},
		"HTTP/1.1 /a": {"istio-http/1.1", "istio", "http/1.1"},
		"HTTP/1.1 /b": {"istio-peer-exchange", "istio"},
	} {
		conf := mutual(t, ClientTLS{}, ca.Source(want[len(want)-2:]))
		conf.NextProtos = offered
		transport := &http.Transport{TLSClientConfig: conf, ForceAttemptHTTP2: offered[1] == "h2"}
		if !transport.ForceAttemptHTTP2 {
			transport.Protocols = new(http.Protocols)
			transport.Protocols.SetHTTP1(true)
			transport.DialTLSContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
				return (&tls.Dialer{Config: conf}).DialContext(ctx, network, addr)
			}
		}
		answer, err := (&http.Client{Transport: transport, Timeout: time.Minute}).Get("https://" + l.Addr().String())
		if err != nil {
			t.Error(offered, err)
			continue
		}
		body, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		transport.CloseIdleConnections()
		if string(body) != want {
			t.Errorf("%q: %s, want %s", offered, body, want)
		}
	}
}

func TestPeerOf(t *testing.T) {
	ca := identitytest.New(t, "td")
	client := mutual(t, ClientTLS{ServerName: "outbound_.80_._.b.shop.svc.cluster.local"}, ca.Source("/ns/shop/sa/a"))
	client.NextProtos = append(client.NextProtos, "h2")
	m := meet(t, client, (&ServerTLS{}).Config(ca.Source("/b"), nil))
	p, err := PeerOf(m.state)
	if err != nil || p.ID != ca.ID("/ns/shop/sa/a") || !p.Secure() || p.Protocol != "h2" || p.ServerName != client.ServerName {
		t.Errorf("%+v, %v", p, err)
	}
	if _, err := PeerOf(tls.ConnectionState{}); err == nil {
		t.Error("a peer of a connection that has not shaken hands")
	}
	if p, err := PeerOf(tls.ConnectionState{HandshakeComplete: true}); err != nil || p.Secure() || !p.ID.IsZero() {
		t.Errorf("who has no certificate: %+v, %v", p, err)
	}
	two := ca.Issue("/a", identitytest.URIs("spiffe://td/a", "spiffe://td/b"))
	if p, err := PeerOf(tls.ConnectionState{HandshakeComplete: true, PeerCertificates: two.Certificates}); err == nil {
		t.Errorf("two ids: %+v", p)
	}
	web := ca.Issue("/a", identitytest.URIs(), identitytest.DNS("x.test"))
	if p, err := PeerOf(tls.ConnectionState{HandshakeComplete: true, PeerCertificates: web.Certificates}); err != nil || !p.ID.IsZero() || !p.Secure() {
		t.Errorf("a server of the web: %+v, %v", p, err)
	}
}

// A server that somebody else has shaken hands for, and verified nothing.
func TestVerify(t *testing.T) {
	ca, stranger := identitytest.New(t, "td"), identitytest.New(t, "td")
	server := &tls.Config{Certificates: []tls.Certificate{certificate(t, ca)}, ClientAuth: tls.RequireAnyClientCert}
	for name, c := range map[string]struct {
		from *identitytest.CA
		ok   bool
	}{"ours": {ca, true}, "a stranger's": {stranger, false}} {
		from := c.from.Source("/a")
		from.SetBundles(ca.Bundle())
		m := meet(t, mutual(t, ClientTLS{}, from), server)
		if !m.served {
			t.Fatal(m.server)
		}
		p, err := Verify(m.state, ca.Source("/b"), x509.ExtKeyUsageClientAuth, nil)
		if (err == nil) != c.ok || c.ok && (p.ID != ca.ID("/a") || len(p.Certificates) != 2) {
			t.Errorf("%s: %+v, %v", name, p, err)
		}
	}
}
