package controlserver

import (
	"cmp"
	"context"
	"crypto/tls"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/controlserver/ads"
	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// authority opens the CA that the configuration asks for; nil if it asks for none.
func (s *Server) authority() error {
	if s.config.CA == nil {
		return nil
	}
	cfg := *s.config.CA
	cfg.Logger = cmp.Or(cfg.Logger, s.log)
	cfg.Revoked = s.revoked.Load
	authority, err := ca.New(cfg)
	if err != nil {
		return err
	}
	id, err := spiffeid.FromPath(cfg.TrustDomain, identity.ControlServerPath)
	if err != nil {
		authority.Close()
		return fmt.Errorf("ca: %w", err)
	}
	s.ca = authority
	s.own = authority.Source(id, s.names()...)
	return nil
}

// names are what clients may call the server that verify a host: gRPC's and Envoy's.
func (s *Server) names() []string {
	names := []string{"localhost", "127.0.0.1", "::1"}
	if host, err := os.Hostname(); err == nil {
		names = append(names, host)
	}
	for _, addr := range []string{s.advertised(), s.Addr()} {
		if host, _, err := net.SplitHostPort(addr); err == nil && host != "" {
			if ip := net.ParseIP(host); ip == nil || !ip.IsUnspecified() {
				names = append(names, host)
			}
		}
	}
	return names
}

// BundleAddr is the address of the bundle endpoint; empty without one.
func (s *Server) BundleAddr() string {
	if s.bundle == nil {
		return ""
	}
	return s.bundle.Addr().String()
}

// serveBundle serves the bundle endpoint until ctx is done.
func (s *Server) serveBundle(ctx context.Context) error {
	config := s.ca.TLS(s.own)
	config.NextProtos = []string{"h2", "http/1.1"}
	config.ClientAuth = tls.NoClientCert
	endpoint := &http.Server{Handler: s.ca.BundleHandler(), TLSConfig: config, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute}
	ended := context.AfterFunc(ctx, func() { endpoint.Close() })
	defer ended()
	if err := endpoint.ServeTLS(s.bundle, "", ""); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// CA is the authority of the trust domain; nil without one.
func (s *Server) CA() *ca.CA { return s.ca }

// serverOptions are those of the server for clients: mTLS, or plaintext for a mesh without identities.
func (s *Server) serverOptions() []grpc.ServerOption {
	options := ads.ServerOptions(ads.Limits{})
	if s.ca == nil {
		return options
	}
	return append(options, grpc.Creds(credentials.NewTLS(s.ca.TLS(s.own))), grpc.ChainUnaryInterceptor(s.unary), grpc.ChainStreamInterceptor(s.stream))
}

// open reports whether a service takes callers who have proved nothing: those that ask for themselves.
func open(method string) bool {
	return strings.HasPrefix(method, "/istio.v1.auth.IstioCertificateService/") || // it asks for other proofs too
		strings.HasPrefix(method, "/envoy.service.discovery.v3.AggregatedDiscoveryService/") || // identify does
		strings.HasPrefix(method, "/grpc.health.v1.Health/")
}

func (s *Server) unary(ctx context.Context, req any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	if !open(info.FullMethod) {
		if _, err := s.ca.Authenticate(ctx); err != nil {
			return nil, err
		}
	}
	return handler(ctx, req)
}

func (s *Server) stream(srv any, ss grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if !open(info.FullMethod) {
		if _, err := s.ca.Authenticate(ss.Context()); err != nil {
			return err
		}
	}
	return handler(srv, ss)
}

// identify is who a stream's client has proved to be.
func (s *Server) identify(ctx context.Context) (ads.Identity, error) {
	who, err := s.ca.Authenticate(ctx)
	if err != nil {
		return ads.Identity{}, err
	}
	id := ads.Identity{ID: who.ID.String(), Until: who.Until}
	if who.Peer != nil && len(who.Peer.Certificates) > 0 {
		id.Serial = identity.Serial(who.Peer.Certificates[0].SerialNumber)
	}
	return id, nil
}

// admit lets a node be only what its identity is: of its namespace, and of its service account. What it left out is filled in.
func (s *Server) admit(n *ads.Node) error {
	var namespace, account string
	id, err := spiffeid.FromString(n.Identity)
	if err == nil {
		namespace, account, err = identity.WorkloadOf(id)
	}
	if err == nil {
		err = errors.Join(
			same("namespace", &n.Namespace, namespace),
			same("service account", &n.ServiceAccount, account),
		)
	}
	if err == nil {
		if parts := strings.Split(n.ID, "~"); len(parts) == 4 {
			said, _, _ := strings.Cut(parts[3], ".")
			err = same("namespace of its id", &said, namespace)
		}
	}
	if err != nil {
		s.log.Warn("a node is not who it says", "node", n.ID, "identity", n.Identity, "peer", n.Peer, "err", err)
		return status.Error(codes.PermissionDenied, "node: it says that it is another than its certificate does")
	}
	return nil
}

// same fills in what a node did not say, and refuses what it said otherwise.
func same(what string, said *string, is string) error {
	if *said == "" {
		*said = is
	}
	if *said != is {
		return fmt.Errorf("its %s is %q, and that of its identity %q", what, *said, is)
	}
	return nil
}

// believes is whose identities are given out and believed.
func (s *Server) believes() catalog.Authority {
	if s.ca == nil {
		return catalog.Authority{}
	}
	out := catalog.Authority{TrustDomain: s.ca.TrustDomain().Name()}
	for _, f := range s.config.CA.Federation {
		out.Federated = append(out.Federated, f.TrustDomain.Name())
	}
	return out
}

// trust is what clients are to believe; nil without an authority.
func (s *Server) trust() *wire.Secret {
	if s.ca == nil {
		return nil
	}
	out := &wire.Secret{Name: wire.OwnRoots, Bundles: map[string]string{}}
	for _, b := range s.ca.Bundles() {
		var text strings.Builder
		for _, c := range b.X509Authorities() {
			text.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
		}
		if text.Len() > 0 {
			out.Bundles[b.TrustDomain().Name()] = text.String()
		}
	}
	return out
}

// follow publishes what is believed whenever that changes, until ctx is done.
func (s *Server) follow(ctx context.Context) {
	for {
		changed := s.ca.Changed()
		s.republish()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

var errRevoked = status.Error(codes.PermissionDenied, "the identity is revoked")

// revoke makes what is not believed any more be so, here first of all.
func (s *Server) revoke(r *identity.Revoked) {
	if s.ca == nil || r.Equal(s.revoked.Load()) {
		return
	}
	s.revoked.Store(r)
	if r == nil {
		return
	}
	ids, serials := map[string]bool{}, map[string]bool{}
	for _, id := range r.IDs {
		ids[id.String()] = true
	}
	for _, serial := range r.Serials {
		serials[serial] = true
	}
	if n := s.ads.Evict(func(n *ads.Node) bool { return ids[n.Identity] || serials[n.Serial] }, errRevoked); n > 0 {
		s.log.Warn("clients whose identity is revoked were sent away", "streams", n)
	}
}
