package identity

import (
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/match"
)

// overrides are headers by which a request of one method asks handlers to be taken for another.
var overrides = [...]match.HeaderName{
	match.Named("x-http-method-override"), match.Named("x_http_method_override"), match.Named("x-http-method"), match.Named("x-method-override"),
}

// verbsOf are the methods that a request can be taken for besides its own: that in capitals, and what headers say. There are none of most requests,
// and none of gRPC.
func verbsOf(r *Request) (verbs []string) {
	if r.GRPC {
		return nil
	}
	if upper := strings.ToUpper(r.Method); upper != r.Method {
		verbs = append(verbs, upper)
	}
	if r.Header == nil {
		return verbs
	}
	for i := range overrides {
		for _, line := range r.Header.Values(overrides[i]) {
			for verb := range strings.SplitSeq(line, ",") {
				if verb = strings.ToUpper(strings.Trim(verb, " \t\"")); verb != "" {
					verbs = append(verbs, verb)
				}
			}
		}
	}
	return verbs
}

// onMethod: perhaps it is any of the methods that it can be taken for, surely all of them.
func (h *headerTest) onMethod(s *sight, perhaps bool) bool {
	holds := h.is.Matches(s.r.Method)
	switch {
	case holds == perhaps || len(s.verbs) == 0:
		return holds
	case len(s.verbs) > mostReadings:
		return perhaps
	case perhaps:
		return slices.ContainsFunc(s.verbs, h.is.Matches)
	}
	return !slices.ContainsFunc(s.verbs, func(verb string) bool { return !h.is.Matches(verb) })
}
