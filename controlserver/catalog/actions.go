package catalog

import (
	"slices"

	networking "istio.io/api/networking/v1alpha3"
)

// actions checks which of the things that may answer a request a rule has.
func (v *validator) actions(p *path, r *networking.HTTPRoute) {
	given := []string{}
	if len(r.GetRoute()) > 0 {
		given = append(given, "route")
	}
	if r.GetRedirect() != nil {
		given = append(given, "redirect")
	}
	if r.GetDirectResponse() != nil {
		given = append(given, "directResponse")
	}
	if r.GetDelegate() != nil {
		given = append(given, "delegate")
	}
	switch {
	case len(given) == 0:
		v.fail(p, "has no route, redirect, directResponse or delegate")
	case len(given) > 1:
		v.fail(p.field(given[1]), "only one of %s and %s may be given", given[0], given[1])
	case given[0] != "route" && given[0] != "delegate":
		for field, there := range map[string]bool{"fault": r.GetFault() != nil, "rewrite": r.GetRewrite() != nil} {
			if there {
				v.fail(p.field(field), "only one of %s and %s may be given", given[0], field)
			}
		}
	}
	if rw := r.GetRewrite(); rw != nil {
		at := p.field("rewrite")
		if rw.GetUri() == "" && rw.GetUriRegexRewrite() == nil && rw.GetAuthority() == "" {
			v.fail(at, "must set uri, uriRegexRewrite or authority")
		}
		if rw.GetUri() != "" && rw.GetUriRegexRewrite() != nil {
			v.fail(at.field("uriRegexRewrite"), "only one of uri and uriRegexRewrite may be given")
		}
		if rx := rw.GetUriRegexRewrite(); rx != nil {
			if rx.GetMatch() == "" || rx.GetRewrite() == "" {
				v.fail(at.field("uriRegexRewrite"), "needs both match and rewrite")
			}
			v.regex(at.field("uriRegexRewrite").field("match"), rx.GetMatch())
		}
	}
	v.redirect(p.field("redirect"), r.GetRedirect(), r.GetMatch())
	if d := r.GetDirectResponse(); d != nil {
		if d.GetStatus() < 200 || d.GetStatus() > 600 { // as Istio has it
			v.fail(p.field("directResponse").field("status"), "%d is not an HTTP status from 200 on", d.GetStatus())
		}
		if body := d.GetBody(); len(body.GetString_()) > 1<<20 || len(body.GetBytes()) > 1<<20 {
			v.fail(p.field("directResponse").field("body"), "is larger than 1 MiB")
		}
	}
}

func (v *validator) redirect(p *path, r *networking.HTTPRedirect, matches []*networking.HTTPMatchRequest) {
	if r == nil {
		return
	}
	if r.GetPrefixRewrite() != "" {
		if r.GetUri() != "" {
			v.fail(p.field("prefixRewrite"), "only one of uri and prefixRewrite may be given")
		}
		for i, m := range matches {
			if _, ok := m.GetUri().GetMatchType().(*networking.StringMatch_Prefix); m.GetUri() != nil && !ok {
				v.fail(p.field("prefixRewrite"), "needs a prefix to rewrite, and match[%d].uri is none", i)
			}
		}
	}
	if r.GetPort() != 0 {
		v.port(p.field("port"), r.GetPort())
	}
	if r.GetUri() == "" && r.GetAuthority() == "" && r.GetScheme() == "" && r.GetPrefixRewrite() == "" && r.GetRedirectPort() == nil {
		v.fail(p, "must set one of uri, authority, scheme and port")
	}
	if c := r.GetRedirectCode(); c != 0 && (c < 300 || c > 399) {
		v.fail(p.field("redirectCode"), "%d is not a redirect: 300 to 399", c)
	}
	if s := r.GetScheme(); s != "" && s != "http" && s != "https" {
		v.fail(p.field("scheme"), "%q is not http or https", s)
	}
}

// grpcStatuses are the names of gRPC's status codes.
var grpcStatuses = []string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
	"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
	"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}

func (v *validator) fault(p *path, f *networking.HTTPFaultInjection) {
	if f == nil {
		return
	}
	if f.GetDelay() == nil && f.GetAbort() == nil {
		v.fail(p, "must have a delay or an abort")
	}
	if d := f.GetDelay(); d != nil {
		at := p.field("delay")
		v.share(at.field("percentage"), d.GetPercentage())
		v.percent(at.field("percent"), float64(d.GetPercent()))
		v.duration(at.field("fixedDelay"), d.GetFixedDelay())
		if d.GetExponentialDelay() != nil {
			v.fail(at.field("exponentialDelay"), "is not supported; use fixedDelay")
		} else if d.GetFixedDelay() == nil {
			v.warn(at, "has no effect without fixedDelay")
		}
		if d.GetPercentage() == nil && d.GetPercent() == 0 {
			v.warn(at, "no call is delayed without a percentage (Istio)")
		}
	}
	a := f.GetAbort()
	if a == nil {
		return
	}
	at := p.field("abort")
	v.share(at.field("percentage"), a.GetPercentage())
	if a.GetPercentage() == nil {
		v.warn(at, "no call is aborted without a percentage (Istio)")
	}
	switch e := a.GetErrorType().(type) {
	case *networking.HTTPFaultInjection_Abort_HttpStatus:
		if e.HttpStatus < 200 || e.HttpStatus > 599 {
			v.fail(at.field("httpStatus"), "%d is out of range: 200 to 599", e.HttpStatus)
		}
	case *networking.HTTPFaultInjection_Abort_GrpcStatus:
		if !slices.Contains(grpcStatuses, e.GrpcStatus) {
			v.fail(at.field("grpcStatus"), "%q is not the name of a gRPC status, such as UNAVAILABLE", e.GrpcStatus)
		}
	case *networking.HTTPFaultInjection_Abort_Http2Error:
		v.fail(at.field("http2Error"), "is not supported; use httpStatus or grpcStatus")
	default:
		v.warn(at, "has no effect without httpStatus or grpcStatus")
	}
}

func (v *validator) share(p *path, share *networking.Percent) {
	if x := share.GetValue(); x < 0 || x > 100 || x > 0 && x < 0.0001 {
		v.fail(p.field("value"), "%v is neither 0 nor within 0.0001 to 100", x)
	}
}

func (v *validator) mirrors(p *path, r *networking.HTTPRoute) {
	if r.GetMirror() != nil && len(r.GetMirrors()) > 0 {
		v.fail(p.field("mirrors"), "only one of mirror and mirrors may be given")
	}
	if r.GetMirror() != nil {
		v.destination(p.field("mirror"), r.GetMirror())
	}
	v.percent(p.field("mirrorPercentage").field("value"), r.GetMirrorPercentage().GetValue())
	v.percent(p.field("mirrorPercent"), float64(r.GetMirrorPercent().GetValue()))
	for i, m := range r.GetMirrors() {
		at := p.field("mirrors").at(i)
		v.destination(at.field("destination"), m.GetDestination())
		v.percent(at.field("percentage").field("value"), m.GetPercentage().GetValue())
	}
}
