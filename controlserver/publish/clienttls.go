package publish

import (
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
)

// clientTLS is what a client demands of the servers of a cluster; auto says that it holds for those that can alone. from is told where
// that is configured.
func (v *View) clientTLS(s *catalog.Service, port catalog.Port, subset string, from Origins) (tls *identity.ClientTLS, auto bool) {
	said, object, field := v.catalog.DestinationRule(v.client.Namespace, s).TLS(subset, port.Number)
	if said != nil {
		from.add(TLS, Origin{object, field})
	}
	switch {
	case said == nil && s.External, said != nil && said.GetMode() == networking.ClientTLSSettings_DISABLE:
		return nil, false
	case said == nil || said.GetMode() == networking.ClientTLSSettings_ISTIO_MUTUAL:
		if v.config.TrustDomain == "" {
			return nil, false
		}
		tls = &identity.ClientTLS{Mutual: true, ServerName: said.GetSni()}
		if tls.ServerName == "" {
			tls.ServerName = strings.ReplaceAll(clusterName(port.Number, subset, s.Host), "|", "_.")
		}
	default:
		tls = &identity.ClientTLS{
			ServerName: said.GetSni(), Insecure: said.GetInsecureSkipVerify().GetValue(),
			CertificateFile: said.GetClientCertificate(), KeyFile: said.GetPrivateKey(),
			RootCAFile: said.GetCaCertificates(), RevocationFile: said.GetCaCrl(),
		}
		if said.GetMode() == networking.ClientTLSSettings_SIMPLE {
			tls.CertificateFile, tls.KeyFile = "", ""
		}
	}
	tls.Revoked = v.catalog.Revoked()
	switch names := said.GetSubjectAltNames(); {
	case said.GetCredentialName() != "" && !tls.Mutual:
		tls.Insecure = false
		tls.SubjectAltNames = nobody("credentialName " + said.GetCredentialName() + " is not supported")
	case tls.Insecure:
	case len(names) > 0:
		tls.SubjectAltNames = identity.ExactNames(names...)
	default:
		tls.SubjectAltNames = identity.ExactNames(v.serverNames(s)...)
	}
	return tls, said == nil
}

// nobody is a name that no certificate has: calls fail, and say why, instead of being made without what was asked for.
func nobody(why string) []identity.SubjectAltName { return identity.ExactNames("nobody: " + why) }

// serverNames are the names that certificates of a service's servers carry, under all names of the trust domain: those of its service
// accounts, and those that were written down (Istio).
func (v *View) serverNames(s *catalog.Service) []string {
	domains := v.trustDomains()
	var names []string
	for _, d := range domains {
		for _, p := range s.Ports {
			for _, e := range s.Endpoints(p.Number) {
				if e.ServiceAccount != "" {
					names = append(names, spiffe+d+"/ns/"+s.Namespace+"/sa/"+e.ServiceAccount)
				}
			}
		}
	}
	for _, n := range s.SubjectAltNames {
		names = append(names, n)
		domain, rest, ok := strings.Cut(strings.TrimPrefix(n, spiffe), "/")
		if ok && strings.HasPrefix(n, spiffe) && slices.Contains(domains, domain) {
			for _, d := range domains {
				names = append(names, spiffe+d+"/"+rest)
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func hostPort(host string, port uint32) string {
	return host + ":" + strconv.FormatUint(uint64(port), 10)
}
