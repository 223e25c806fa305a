package telemetry

import (
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
)

// maxSeries bounds how many label sets are remembered; what comes after is
// counted under one set of "other" (the limit of OpenTelemetry's SDK is the same).
const maxSeries = 2000

// labels makes Istio's standard labels and remembers them, since making a set
// costs more than the call.
type labels struct {
	self      Workload
	principal func() string // of self; nil without
	known     sync.Map      // series -> metric.MeasurementOption
	series    atomic.Int32
}

// A series is what tells one label set from another.
type series struct {
	inbound  bool
	service  string   // destination host
	workload Workload // the other side, as far as it is known
	protocol engine.Protocol
	code     int
	status   uint32 // gRPC
	grpc     bool
	flags    string
	secure   uint8  // over mutual TLS or not, as far as it is known
	peer     string // SPIFFE ID of the other side, as it was verified
}

// What is known of the security of a connection.
const (
	unsaid uint8 = iota
	mutual
	plain
)

func (l *labels) outbound(c *engine.Call, out resilience.Outcome, err error) metric.MeasurementOption {
	s := series{service: unknown, protocol: c.Protocol, code: out.Status, status: out.Code, grpc: out.GRPC, flags: "-"}
	if cl := c.Cluster(); cl != nil { // a name that nobody serves must not become a label
		s.service = destination(cl.Name, c.Service())
	}
	if h := c.Host(); h != nil {
		s.workload = workloadOf(h.Endpoint().Labels)
	}
	var both bool
	if s.peer, both = c.Server(); both {
		s.secure = mutual
	}
	if e, ok := errors.AsType[*engine.Error](err); ok {
		if s.code, s.flags = refusal(e); c.Marks().Has(engine.FellBack) {
			s.code = out.Status // what the caller got; the flags say why
		} else if c.Protocol == engine.GRPC {
			s.grpc, s.status = true, statusOf(e.Kind)
		}
	} else if out.Err != nil {
		s.flags = broken(out.Cause)
	}
	s.flags = marked(ended(s.flags, c.End()), c.Marks())
	return l.option(s)
}

// broken is the flag of an answer that had begun and did not come to its end.
func broken(why resilience.Cause) string {
	switch why {
	case resilience.Timeout:
		return "UT"
	case resilience.Canceled:
		return "DC"
	}
	return "UC"
}

// marked adds what was done to the call on purpose (Envoy DI, FI).
func marked(flags string, m engine.Marks) string {
	if m.Has(engine.Delayed) {
		flags = with(flags, "DI")
	}
	if m.Has(engine.Aborted) {
		flags = with(flags, "FI")
	}
	return flags
}

// ended adds why the call was not tried again (Envoy flags a retry that overflows like a call that does).
func ended(flags string, e engine.End) string {
	var more string
	switch e {
	case engine.Exhausted:
		more = "URX"
	case engine.Unfunded:
		more = "UO"
	default:
		return flags
	}
	return with(flags, more)
}

// with adds a flag. None is there twice.
func with(flags, more string) string {
	switch {
	case flags == "-":
		return more
	case slices.Contains(strings.Split(flags, ","), more):
		return flags
	}
	return flags + "," + more
}

func (l *labels) inbound(c *engine.InboundCall, out resilience.Outcome) metric.MeasurementOption {
	s := series{inbound: true, service: l.self.Name, protocol: c.Protocol, code: out.Status, status: out.Code, grpc: out.GRPC, flags: "-"}
	if out.Cause == resilience.Canceled {
		s.flags = "DC"
	}
	if c.Refused != nil {
		if s.flags = refused(c.Refused.Kind); s.flags == "-" && c.Decision() != nil && c.Decision().Answer != nil {
			s.flags = "UAEX" // by a service outside (Envoy)
		}
	}
	switch {
	case c.Peer.Secure():
		s.secure, s.peer = mutual, c.Caller
	case c.Came():
		s.secure = plain
	}
	if c.Delayed() {
		s.flags = with(s.flags, "DI")
	}
	return l.option(s)
}

// refused is how Envoy flags what a server does not take.
func refused(k engine.Kind) string {
	_, flags := refusal(&engine.Error{Kind: k})
	return flags
}

// refusal is what Envoy would have answered and flagged (Envoy response flags).
func refusal(e *engine.Error) (code int, flags string) {
	switch e.Kind {
	case engine.NoService, engine.NoRoute:
		return 404, "NR"
	case engine.NoHost:
		return 503, "UH"
	case engine.Unreachable:
		return 503, "UF"
	case engine.Reset:
		return 503, "UC"
	case engine.Deadline:
		return 504, "UT"
	case engine.Canceled:
		return 0, "DC"
	case engine.Overloaded:
		return 503, "UO"
	case engine.RateLimited:
		return 429, "RL"
	case engine.Injected:
		return 503, "FI"
	case engine.Denied:
		return 403, "-"
	}
	return 0, "-"
}

// statusOf is the gRPC status that a caller gets where the mesh got no answer.
func statusOf(k engine.Kind) uint32 {
	switch k {
	case engine.Canceled:
		return 1 // CANCELLED
	case engine.Deadline:
		return 4 // DEADLINE_EXCEEDED
	case engine.Denied:
		return 7 // PERMISSION_DENIED
	case engine.RateLimited:
		return 8 // RESOURCE_EXHAUSTED
	}
	return 14 // UNAVAILABLE
}

func (l *labels) option(s series) metric.MeasurementOption {
	if o, ok := l.known.Load(s); ok {
		return o.(metric.MeasurementOption)
	}
	if l.series.Add(1) > maxSeries {
		l.series.Add(-1)
		return overflow
	}
	o, _ := l.known.LoadOrStore(s, metric.WithAttributeSet(l.set(s)))
	return o.(metric.MeasurementOption)
}

var overflow = metric.WithAttributeSet(attribute.NewSet(attribute.Bool("otel.metric.overflow", true)))

const unknown = "unknown"

func (l *labels) set(s series) attribute.Set {
	source, dest, reporter := l.self, s.workload, "source"
	security := unknown // callers don't say it (Istio)
	own := ""
	if s.secure == mutual && l.principal != nil {
		own = l.principal()
	}
	from, to := own, s.peer
	if s.inbound {
		source, dest, reporter = Workload{}, l.self, "destination"
		security = [...]string{unknown, "mutual_tls", "none"}[s.secure]
		from, to = s.peer, own
	}
	name, namespace := s.service, dest.Namespace
	if short, rest, ok := strings.Cut(s.service, "."); ok && strings.HasSuffix(rest, ".svc.cluster.local") {
		name, namespace = short, strings.TrimSuffix(rest, ".svc.cluster.local")
	}
	kv := []attribute.KeyValue{
		attribute.String("reporter", reporter),
		attribute.String("destination_service", orUnknown(s.service)),
		attribute.String("destination_service_name", orUnknown(name)),
		attribute.String("destination_service_namespace", orUnknown(namespace)),
		attribute.String("request_protocol", s.protocol.String()),
		attribute.String("response_code", strconv.Itoa(s.responseCode())),
		attribute.String("response_flags", s.flags),
		attribute.String("connection_security_policy", security),
	}
	if s.grpc {
		kv = append(kv, attribute.String("grpc_response_status", strconv.Itoa(int(s.status))))
	}
	kv = append(kv, workload("source", source, from)...)
	kv = append(kv, workload("destination", dest, to)...)
	return attribute.NewSet(kv...)
}

// workloadOf reads what an endpoint's labels say of its workload.
func workloadOf(l map[string]string) Workload {
	w := Workload{Name: l["workload"], Namespace: l["namespace"], App: l["app"], Version: l["version"]}
	if w.Name == "" {
		w.Name = w.App
	}
	return w
}

// responseCode is 200 for every gRPC answer: its status has a label of its own. Who gave up got none.
func (s series) responseCode() int {
	if s.grpc && s.code == 0 && (s.inbound || !strings.HasPrefix(s.flags, "DC")) {
		return 200
	}
	return s.code
}

func workload(side string, w Workload, principal string) []attribute.KeyValue {
	return []attribute.KeyValue{
		attribute.String(side+"_workload", orUnknown(w.Name)),
		attribute.String(side+"_workload_namespace", orUnknown(w.Namespace)),
		attribute.String(side+"_app", orUnknown(w.App)),
		attribute.String(side+"_version", orUnknown(w.Version)),
		attribute.String(side+"_cluster", orUnknown(w.Cluster)),
		attribute.String(side+"_canonical_service", orUnknown(w.App)),
		attribute.String(side+"_canonical_revision", orUnknown(w.Version)),
		attribute.String(side+"_principal", orUnknown(principal)),
	}
}

// destination is the host in a cluster's name ("outbound|80|v1|host"), or the name that was called.
func destination(cluster, called string) string {
	if i := strings.LastIndexByte(cluster, '|'); i >= 0 {
		return cluster[i+1:]
	}
	return called
}

func orUnknown(s string) string {
	if s == "" {
		return unknown
	}
	return s
}
