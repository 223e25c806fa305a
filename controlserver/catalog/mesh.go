package catalog

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Mesh returns what holds for the mesh as a whole; it is never nil, and its RootNamespace is never empty. Not to be modified.
func (c *Catalog) Mesh() *MeshConfig { return c.mesh }

// Provider returns the provider of that name, nil if there is none, and the service and port that it stands for; the
// service is nil if there is none or it has no such port.
func (c *Catalog) Provider(name string) (*ExtensionProvider, *Service, uint32) {
	i := slices.IndexFunc(c.mesh.ExtensionProviders, func(p ExtensionProvider) bool { return p.Name == name })
	if i < 0 {
		return nil, nil, 0
	}
	p := &c.mesh.ExtensionProviders[i]
	host, port := p.address()
	namespace, host, ok := strings.Cut(host, "/")
	if !ok {
		namespace, host = c.mesh.RootNamespace, namespace
	}
	s := c.find(namespace, host)
	if s != nil {
		if _, ok := s.Port(port); !ok {
			s = nil
		}
	}
	return p, s, port
}

// address is the service that is asked, as it is written.
func (p *ExtensionProvider) address() (service string, port uint32) {
	switch {
	case p.GRPC != nil:
		return p.GRPC.Service, p.GRPC.Port
	case p.HTTP != nil:
		return p.HTTP.Service, p.HTTP.Port
	}
	return "", 0
}

// addMesh finds the MeshConfig: the oldest in the namespace where it may stand.
func (c *Catalog) addMesh() {
	mesh := MeshConfig{}
	for _, o := range c.objects {
		if o.Mesh != nil && o.Namespace == RootNamespace {
			mesh, c.meshObject = *o.Mesh, o
			break
		}
	}
	mesh.RootNamespace = cmp.Or(mesh.RootNamespace, RootNamespace)
	c.mesh = &mesh
}

// meshConfig checks what types and tags do not say of a MeshConfig.
func (v *validator) meshConfig(m *MeshConfig, p *path) {
	v.domain(p.field("trustDomain"), m.TrustDomain)
	for i, alias := range m.TrustDomainAliases {
		at := p.field("trustDomainAliases").at(i)
		v.domain(at, alias)
		switch first := slices.Index(m.TrustDomainAliases, alias); {
		case alias == "":
		case alias == m.TrustDomain:
			v.fail(at, "%q is the trust domain itself", alias)
		case first < i:
			v.fail(at, "%q given twice, first as trustDomainAliases[%d]", alias, first)
		}
	}
	if ns := m.RootNamespace; ns != "" && !dnsLabel.MatchString(ns) {
		v.fail(p.field("rootNamespace"), "%q is not a namespace", ns)
	}
	seen := map[string]int{}
	for i, e := range m.ExtensionProviders {
		at := p.field("extensionProviders").at(i)
		first, twice := seen[e.Name]
		switch {
		case e.Name == "":
			continue // said already
		case twice:
			v.fail(at.field("name"), "%q given twice, first as extensionProviders[%d]", e.Name, first)
		case !dnsLabel.MatchString(e.Name):
			v.fail(at.field("name"), "%q must be lower-case letters, digits and '-'", e.Name)
		}
		if !twice {
			seen[e.Name] = i
		}
		v.provider(at, e)
	}
}

func (v *validator) domain(p *path, name string) {
	if name == "" {
		return
	}
	if _, err := spiffeid.TrustDomainFromString(name); err != nil || strings.Contains(name, "://") {
		v.fail(p, "%q is not a trust domain: lower-case letters, digits, '.', '-' and '_'", name)
	}
}

func (v *validator) provider(p *path, e ExtensionProvider) {
	switch {
	case e.GRPC != nil && e.HTTP != nil:
		v.fail(p.field("envoyExtAuthzHttp"), "only one of envoyExtAuthzGrpc and envoyExtAuthzHttp may be given")
	case e.GRPC != nil:
		v.providerService(p.field("envoyExtAuthzGrpc").field("service"), e.GRPC.Service)
	case e.HTTP != nil:
		at := p.field("envoyExtAuthzHttp")
		v.providerService(at.field("service"), e.HTTP.Service)
		if e.HTTP.Body != nil && e.HTTP.Body.PackAsBytes {
			v.fail(at.field("includeRequestBodyInCheck").field("packAsBytes"), "has no effect: HTTP has bytes anyway")
		}
		for _, name := range sorted(e.HTTP.AddHeaders) {
			field := at.field("includeAdditionalHeadersInCheck").key(name)
			switch {
			case !headerName.MatchString(name):
				v.fail(field, "%q is not the name of a header", name)
			case framing[strings.ToLower(name)]:
				v.fail(field, "%q cannot be set: requests are read by it", name)
			case strings.ContainsAny(e.HTTP.AddHeaders[name], "\r\n\x00"):
				v.fail(field, "the value has a line break")
			}
		}
	default:
		v.fail(p, "needs envoyExtAuthzGrpc or envoyExtAuthzHttp")
	}
}

// providerService checks the name of a service that may have its namespace before it.
func (v *validator) providerService(p *path, name string) {
	if name == "" {
		return // said already
	}
	namespace, host, ok := strings.Cut(name, "/")
	if !ok {
		namespace, host = DefaultNamespace, name
	}
	if !dnsLabel.MatchString(namespace) {
		v.fail(p, "%q is not a HOST or NAMESPACE/HOST", name)
		return
	}
	if _, err := netip.ParseAddr(host); err != nil {
		v.host(p, host, false)
	}
}
