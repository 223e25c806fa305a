package publish

import (
	"cmp"
	"slices"
	"strconv"
	"strings"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/resolver"
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
			v.plain(from)
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
	v.revocations(from)
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

// plain says what becomes of TLS that was asked for where nobody has an identity.
func (v *View) plain(from Origins) {
	l := losses{dialect: v.client.Dialect, from: from}
	l.say(TLS, "the control server has no trust domain, so nobody has an identity of it: connections are plaintext")
	v.lose(l.all)
}

// settle decides for clients that speak to all servers of a cluster alike: by mTLS if all can, or if one takes nothing else.
func (v *View) settle(c *resolver.Cluster, s *catalog.Service, port catalog.Port, subset string) {
	if !c.AutoTLS {
		return
	}
	c.AutoTLS = false
	var want map[string]string
	if sub, ok := v.catalog.DestinationRule(v.client.Namespace, s).Subset(subset); ok {
		want = sub.GetLabels()
	}
	some, others := false, false
	for _, e := range s.Endpoints(port.Number) {
		switch mode, _ := v.catalog.MutualTLS(catalog.Workload{Namespace: s.Namespace, Labels: e.Labels}, e.Port); {
		case !e.Matches(want):
		case !v.catalog.AutoTLS(s, e, v.config.DefaultMode):
			others = true
		case cmp.Or(e.Mode, mode, v.config.DefaultMode) == identity.Strict:
			return
		default:
			some = true
		}
	}
	if others || !some {
		c.TLS = nil
	}
}

// tlsOfGRPC is the mesh's own, or else none with which a call could be made: less than what was asked for is not done.
func tlsOfGRPC(l *losses, t *identity.ClientTLS) *identity.ClientTLS {
	if t == nil || t.Mutual {
		return unrevoked(l, t, grpcHas+"no list of certificates: serial numbers are not looked at")
	}
	l.say(TLS, grpcHas+"no TLS by xDS but the mesh's own: no call is made")
	return &identity.ClientTLS{Mutual: true, ServerName: t.ServerName, SubjectAltNames: nobody("gRPC has no such TLS")}
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
