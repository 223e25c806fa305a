package mesh

import (
	"encoding/json"
	"fmt"
	"html"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"

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
	Control  *xds.Status     `json:"controlPlane,omitempty"`
	Services []serviceBelief `json:"services"`
}

type serviceBelief struct {
	Name   string        `json:"name"`
	Error  string        `json:"error,omitempty"`
	Routes []routeBelief `json:"routes,omitempty"`
	Hosts  []hostBelief  `json:"hosts,omitempty"`
}

type routeBelief struct {
	VirtualHost string   `json:"virtualHost"`
	Name        string   `json:"name,omitempty"`
	To          []string `json:"to"`
}

type hostBelief struct {
	Cluster  string `json:"cluster"`
	Addr     string `json:"addr"`
	Health   string `json:"health"`
	Ejected  bool   `json:"ejected,omitempty"` // by outlier detection, for now
	InFlight int64  `json:"inFlight"`
}

func (m *Mesh) belief() belief {
	b := belief{Service: m.settings.service, Services: []serviceBelief{}}
	if m.xds != nil {
		s := m.xds.Status()
		b.Control = &s
	}
	for _, s := range m.engine.Services() {
		b.Services = append(b.Services, believe(s))
	}
	slices.SortFunc(b.Services, func(a, b serviceBelief) int { return strings.Compare(a.Name, b.Name) })
	return b
}

func believe(s *engine.Service) serviceBelief {
	out := serviceBelief{Name: s.Name()}
	if err := s.Err(); err != nil {
		out.Error = err.Error()
	}
	if v := s.Value(); v != nil {
		for _, vh := range v.VirtualHosts {
			for _, r := range vh.Routes {
				rb := routeBelief{VirtualHost: vh.Name, Name: r.Name}
				for _, t := range r.To {
					rb.To = append(rb.To, fmt.Sprintf("%s (weight %d)", t.Cluster, t.Weight))
				}
				out.Routes = append(out.Routes, rb)
			}
		}
	}
	for _, h := range s.Hosts() {
		hb := hostBelief{Addr: h.Addr(), Health: h.Endpoint().Health.String(), Ejected: h.Ejected(), InFlight: h.InFlight()}
		if h.Cluster != nil {
			hb.Cluster = h.Cluster.Name
		}
		out.Hosts = append(out.Hosts, hb)
	}
	slices.SortFunc(out.Hosts, func(a, b hostBelief) int {
		return strings.Compare(a.Cluster+" "+a.Addr, b.Cluster+" "+b.Addr)
	})
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
	for _, s := range b.Services {
		p(`<h2>%s</h2>`, s.Name)
		if s.Error != "" {
			p(`<p class="bad">%s</p>`, s.Error)
		}
		p(`<table><tr><th>virtual host<th>route<th>to</tr>`)
		for _, r := range s.Routes {
			p(`<tr><td>%s<td>%s<td>%s</tr>`, r.VirtualHost, r.Name, strings.Join(r.To, ", "))
		}
		p(`</table><table><tr><th>cluster<th>host<th>health<th>in flight</tr>`)
		for _, h := range s.Hosts {
			health := h.Health
			if h.Ejected {
				health += ", ejected"
			}
			p(`<tr><td>%s<td>%s<td>%s<td>%s</tr>`, h.Cluster, h.Addr, health, strconv.FormatInt(h.InFlight, 10))
		}
		p(`</table>`)
	}
}
