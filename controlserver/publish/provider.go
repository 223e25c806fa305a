package publish

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// provider is the service that a provider of the MeshConfig stands for.
func (v *View) provider(name string) (*identity.ExtAuthz, error) {
	p, s, number := v.catalog.Provider(name)
	switch {
	case p == nil:
		return nil, fmt.Errorf("no extension provider %q in the MeshConfig", name)
	case s == nil:
		return nil, fmt.Errorf("extension provider %q: there is no such service or port", name)
	}
	service := hostPort(s.Host, number)
	if p.GRPC != nil {
		e := &identity.ExtAuthz{
			Service: service, Timeout: time.Duration(p.GRPC.Timeout), FailOpen: p.GRPC.FailOpen, StatusOnError: status(p.GRPC.StatusOnError),
		}
		askBody(e, p.GRPC.Body)
		return e, nil
	}
	h := p.HTTP
	if h == nil {
		return nil, fmt.Errorf("extension provider %q: neither by gRPC nor by HTTP", name)
	}
	e := &identity.ExtAuthz{
		Service: service, HTTP: true, PathPrefix: string(h.PathPrefix),
		Timeout: time.Duration(h.Timeout), FailOpen: h.FailOpen, StatusOnError: status(h.StatusOnError),
		RequestHeaders:  headerNames(h.RequestHeaders),
		UpstreamHeaders: headerNames(h.UpstreamHeaders),
		DeniedHeaders:   headerNames(h.DeniedHeaders),
		AllowedHeaders:  headerNames(h.AllowedHeaders),
	}
	for _, k := range sorted(h.AddHeaders) {
		e.AddHeaders = append(e.AddHeaders, identity.HeaderField{Name: match.ToLower(k), Value: h.AddHeaders[k]})
	}
	askBody(e, h.Body)
	return e, nil
}

func askBody(e *identity.ExtAuthz, b *catalog.ExtAuthzBody) {
	if b != nil {
		e.MaxBody, e.PartialBody, e.PackAsBytes = b.MaxRequestBytes, b.AllowPartialMessage, b.PackAsBytes
	}
}

// status is 0, the default, for what is no number.
func status(s catalog.HTTPStatus) int {
	n, _ := strconv.Atoi(cmp.Or(string(s), "0"))
	return n
}

func headerNames(patterns []catalog.HeaderPattern) []match.String {
	var out []match.String
	for _, p := range patterns {
		is := text(match.ToLower(string(p)))
		is.IgnoreCase = true
		out = append(out, is)
	}
	return out
}

// fetched is the name by which the mesh calls the server of a URI of keys; empty if it does not.
func (v *View) fetched(scheme, host, number string) string {
	s, _ := v.catalog.Service(v.client.Namespace, host)
	if s == nil || strings.EqualFold(scheme, "https") {
		return ""
	}
	n, err := strconv.ParseUint(cmp.Or(number, "80"), 10, 16)
	if _, ok := s.Port(uint32(n)); err != nil || !ok {
		return ""
	}
	return hostPort(s.Host, uint32(n))
}
