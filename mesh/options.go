package mesh

import (
	"fmt"
	"log/slog"
	"maps"
	"strings"

	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds"
)

// An Option says what differs from process to process. What operators tune comes
// by configuration instead.
type Option func(*settings)

type settings struct {
	bootstrap string
	servers   []string
	resolver  resolver.Resolver
	service   string
	labels    map[string]string
	locality  balancer.Locality
	tracer    trace.TracerProvider
	meter     metric.MeterProvider
	logger    *slog.Logger
	outbound  Outbound
	identity  identity.Source
	sds       [2]string // names of secrets; empty without
}

func defaults() settings { return settings{logger: slog.Default(), outbound: AllowAny} }

// check finds options that contradict each other.
func (s *settings) check() error {
	if s.resolver != nil && (s.bootstrap != "" || len(s.servers) > 0) {
		return errResolverAndBootstrap
	}
	if s.bootstrap != "" && len(s.servers) > 0 {
		return errBootstrapAndServers
	}
	if s.service != "" && !isServiceName(s.service) {
		return fmt.Errorf(`WithService: %q is no name of a service: write NAME or NAME.NAMESPACE, of lower-case letters, digits and "-"`, s.service)
	}
	if s.sds != [2]string{} {
		switch {
		case s.sds[0] == "" || s.sds[1] == "":
			return errNamesOfSecrets
		case s.identity != nil:
			return errIdentityAndSDS
		case s.resolver != nil:
			return errResolverAndSDS
		}
	}
	return nil
}

// isServiceName says whether all labels of a name are DNS labels (RFC 1123), as a registration wants them.
func isServiceName(name string) bool {
	for label := range strings.SplitSeq(name, ".") {
		if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' ||
			strings.Trim(label, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
			return false
		}
	}
	return true
}

// WithBootstrap sets where the control plane is, as the standard gRPC xDS
// bootstrap: the path of a file, or the JSON itself. Without it, the environment's
// GRPC_XDS_BOOTSTRAP (a path) or GRPC_XDS_BOOTSTRAP_CONFIG (JSON) is read
// when New is called.
func WithBootstrap(pathOrJSON string) Option { return func(s *settings) { s.bootstrap = pathOrJSON } }

// WithControlServer sets the addresses ("host:port") of control servers; the
// later ones are fallbacks. It is shorthand for a bootstrap: they are spoken to
// by mTLS if the process has an identity, else in plaintext.
func WithControlServer(addr ...string) Option { return func(s *settings) { s.servers = addr } }

// WithResolver configures the mesh without a control plane, for instance from a [resolver.Static]. Limits of
// all processes together, which a control server counts, then do what they are configured to do while it can't be asked;
// so they do with a control plane that has no rate limit service, such as istiod.
func WithResolver(r resolver.Resolver) Option { return func(s *settings) { s.resolver = r } }

// WithService says who this process is: the name of its service ("payments", or
// "payments.shop" in a namespace) and the labels of this instance, such as
// version. What it serves by Listen is registered under that name. Without it, the process only calls.
// Without a namespace it is the one of the process's identity, or "default".
func WithService(name string, labels map[string]string) Option {
	return func(s *settings) { s.service, s.labels = name, maps.Clone(labels) }
}

// WithIdentity says who this process is, by a source of its X.509 certificate and of the bundles of the trust domains it believes: one of the
// packages below identity, or a workloadapi.X509Source. Connections to services that can speak it, and to this process, are mutual TLS then, and
// callers are known by their SPIFFE ID. The source is asked at each handshake, and is the caller's to close, after the Mesh.
// Without it, calls are plaintext, which the log says.
func WithIdentity(s identity.Source) Option { return func(set *settings) { set.identity = s } }

// WithSDS is WithIdentity by two secrets of the control server (SDS over ADS), a certificate with its key and the roots; Istio's are "default" and
// "ROOTCA". The key crosses the wire, and the control server can't know this process by it: prefer a source that makes its own.
func WithSDS(certificate, roots string) Option {
	return func(s *settings) { s.sds = [2]string{certificate, roots} }
}

// WithLocality says where this process runs, unless the bootstrap does. Default: nowhere.
func WithLocality(l balancer.Locality) Option { return func(s *settings) { s.locality = l } }

// WithTelemetry sends metrics and traces of calls, made and served, to the
// providers; either may be nil. Default: none, at no cost.
func WithTelemetry(t trace.TracerProvider, m metric.MeterProvider) Option {
	return func(s *settings) { s.tracer, s.meter = t, m }
}

// WithLogger sets where the mesh logs. Default: slog.Default(). nil discards.
func WithLogger(l *slog.Logger) Option {
	return func(s *settings) {
		if l == nil {
			l = slog.New(slog.DiscardHandler)
		}
		s.logger = l
	}
}

// Outbound says what becomes of HTTP requests to hosts that the mesh does not
// know (Istio outboundTrafficPolicy).
type Outbound uint8

// The outbound policies.
const (
	// AllowAny passes them to the default HTTP transport, as without the mesh.
	AllowAny Outbound = iota
	// RegistryOnly refuses them.
	RegistryOnly
)

// WithOutbound sets the outbound policy. Default: [AllowAny].
func WithOutbound(o Outbound) Option { return func(s *settings) { s.outbound = o } }

// client starts the xDS client that the settings ask for.
func (s *settings) client() (*xds.Client, error) {
	var bootstrap *xds.Bootstrap // nil: the environment's
	var err error
	switch {
	case s.bootstrap != "":
		bootstrap, err = xds.ParseBootstrap(s.bootstrap)
	case len(s.servers) > 0:
		bootstrap, err = xds.BootstrapFor(s.servers...)
	}
	if err != nil {
		return nil, err
	}
	return xds.New(xds.Config{
		Bootstrap: bootstrap,
		Service:   s.service,
		Labels:    s.labels,
		Locality:  s.locality,
		Logger:    s.logger,
		Identity:  s.identity,
	})
}
