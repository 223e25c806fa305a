package main

import (
	"encoding/json"
	"html/template"
	"net/http"
	"strings"

	"github.com/weftmesh/weft/mesh"
)

// storefront is what customers speak to: a page for a browser, JSON for curl.
type storefront struct {
	mux    *http.ServeMux
	client *http.Client
}

func newStorefront(m *mesh.Mesh) *storefront {
	s := &storefront{mux: http.NewServeMux(), client: &http.Client{Transport: m.RoundTripper()}}
	s.mux.HandleFunc("GET /{$}", s.home)
	s.mux.HandleFunc("/buy", s.buy)
	return s
}

func (s *storefront) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

func (s *storefront) home(w http.ResponseWriter, r *http.Request) {
	page.Execute(w, nil) // the customer went away, if anything
}

func (s *storefront) buy(w http.ResponseWriter, r *http.Request) {
	tester := r.Header.Get("X-Tester")
	if r.FormValue("tester") != "" {
		tester = "yes"
	}
	order := r.FormValue("order")
	if order == "" {
		order = "1"
	}
	h, body, err := get(r.Context(), s.client, "http://orders/orders?order="+order, "orders", tester)
	out := receipt{Order: order}
	if len(body) > 0 {
		json.Unmarshal(body, &out) // what is not a receipt has no hops
	}
	out.Hops = append([]hop{h}, out.Hops...)
	if err != nil {
		if out.Error == "" {
			out.Error = err.Error()
		}
		w.WriteHeader(http.StatusBadGateway)
	}
	if strings.Contains(r.Header.Get("Accept"), "text/html") {
		page.Execute(w, out)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(out)
}

var page = template.Must(template.New("shop").Parse(`<!doctype html><html lang="en"><meta charset="utf-8">
<title>The weft shop</title><style>body{font:16px/1.5 system-ui,sans-serif;margin:3rem auto;max-width:40rem;padding:0 1rem}
td,th{text-align:left;padding:.2rem 1rem .2rem 0}.bad{color:#b00020}</style>
<h1>The weft shop</h1>
<form action="/buy"><p><button>Buy a loom, 19.99</button> <label><input type="checkbox" name="tester" value="1"> as a tester</label></p></form>
{{with .}}{{if .Error}}<p class="bad">That did not work: {{.Error}}</p>{{else}}<p>Thank you. Receipt {{.Receipt}}.</p>{{end}}
<table><tr><th>service<th>version<th>instance<th>ms</tr>
{{range .Hops}}<tr{{if .Error}} class="bad"{{end}}><td>{{.Service}}<td>{{.Version}}<td>{{.Instance}}<td>{{printf "%.1f" .Millis}}</tr>{{end}}</table>{{end}}</html>
`))
