package mesh

import (
	"cmp"
	"encoding/json"
	"fmt"
	"html"
	"io"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resolver/xds"
)

// DebugHandler shows what this process believes right now: its services, routes,
// hosts and what the control server said; a page, or JSON for ?format=json or
// "Accept: application/json". It shows addresses and labels: do not serve it to strangers.
func (m *Mesh) DebugHandler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b := m.belief()
		if r.URL.Query().Get("format") == "json" || strings.Contains(r.Header.Get("Accept"), "application/json") {
			w.Header().Set("Content-Type", "application/json")
			enc := json.NewEncoder(w)
			enc.SetIndent("", "  ")
			enc.Encode(b) // the reader went away, if anything
			return
		}
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		b.page(w)
	})
}

// A belief is what the process goes by.
type belief struct {
	Service  string          `json:"service,omitempty"`
	Identity *identityBelief `json:"identity,omitempty"`
	Control  *xds.Status     `json:"controlPlane,omitempty"`
	Services []serviceBelief `json:"services"`
	Inbounds []inboundBelief `json:"inbounds,omitempty"`
}

type serviceBelief struct {
	Name     string          `json:"name"`
	Error    string          `json:"error,omitempty"`
	Routes   []routeBelief   `json:"routes,omitempty"`
	Clusters []clusterBelief `json:"clusters,omitempty"`
	Hosts    []hostBelief    `json:"hosts,omitempty"`
}

type routeBelief struct {
	VirtualHost string   `json:"virtualHost"`
	Name        string   `json:"name,omitempty"`
	To          []string `json:"to"`
	Off         string   `json:"off,omitempty"` // the kinds of policy that are turned off
}

type clusterBelief struct {
	Name     string        `json:"name"`
	Off      string        `json:"off,omitempty"`
	Breaker  string        `json:"breaker,omitempty"`
	Refusing float64       `json:"refusing,omitempty"` // share of calls that admission control refuses
	Calls    int64         `json:"calls"`
	InUse    []usageBelief `json:"inUse"` // by priority
}

type usageBelief struct {
	Connections    int64  `json:"connections"`
	MaxConnections uint32 `json:"maxConnections"`
	Pending        int64  `json:"pending"`
	MaxPending     uint32 `json:"maxPending"`
	Requests       int64  `json:"requests"`
	MaxRequests    uint32 `json:"maxRequests"`
	Retries        int64  `json:"retries"`
}

type hostBelief struct {
	Cluster   string `json:"cluster"`
	Addr      string `json:"addr"`
	Health    string `json:"health"`
	Ejected   bool   `json:"ejected,omitempty"` // by outlier detection, for now
	Ejections uint64 `json:"ejections,omitempty"`
	Breaker   string `json:"breaker,omitempty"`
	InFlight  int64  `json:"inFlight"`
}

type inboundBelief struct {
	Port       int               `json:"port"`
	Off        string            `json:"off,omitempty"`
	Limit      uint32            `json:"limit,omitempty"`
	InFlight   int64             `json:"inFlight"`
	Queued     int               `json:"queued,omitempty"`
	Overloaded bool              `json:"overloaded,omitempty"`
	Refused    map[string]uint64 `json:"refused,omitempty"` // calls, by why
	doorBelief
}

func (m *Mesh) belief() belief {
	b := belief{Service: m.settings.service, Services: []serviceBelief{}, Identity: m.believeIdentity()}
	if m.xds != nil {
		s := m.xds.Status()
		b.Control = &s
	}
	for _, s := range m.engine.Services() {
		b.Services = append(b.Services, believe(s))
	}
	slices.SortFunc(b.Services, func(a, b serviceBelief) int { return strings.Compare(a.Name, b.Name) })
	for port, in := range m.engine.Inbounds() {
		b.Inbounds = append(b.Inbounds, believeInbound(port, in))
	}
	slices.SortFunc(b.Inbounds, func(a, b inboundBelief) int { return cmp.Compare(a.Port, b.Port) })
	return b
}

func believeInbound(port int, in *engine.Inbound) inboundBelief {
	s := in.State()
	out := inboundBelief{Port: port, Limit: s.Limit, InFlight: s.InFlight, Queued: s.Queued, Overloaded: s.Overloaded, doorBelief: believeDoor(s)}
	if v := in.Value(); v != nil {
		out.Off = v.Serving.Off.String()
		out.Policies = policiesOf(&v.Guard)
	}
	for kind, n := range s.Refused {
		if out.Refused == nil {
			out.Refused = map[string]uint64{}
		}
		out.Refused[kind.String()] = n
	}
	return out
}

func believe(s *engine.Service) serviceBelief {
	out := serviceBelief{Name: s.Name()}
	if err := s.Err(); err != nil {
		out.Error = err.Error()
	}
	if v := s.Value(); v != nil {
		for _, vh := range v.VirtualHosts {
			for _, r := range vh.Routes {
				rb := routeBelief{VirtualHost: vh.Name, Name: r.Name, Off: r.Policy.Off.String()}
				for _, t := range r.To {
					rb.To = append(rb.To, fmt.Sprintf("%s (weight %d)", t.Cluster, t.Weight))
				}
				out.Routes = append(out.Routes, rb)
			}
		}
	}
	breakers := map[string]string{}
	for _, c := range s.Clusters() {
		out.Clusters = append(out.Clusters, believeCluster(c))
		for _, h := range c.Hosts {
			breakers[c.Name+" "+h.Addr] = h.Breaker
		}
	}
	for _, h := range s.Hosts() {
		hb := hostBelief{Addr: h.Addr(), Health: h.Endpoint().Health.String(), Ejected: h.Ejected(), Ejections: h.Ejections(), InFlight: h.InFlight()}
		if h.Cluster != nil {
			hb.Cluster = h.Cluster.Name
			hb.Breaker = breakers[hb.Cluster+" "+hb.Addr]
		}
		out.Hosts = append(out.Hosts, hb)
	}
	slices.SortFunc(out.Hosts, func(a, b hostBelief) int {
		return strings.Compare(a.Cluster+" "+a.Addr, b.Cluster+" "+b.Addr)
	})
	return out
}

func believeCluster(c engine.ClusterState) clusterBelief {
	out := clusterBelief{Name: c.Name, Off: c.Off.String(), Breaker: c.Breaker, Refusing: c.Refusing, Calls: c.Calls}
	for _, u := range c.InUse {
		out.InUse = append(out.InUse, usageBelief{
			u.Connections, u.Limits.MaxConnections, u.Pending, u.Limits.MaxPending, u.Requests, u.Limits.MaxRequests, u.Retries,
		})
	}
	return out
}

// page writes plain HTML. It does not use html/template: an importer's binary
// should not grow by a template engine for one page.
func (b belief) page(w io.Writer) {
	p := func(format string, args ...any) {
		for i, a := range args {
			args[i] = html.EscapeString(fmt.Sprint(a))
		}
		fmt.Fprintf(w, format, args...)
	}
	p(`<!doctype html><meta charset="utf-8"><title>weft</title><style>
body{font:14px system-ui,sans-serif;margin:2em;max-width:70em}table{border-collapse:collapse;margin:.5em 0 1.5em}
td,th{border-bottom:1px solid #ddd;padding:.25em .8em .25em 0;text-align:left;font-variant-numeric:tabular-nums}.bad{color:#b00}</style>
<h1>weft: %s</h1>`, b.Service)
	if c := b.Control; c != nil {
		p(`<p>Control server %s, %s. <a href="?format=json">JSON</a></p>`, c.Server, c.State)
	}
	if i := b.Identity; i != nil {
		p(`<p>%s, until %s <span class="bad">%s</span></p>`, i.ID, i.Expires.Format(time.RFC3339), i.Error)
	}
	for _, s := range b.Services {
		p(`<h2>%s</h2>`, s.Name)
		if s.Error != "" {
			p(`<p class="bad">%s</p>`, s.Error)
		}
		p(`<table><tr><th>virtual host<th>route<th>to<th>turned off</tr>`)
		for _, r := range s.Routes {
			p(`<tr><td>%v<td>%v<td>%v<td class="bad">%s</tr>`, r.VirtualHost, r.Name, strings.Join(r.To, ", "), r.Off)
		}
		p(`</table><table><tr><th>cluster<th>calls<th>requests<th>connections<th>waiting<th>breaker<th>refused<th>turned off</tr>`)
		for _, c := range s.Clusters {
			u := c.InUse[0]
			p(`<tr><td>%v<td>%v<td>%v of %v<td>%v of %v<td>%v of %v<td>%v<td>%v<td class="bad">%s</tr>`, c.Name, c.Calls, u.Requests, u.MaxRequests,
				u.Connections, u.MaxConnections, u.Pending, u.MaxPending, c.Breaker, fmt.Sprintf("%.0f %%", 100*c.Refusing), c.Off)
		}
		p(`</table><table><tr><th>cluster<th>host<th>health<th>ejections<th>breaker<th>in flight</tr>`)
		for _, h := range s.Hosts {
			health := h.Health
			if h.Ejected {
				health += ", ejected"
			}
			p(`<tr><td>%v<td>%v<td>%v<td>%v<td>%v<td>%v</tr>`, h.Cluster, h.Addr, health, h.Ejections, h.Breaker, h.InFlight)
		}
		p(`</table>`)
	}
	if len(b.Inbounds) == 0 {
		return
	}
	p(`<h2>Served here</h2><table><tr><th>port<th>in flight<th>at most<th>queued<th>refused<th>turned off<th>connections<th>turned away<th>plaintext of<th>policies</tr>`)
	for _, in := range b.Inbounds {
		limit := "any number"
		if in.Limit > 0 {
			limit = strconv.FormatUint(uint64(in.Limit), 10)
		}
		var plain []string
		for _, peer := range in.Plaintext {
			plain = append(plain, peer.Addr)
		}
		p(`<tr><td>%v<td>%v<td>%v<td>%v<td>%v<td class="bad">%s<td>%s <span class="bad">%s</span><td>%s<td class="bad">%s<td>%s</tr>`,
			in.Port, in.InFlight, limit, in.Queued, counted(in.Refused), in.Off, in.Mode, in.Closed, counted(in.Turned),
			strings.Join(plain, ", "), strings.Join(in.Policies, ", "))
	}
	p(`</table>`)
}

// counted says how many of each there are.
func counted(n map[string]uint64) string {
	var out []string
	for _, what := range slices.Sorted(maps.Keys(n)) {
		out = append(out, fmt.Sprintf("%d %s", n[what], what))
	}
	return strings.Join(out, ", ")
}
