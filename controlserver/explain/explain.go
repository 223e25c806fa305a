// Package explain answers, from the configuration alone, where a request would
// go and why the other routes do not take it.
package explain

import (
	"cmp"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/weftmesh/weft/controlserver/publish"
	"github.com/weftmesh/weft/resolver"
)

// A Request is what is asked about.
type Request struct {
	Method string // "GET" when empty; "POST" for gRPC
	URL    *url.URL
	Header http.Header
	Caller Caller
}

// An Answer says what would become of a request.
type Answer struct {
	Service string
	Skipped []publish.Skipped // what the caller is not told of
	Routes  []Verdict         // in the order in which they are tried
	Taken   *publish.Route
	Targets []Target
	Limits  Limits

	beyond map[publish.Dialect][]publish.Loss // of the route
}

// A Verdict is one route and why it does not take the request; Against is empty for the one that does.
type Verdict struct {
	Route   publish.Route
	Against []string
	// Unreached says that an earlier route took the request.
	Unreached bool
}

// A Target is a cluster the route leads to.
type Target struct {
	Name    string
	Share   float64 // of the route's calls, 0 to 1
	Missing bool    // no such cluster: a host, port or subset that does not exist
	Cluster publish.Cluster
	// Serving is what its servers are told, if they are the mesh's library's.
	Serving publish.Serving
	// Access says who of its servers takes the request.
	Access []Access
}

// Explain asks what a client's view holds for a request. The error says that
// there is no such service.
func Explain(v *publish.View, r Request) (*Answer, error) {
	s, err := v.Service(r.URL.Host)
	if err != nil {
		return nil, err
	}
	a := &Answer{Service: s.Name, Skipped: v.Skipped(r.URL.Host), Limits: Limits{}, beyond: map[publish.Dialect][]publish.Loss{}}
	for _, l := range v.SharedLimits() {
		a.Limits[l.Name] = l
	}
	req := request(r)
	for _, route := range v.Routes(r.URL.Host) {
		verdict := Verdict{Route: route, Unreached: a.Taken != nil}
		if a.Taken == nil {
			if verdict.Against, err = against(route.Match, req); err != nil {
				return nil, err
			}
			if len(verdict.Against) == 0 {
				a.Taken = &route
				if a.Targets, err = targets(v, s, route.Route, r); err != nil {
					return nil, err
				}
				for d := range callers {
					a.beyond[d] = v.Beyond(d, route)
				}
			}
		}
		a.Routes = append(a.Routes, verdict)
	}
	return a, nil
}

func request(r Request) *resolver.Request {
	method := r.Method
	if method == "" {
		method = http.MethodGet
	}
	path := r.URL.EscapedPath()
	if path == "" {
		path = "/"
	}
	return &resolver.Request{
		Authority: r.URL.Host, Scheme: "http", Method: method, Path: path,
		Query: r.URL.RawQuery, Header: header(r.Header),
	}
}

type header http.Header

func (h header) Values(n resolver.HeaderName) []string { return h[n.Canonical] }

// against lists the conditions of a match that do not hold. Each is tried alone,
// by the very code that serves calls.
func against(m resolver.Match, req *resolver.Request) ([]string, error) {
	var out []string
	try := func(one resolver.Match, text string) error {
		route := resolver.Route{Match: one, To: []resolver.Target{{Cluster: "x", Weight: 1}}}
		t, err := resolver.NewTable(&resolver.Service{
			VirtualHosts: []resolver.VirtualHost{{Name: "explain", Domains: []string{"*"}, Routes: []resolver.Route{route}}},
		})
		if err == nil && t.Match(req) < 0 {
			out = append(out, text)
		}
		return err
	}
	if err := try(resolver.Match{Path: m.Path}, fmt.Sprintf("path %s is not %s", req.Path, Path(m.Path))); err != nil {
		return nil, err
	}
	for _, h := range m.Headers {
		if err := try(resolver.Match{Headers: []resolver.HeaderMatch{h}}, Header(h)+" does not hold"); err != nil {
			return nil, err
		}
	}
	for _, q := range m.Query {
		if err := try(resolver.Match{Query: []resolver.QueryMatch{q}}, "query "+q.Name+" "+text(q.Is)+" does not hold"); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func targets(v *publish.View, s *resolver.Service, r resolver.Route, req Request) ([]Target, error) {
	var total float64
	for _, t := range r.To {
		total += float64(t.Weight)
	}
	var out []Target
	for _, t := range r.To {
		one := Target{Name: t.Cluster, Share: 1, Missing: true}
		if known, ok := s.Clusters[t.Cluster]; ok {
			one.Missing = false
			one.Cluster, _ = v.Configured(t.Cluster)
			one.Cluster.Endpoints = known.Endpoints
			one.Serving = v.Serving(t.Cluster)
			var err error
			if one.Access, err = access(v, &one, req); err != nil {
				return nil, err
			}
		}
		if len(r.To) > 1 && total > 0 {
			one.Share = float64(t.Weight) / total
		}
		out = append(out, one)
	}
	return out, nil
}

// Print writes the answer for a person.
func (a *Answer) Print(w io.Writer) {
	for _, s := range a.Skipped {
		fmt.Fprintf(w, "  route %s: no: %s\n", cmp.Or(s.Route, "without a name"), s.Why)
	}
	for i, v := range a.Routes {
		name := cmp.Or(v.Route.Name, fmt.Sprintf("#%d", i+1))
		switch {
		case v.Unreached:
			fmt.Fprintf(w, "  route %s: not reached\n", name)
		case len(v.Against) > 0:
			fmt.Fprintf(w, "  route %s: no: %s\n", name, strings.Join(v.Against, "; "))
		default:
			fmt.Fprintf(w, "> route %s: yes: %s\n", name, Match(v.Route.Match))
		}
	}
	if a.Taken == nil {
		fmt.Fprintf(w, "no route of %s takes the request: the caller gets an error (HTTP 404, gRPC UNAVAILABLE)\n", a.Service)
		return
	}
	if a.Taken.Unsupported != "" {
		fmt.Fprintf(w, "  calls fail: %s\n", a.Taken.Unsupported)
	}
	printLines(w, "  ", Route(*a.Taken, a.Limits))
	for _, t := range a.Targets {
		t.print(w, a.Limits)
	}
	a.printLost(w)
}

func printLines(w io.Writer, indent string, lines []Line) {
	for _, l := range lines {
		fmt.Fprintf(w, "%s%s\n", indent, l)
	}
}

// printLost writes what is configured of all that and other clients can't do.
func (a *Answer) printLost(w io.Writer) {
	for _, d := range []publish.Dialect{publish.Envoy, publish.GRPCLeast} {
		lost := a.beyond[d]
		for _, t := range a.Targets {
			lost = append(lost, t.Cluster.Lost(d)...)
		}
		said := map[publish.Loss]bool{}
		for _, l := range lost {
			if len(said) == 0 {
				fmt.Fprintf(w, "  lost where the caller is %s:\n", callers[d])
			}
			if !said[l] {
				fmt.Fprintf(w, "    %s: %s%s\n", l.Part, l.What, from(l.Origin))
			}
			said[l] = true
		}
	}
}

var callers = map[publish.Dialect]string{publish.Envoy: "a proxy (Envoy)", publish.GRPCLeast: "gRPC's own client"}

func (t Target) print(w io.Writer, limits Limits) {
	fmt.Fprintf(w, "  cluster %s: %.4g %%, ", t.Name, 100*t.Share)
	kind, hosts := t.Cluster.Balance.Kind, t.Cluster.Endpoints
	switch {
	case t.Missing:
		fmt.Fprintln(w, "does not exist (no such host, port or subset): its calls fail")
		return
	case len(hosts) == 0:
		fmt.Fprintf(w, "%s, no endpoints: its calls fail unless processes register\n", kind)
	case len(hosts) == 1:
		fmt.Fprintf(w, "%s, 1 endpoint\n", kind)
	default:
		fmt.Fprintf(w, "%s, %d endpoints\n", kind, len(hosts))
	}
	printLines(w, "    ", Cluster(t.Cluster))
	for _, h := range hosts {
		fmt.Fprintf(w, "    %s\n", Endpoint(h))
	}
	for i := range t.Access {
		t.Access[i].print(w, "    ")
	}
	if demands := Serving(t.Serving, limits); len(demands) > 0 {
		fmt.Fprintln(w, "    its servers, as far as they are the mesh's library's:")
		printLines(w, "      ", demands)
	}
}
