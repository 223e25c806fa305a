// Package web shows what a control server knows: a page for people at "/", the
// same as JSON at "/status", and "/healthz".
package web

import (
	"encoding/json"
	"html/template"
	"net/http"
	"time"
)

// A Status is what a control server knows, at one moment.
type Status struct {
	Started    time.Time `json:"started"`
	Changed    time.Time `json:"changed"`    // when the configuration last changed
	Generation uint64    `json:"generation"` // how many configurations there were
	Listen     string    `json:"listen"`     // where clients connect to
	// Authority is that of the trust domain; nil where clients are not authenticated.
	Authority *Authority `json:"authority"`
	// Findings are about the newest configuration; the last good version of what they refuse is in use.
	Findings []Finding `json:"findings"`
	// Switches are the kinds of policy that are turned off.
	Switches []Switch `json:"switches"`
	// Lost is what connected clients can't do of what they asked for.
	Lost     []Loss    `json:"lost"`
	Services []Service `json:"services"`
	Clients  []Client  `json:"clients"`
}

// An Authority is how the CA stands.
type Authority struct {
	TrustDomain  string    `json:"trustDomain"`
	Stage        string    `json:"stage"` // of the root's rotation: "steady", "announced" or "switched"
	Roots        []Root    `json:"roots"`
	Intermediate time.Time `json:"intermediate"`      // when it ends
	Issued       uint64    `json:"issued"`            // certificates since the start
	Trouble      string    `json:"trouble,omitempty"` // what needs attention
}

// A Root is one that is believed.
type Root struct {
	Serial string    `json:"serial"`
	Until  time.Time `json:"until"`
	Signs  bool      `json:"signs"`
}

// A Finding is something wrong with the configuration.
type Finding struct {
	Severity string `json:"severity"` // "error" or "warning"
	Text     string `json:"text"`     // file:line: Kind/namespace/name: field: what
}

// A Switch is a policy that turns others off.
type Switch struct {
	Kinds []string `json:"kinds"` // "retries"
	For   string   `json:"for"`   // what it holds for, in words
	At    string   `json:"at"`    // Kind/namespace/name at file:line
}

// A Loss is something configured that a kind of client can't do.
type Loss struct {
	Client string `json:"client"` // "grpc", "envoy"
	Text   string `json:"text"`   // file:line: Kind/namespace/name: field: what
}

// A Service is a name that can be called.
type Service struct {
	Host      string     `json:"host"`
	Ports     []string   `json:"ports"` // "8080/HTTP"
	Endpoints []Endpoint `json:"endpoints"`
}

// An Endpoint is a workload of a service.
type Endpoint struct {
	Addr   string            `json:"addr"`
	Health string            `json:"health"`
	Labels map[string]string `json:"labels,omitempty"`
}

// A Client is a connected process.
type Client struct {
	ID        string     `json:"id"`
	Service   string     `json:"service,omitempty"`
	Namespace string     `json:"namespace,omitempty"`
	Identity  string     `json:"identity,omitempty"` // SPIFFE ID that it has proved
	Peer      string     `json:"peer"`
	Protocol  string     `json:"protocol"` // "delta" or "sotw"
	Since     time.Time  `json:"since"`
	Resources []Resource `json:"resources"`
}

// A Resource is what a client has of a type.
type Resource struct {
	Type       string `json:"type"` // "Listener"
	Subscribed int    `json:"subscribed"`
	Sent       string `json:"sent,omitempty"`  // version
	Acked      string `json:"acked,omitempty"` // version
	Refused    string `json:"refused,omitempty"`
}

// Handler serves what status returns.
func Handler(status func() Status) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /status", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		enc := json.NewEncoder(w)
		enc.SetIndent("", "  ")
		_ = enc.Encode(status()) // the reader went away, if anything
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		_ = page.Execute(w, status()) // the reader went away, if anything
	})
	return mux
}

var page = template.Must(template.New("status").Parse(`<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>weft control server</title>
<meta name="viewport" content="width=device-width"><meta http-equiv="refresh" content="5">
<style>
:root{--text:#222;--dim:#767676;--line:#ddd;--back:#fff;--error:#b00020;--warning:#8a5a00;--link:#0b57d0}
@media(prefers-color-scheme:dark){:root{--text:#ddd;--dim:#999;--line:#333;--back:#151515;--error:#ff7b8a;--warning:#e0b050;--link:#8ab4f8}}
body{font:15px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:70rem;padding:0 1rem;color:var(--text);background:var(--back)}
h1{font-size:1.4rem}h2{font-size:1.1rem;margin:2rem 0 .3rem}h2 small,.dim,th{color:var(--dim);font-weight:normal}a{color:var(--link)}
section{overflow-x:auto}table{border-collapse:collapse;width:100%}
td,th{text-align:left;padding:.3rem 1rem .3rem 0;border-bottom:1px solid var(--line);vertical-align:top;font-variant-numeric:tabular-nums}
code{font-size:.9em;white-space:nowrap}td>code:only-child{white-space:normal}.error{color:var(--error)}.warning{color:var(--warning)}
</style></head><body>
<h1>weft control server</h1>
<p>Serving on <code>{{.Listen}}</code> since {{.Started.Format "2006-01-02 15:04:05 MST"}}. Configuration {{.Generation}}, changed {{.Changed.Format "2006-01-02 15:04:05 MST"}}. <a href="/status">JSON</a></p>
{{with .Authority}}<p>Trust domain <code>{{.TrustDomain}}</code>: {{.Issued}} certificates since the start, root {{.Stage}}{{range .Roots}}, <code>{{.Serial}}</code>{{if .Signs}} (signs){{end}} until {{.Until.Format "2006-01-02"}}{{end}}.</p>
{{if .Trouble}}<p class="error">{{.Trouble}}</p>{{end}}{{else}}<p class="warning">Clients are not authenticated: whoever reaches this address sees all configuration and can register as any service.</p>
{{end}}<h2>Findings <small>{{len .Findings}}</small></h2>
{{if .Findings}}<section><table>{{range .Findings}}<tr><td class="{{.Severity}}">{{.Severity}}<td><code>{{.Text}}</code></tr>{{end}}</table></section>
<p class="dim">Of what has an error, the last good version stays in use.</p>
{{else}}<p class="dim">None: all of the configuration is in use.</p>{{end}}
{{if .Switches}}<h2>Turned off <small>{{len .Switches}}</small></h2>
<section><table><tr><th>Policies<th>For<th>By</tr>
{{range .Switches}}<tr><td class="warning">{{range $i, $k := .Kinds}}{{if $i}}, {{end}}{{$k}}{{end}}<td>{{.For}}<td><code>{{.At}}</code></tr>{{end}}</table></section>
{{end}}{{if .Lost}}<h2>Beyond some clients <small>{{len .Lost}}</small></h2>
<section><table><tr><th>Clients<th>Cannot do</tr>{{range .Lost}}<tr><td>{{.Client}}<td><code>{{.Text}}</code></tr>{{end}}</table></section>
<p class="dim">Clients of these kinds have asked for it, and do without.</p>
{{end}}<h2>Services <small>{{len .Services}}</small></h2>
{{if .Services}}<section><table><tr><th>Name<th>Ports<th>Endpoints</tr>
{{range .Services}}<tr><td>{{.Host}}<td>{{range .Ports}}{{.}} {{end}}<td>{{range .Endpoints}}<div><code>{{.Addr}}</code>{{if and (ne .Health "UNKNOWN") (ne .Health "HEALTHY")}} <span class="warning">{{.Health}}</span>{{end}} <span class="dim">{{range $k, $v := .Labels}}{{$k}}={{$v}} {{end}}</span></div>{{else}}<span class="warning">none</span>{{end}}</tr>{{end}}</table></section>
{{else}}<p class="dim">None.</p>{{end}}
<h2>Clients <small>{{len .Clients}}</small></h2>
{{if .Clients}}<section><table><tr><th>Service<th>Identity or node<th>Address<th>Protocol<th>Since<th>Has taken</tr>
{{range .Clients}}<tr><td>{{if .Service}}{{.Service}}.{{.Namespace}}{{else}}<span class="dim">only calls</span>{{end}}<td class="dim"><code>{{or .Identity .ID}}</code><td><code>{{.Peer}}</code><td>{{.Protocol}}<td>{{.Since.Format "15:04:05"}}<td>{{range .Resources}}<div>{{.Subscribed}} {{.Type}}{{if .Refused}} <span class="error">refused: {{.Refused}}</span>{{else if ne .Sent .Acked}} <span class="warning">not yet</span>{{end}}</div>{{end}}</tr>{{end}}</table></section>
{{else}}<p class="dim">None.</p>{{end}}
</body></html>
`))
