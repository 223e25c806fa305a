package controlserver

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/controlserver/ads"
	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/controlserver/web"
)

// Settled waits until all that sources have reported so far is in use and every
// connected client has answered for it, by taking or refusing what concerns it. What callers are told because a
// server took it is part of that.
func (s *Server) Settled(ctx context.Context) error {
	if err := s.answered(ctx); err != nil {
		return err
	}
	if err := s.registry.Reported(ctx); err != nil {
		return err
	}
	return s.answered(ctx)
}

// answered waits until clients have answered for what sources have reported.
func (s *Server) answered(ctx context.Context) error {
	s.mu.Lock()
	reports := s.reports
	s.mu.Unlock()
	if err := s.await(ctx, func(w state) bool { return w.reports >= reports }); err != nil {
		return err
	}
	return s.ads.Settled(ctx)
}

// Registered waits until a process is registered at the address ("ip:port") and,
// as Settled, every client has answered for that.
func (s *Server) Registered(ctx context.Context, addr string) error {
	if err := s.await(ctx, func(w state) bool { return w.serves(addr) }); err != nil {
		return fmt.Errorf("controlserver: %s is not registered: %w", addr, err)
	}
	return s.Settled(ctx)
}

// Departed waits until no process is registered at the address any more and, as
// Settled, every client has answered for that.
func (s *Server) Departed(ctx context.Context, addr string) error {
	if err := s.await(ctx, func(w state) bool { return !w.serves(addr) }); err != nil {
		return fmt.Errorf("controlserver: %s is still registered: %w", addr, err)
	}
	return s.Settled(ctx)
}

// serves reports whether a service has an endpoint at the address.
func (w state) serves(addr string) bool {
	return w.catalog != nil && slices.ContainsFunc(w.catalog.Services(), func(svc *catalog.Service) bool {
		return slices.ContainsFunc(serviceStatus(svc).Endpoints, func(e web.Endpoint) bool { return e.Addr == addr })
	})
}

// await waits until f holds for what the server works with.
func (s *Server) await(ctx context.Context, f func(state) bool) error {
	for {
		s.mu.Lock()
		worked, news := s.worked, s.news
		s.mu.Unlock()
		if f(worked) {
			return nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Status is what the server knows now.
func (s *Server) Status() web.Status {
	s.mu.Lock()
	w := s.worked
	s.mu.Unlock()
	out := web.Status{
		Started: s.started, Changed: w.changed, Generation: w.generation, Listen: s.Addr(),
		Findings: []web.Finding{}, Switches: []web.Switch{}, Lost: []web.Loss{}, Services: []web.Service{}, Clients: []web.Client{},
	}
	for _, f := range w.findings {
		out.Findings = append(out.Findings, web.Finding{Severity: f.Severity.String(), Text: f.String()})
	}
	if w.catalog != nil {
		out.Switches = append(out.Switches, switches(w.catalog)...)
		for _, l := range w.publisher.Lost() {
			out.Lost = append(out.Lost, web.Loss{Client: l.Dialect.String(), Text: l.String()})
		}
		for _, svc := range w.catalog.Services() {
			out.Services = append(out.Services, serviceStatus(svc))
		}
	}
	if s.ca != nil {
		out.Authority = authorityStatus(s.ca.Status())
	}
	for _, c := range s.ads.Status() {
		out.Clients = append(out.Clients, clientStatus(c))
	}
	return out
}

func authorityStatus(a ca.Status) *web.Authority {
	out := &web.Authority{TrustDomain: a.TrustDomain.Name(), Stage: string(a.Stage), Intermediate: a.Intermediate, Issued: a.Issued, Trouble: a.Trouble, Roots: []web.Root{}}
	for _, r := range a.Roots {
		out.Roots = append(out.Roots, web.Root{Serial: r.Serial, Until: r.NotAfter, Signs: r.Signs})
	}
	return out
}

// switches are the policies that turn others off.
func switches(c *catalog.Catalog) (out []web.Switch) {
	for _, o := range c.Objects() {
		if o.Traffic == nil || len(o.Traffic.Disable) == 0 {
			continue
		}
		s := web.Switch{For: holdsFor(c, o), At: o.Key().String() + " at " + o.At("spec.disable").String()}
		for _, kind := range o.Traffic.Disable {
			s.Kinds = append(s.Kinds, string(kind))
		}
		out = append(out, s)
	}
	return out
}

// holdsFor says what a TrafficPolicy holds for.
func holdsFor(c *catalog.Catalog, o *catalog.Object) string {
	t, f := o.Traffic.Target, o.Traffic.From
	text := "everything in namespace " + o.Namespace
	if o.Namespace == c.Mesh().RootNamespace {
		text = "the whole mesh"
	}
	if t != nil {
		text = c.Expand(o.Namespace, t.Service)
		if t.Port != 0 {
			text += fmt.Sprintf(", port %d", t.Port)
		}
		if t.Route != "" {
			text += ", route " + t.Route
		}
	}
	if f == nil {
		return text
	}
	text += ", to callers"
	if f.Namespace != "" {
		text += " of namespace " + f.Namespace
	}
	if f.ServiceAccount != "" {
		text += " of service account " + f.ServiceAccount
	}
	var labels []string
	for _, k := range slices.Sorted(maps.Keys(f.Labels)) {
		labels = append(labels, " with the label "+k+"="+f.Labels[k])
	}
	return text + strings.Join(labels, "")
}

func serviceStatus(s *catalog.Service) web.Service {
	out := web.Service{Host: s.Host, Ports: []string{}, Endpoints: []web.Endpoint{}}
	seen := map[string]bool{}
	for _, p := range s.Ports {
		out.Ports = append(out.Ports, fmt.Sprintf("%d/%s", p.Number, cmp.Or(p.Protocol, "any")))
		for _, e := range s.Endpoints(p.Number) {
			addr := net.JoinHostPort(e.Address, strconv.FormatUint(uint64(e.Port), 10))
			if !seen[addr] {
				seen[addr] = true
				out.Endpoints = append(out.Endpoints, web.Endpoint{Addr: addr, Health: e.Health.String(), Labels: e.Labels})
			}
		}
	}
	return out
}

func clientStatus(c ads.ClientStatus) web.Client {
	out := web.Client{
		ID: c.Node, Identity: c.Identity, Service: c.Service, Namespace: c.Namespace, Peer: c.Address.String(),
		Protocol: c.Protocol.String(), Since: c.Since,
	}
	for _, t := range c.Types {
		r := web.Resource{Type: shortType(t.TypeURL), Subscribed: t.Subscribed, Sent: t.Sent, Acked: t.Acked}
		if t.Wildcard {
			r.Subscribed = t.Held
		}
		var refused []string
		for _, f := range t.Refused {
			refused = append(refused, fmt.Sprintf("%s: %s", f.Resource, f.Error))
		}
		r.Refused = strings.Join(refused, "; ")
		out.Resources = append(out.Resources, r)
	}
	return out
}

// shortType is the last word of a type's address: "Listener".
func shortType(url string) string { return url[strings.LastIndexByte(url, '.')+1:] }
