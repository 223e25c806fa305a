package catalog

import (
	"strings"

	networking "istio.io/api/networking/v1alpha3"
)

// clientTLS checks how a client speaks TLS.
func (v *validator) clientTLS(p *path, t *networking.ClientTLSSettings) {
	if t == nil {
		return
	}
	if name, ok := strings.CutPrefix(t.GetCredentialName(), "configmap://"); ok && !strings.HasPrefix(name, v.namespace+"/") {
		v.fail(p.field("credentialName"), "%q is not configmap://%s/NAME, of the rule's own namespace", t.GetCredentialName(), v.namespace)
	}
	own := t.GetMode() == networking.ClientTLSSettings_SIMPLE || t.GetMode() == networking.ClientTLSSettings_MUTUAL
	if !own {
		v.idleTLS(p, t)
	}
	if t.GetMode() == networking.ClientTLSSettings_SIMPLE {
		for _, f := range [...]struct{ name, value string }{{"clientCertificate", t.GetClientCertificate()}, {"privateKey", t.GetPrivateKey()}} {
			if f.value != "" {
				v.warn(p.field(f.name), "has no effect: mode is SIMPLE; MUTUAL shows a certificate")
			}
		}
	}
	files := t.GetClientCertificate() != "" || t.GetPrivateKey() != "" || t.GetCaCertificates() != "" || t.GetCaCrl() != ""
	if own && t.GetCredentialName() != "" && files {
		v.fail(p.field("credentialName"), "stands for the certificate files: give one or the other")
	}
	if own && t.GetInsecureSkipVerify().GetValue() {
		named := t.GetCredentialName() != "" && t.GetMode() == networking.ClientTLSSettings_SIMPLE
		if t.GetCaCertificates() != "" || named || len(t.GetSubjectAltNames()) > 0 {
			v.fail(p.field("insecureSkipVerify"), "turns off what caCertificates, credentialName and subjectAltNames ask for")
		} else {
			v.warn(p.field("insecureSkipVerify"), "nothing tells the server from anybody else who answers")
		}
	}
	if t.GetMode() == networking.ClientTLSSettings_MUTUAL && t.GetCredentialName() == "" {
		if t.GetClientCertificate() == "" {
			v.fail(p.field("clientCertificate"), "is missing, and mode is MUTUAL")
		}
		if t.GetPrivateKey() == "" {
			v.fail(p.field("privateKey"), "is missing, and mode is MUTUAL")
		}
	}
	v.altNames(p.field("subjectAltNames"), t.GetSubjectAltNames())
	if sni := t.GetSni(); sni != "" {
		if why := notHost(sni, false); why != "" {
			v.warn(p.field("sni"), "%q is no host name, which many servers want: %s", sni, why)
		}
	}
}

// idleTLS warns of what the modes do not look at that bring their own certificates, or none.
func (v *validator) idleTLS(p *path, t *networking.ClientTLSSettings) {
	why := "has no effect: mode is DISABLE, which is plaintext"
	if t.GetMode() == networking.ClientTLSSettings_ISTIO_MUTUAL {
		why = "has no effect: mode is ISTIO_MUTUAL, which brings the mesh's own certificates"
	}
	for _, f := range [...]struct {
		name  string
		given bool
	}{
		{"clientCertificate", t.GetClientCertificate() != ""}, {"privateKey", t.GetPrivateKey() != ""},
		{"caCertificates", t.GetCaCertificates() != ""}, {"caCrl", t.GetCaCrl() != ""},
		{"insecureSkipVerify", t.GetInsecureSkipVerify().GetValue()},
		{"subjectAltNames", len(t.GetSubjectAltNames()) > 0 && t.GetMode() == networking.ClientTLSSettings_DISABLE},
		{"sni", t.GetSni() != "" && t.GetMode() == networking.ClientTLSSettings_DISABLE},
	} {
		if f.given {
			v.warn(p.field(f.name), "%s", why)
		}
	}
}

// altNames checks the names that certificates are to carry.
func (v *validator) altNames(p *path, names []string) {
	for i, name := range names {
		switch {
		case name == "":
			v.fail(p.at(i), "is empty")
		case strings.Contains(strings.TrimPrefix(name, "*."), "*"):
			v.warn(p.at(i), "%q is taken as it is: \"*\" stands for nothing in it", name)
		}
	}
}
