package catalog

import (
	"net/http"
	"slices"
	"time"

	networking "istio.io/api/networking/v1alpha3"
)

// corsMethods are those that a CorsPolicy may name (Istio).
var corsMethods = []string{
	http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodConnect, http.MethodOptions,
	http.MethodTrace, "*",
}

func (v *validator) cors(p *path, c *networking.CorsPolicy) {
	if c == nil {
		return
	}
	for i, o := range c.GetAllowOrigins() {
		at := p.field("allowOrigins").at(i)
		if o.GetExact()+o.GetPrefix()+o.GetRegex() == "" {
			v.fail(at, "names no origin")
		}
		v.stringMatch(at, o)
	}
	for i, m := range c.GetAllowMethods() {
		if !slices.Contains(corsMethods, m) {
			v.fail(p.field("allowMethods").at(i), "%q is not an HTTP method", m)
		}
	}
	for field, names := range map[string][]string{"allowHeaders": c.GetAllowHeaders(), "exposeHeaders": c.GetExposeHeaders()} {
		for i, name := range names {
			if !headerName.MatchString(name) { // "*" is one
				v.fail(p.field(field).at(i), "%q is not the name of a header", name)
			}
		}
	}
	if age := c.GetMaxAge(); age != nil && (age.GetNanos() != 0 || age.AsDuration() < time.Second) {
		v.fail(p.field("maxAge"), "must be whole seconds")
	}
}
