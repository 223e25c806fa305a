package catalog

import (
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
)

// A validator tells what is wrong with the spec of one object, all of it. Its
// verdicts are those of Istio's own validation, and stricter where something
// could only be dropped.
type validator struct {
	report func(p *path, s Severity, message string)
	// namespace is that of the object.
	namespace string
	failed    bool
}

func (v *validator) fail(p *path, format string, args ...any) {
	v.failed = true
	v.report(p, Error, fmt.Sprintf(format, args...))
}

func (v *validator) warn(p *path, format string, args ...any) {
	v.report(p, Warning, fmt.Sprintf(format, args...))
}

var (
	hostLabel = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
	numeric   = regexp.MustCompile(`^[0-9]+$`)
	labelName = regexp.MustCompile(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?$`)
	subset    = regexp.MustCompile(`^[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?$`)
)

// host checks a name of DNS labels, of which the first may be "*".
func (v *validator) host(p *path, host string, wildcard bool) {
	if host == "" {
		v.fail(p, "is missing")
		return
	}
	if why := notHost(host, wildcard); why != "" {
		v.fail(p, "%q is not a host name: %s", host, why)
	} else if strings.HasPrefix(host, "*") && host != "*" && !strings.HasPrefix(host, "*.") {
		v.warn(p, "%q is nobody's: \"*\" stands for whole labels alone, as in \"*.example.com\"", host)
	}
}

// notHost says why a name is none of DNS labels, of which the first may be "*"; nothing if it is one. The last may not be a number, or the name
// would be taken for an address.
func notHost(host string, wildcard bool) string {
	if len(host) > 255 {
		return "it is longer than 255 characters"
	}
	labels := strings.Split(strings.TrimSuffix(host, "."), ".")
	if last := labels[len(labels)-1]; numeric.MatchString(last) && (!wildcard || len(labels) > 1) {
		return fmt.Sprintf("its last label, %q, is a number", last)
	}
	for i, label := range labels {
		if first := i == 0 && wildcard; first && label == "*" {
			continue
		} else if first {
			label = strings.TrimPrefix(strings.TrimPrefix(label, "*-"), "*")
		}
		if !hostLabel.MatchString(label) {
			return fmt.Sprintf("label %q", labels[i])
		}
	}
	return ""
}

func (v *validator) labels(p *path, labels map[string]string) {
	for _, key := range sorted(labels) {
		prefix, name, ok := strings.Cut(key, "/")
		if !ok {
			name = key
		} else if !objectName.MatchString(strings.ToLower(prefix)) {
			v.fail(p.key(key), "label prefix %q is not a DNS name", prefix)
		}
		if !labelName.MatchString(name) {
			v.fail(p.key(key), "%q is not a label name", key)
		}
		if value := labels[key]; value != "" && !labelName.MatchString(value) {
			v.fail(p.key(key), "%q is not a label value", value)
		}
	}
}

// exportTo checks a list of namespaces; of services "~", which is none, may be one.
func (v *validator) exportTo(p *path, list []string, service bool) {
	seen := map[string]bool{}
	for i, e := range list {
		name := e
		if e == "." {
			name = v.namespace
		}
		switch {
		case seen[name]:
			v.fail(p.at(i), "%q given twice", e)
		case e == "~" && !service:
			v.fail(p.at(i), "\"~\" is for services alone")
		case e == "*" || e == "~":
			if len(list) > 1 {
				v.fail(p.at(i), "%q must stand alone", e)
			}
		case e != "." && !hostLabel.MatchString(e):
			v.fail(p.at(i), "%q is not a namespace, \"*\", \".\" or \"~\"", e)
		case e != "." && !dnsLabel.MatchString(e):
			v.warn(p.at(i), "%q is no namespace: they are in lower case", e)
		}
		seen[name] = true
	}
}

func (v *validator) port(p *path, number uint32) {
	if number < 1 || number > 65535 {
		v.fail(p, "port %d is out of range: 1 to 65535", number)
	}
}

// duration checks a duration that must be a millisecond at least, if it is given.
func (v *validator) duration(p *path, d *durationpb.Duration) {
	if d == nil {
		return
	}
	switch t := d.AsDuration(); {
	case t < time.Millisecond:
		v.fail(p, "%s is shorter than 1ms", t)
	case t%time.Millisecond != 0:
		v.fail(p, "%s is finer than a millisecond", t)
	}
}

// regex checks an RE2 expression.
func (v *validator) regex(p *path, expr string) {
	switch _, err := regexp.Compile(expr); {
	case len(expr) > 1024:
		v.fail(p, "expression is longer than 1024 characters")
	case err != nil:
		v.fail(p, "%q is not an RE2 expression: %s", expr, strings.TrimPrefix(err.Error(), "error parsing regexp: "))
	}
}

func (v *validator) percent(p *path, value float64) {
	if !(value >= 0 && value <= 100) { // not a number neither
		v.fail(p, "%v is out of range: 0 to 100", value)
	}
}

func isIP(s string) bool {
	_, err := netip.ParseAddr(s)
	return err == nil
}
