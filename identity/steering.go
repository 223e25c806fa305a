package identity

import "strings"

// Steering reports whether a header of this name tells the mesh what to do, or says in its name who calls: it counts only from
// those that the Guard's Trusted names, and is removed from what others send. As some read "_" as "-", so does Steering; letter case does not
// count.
func Steering(name string) bool {
	for _, p := range steering {
		if begins(name, p) && (len(name) == len(p) || strings.HasSuffix(p, "-")) {
			return true
		}
	}
	return false
}

// steering are names, and beginnings that end in "-".
var steering = [...]string{
	"x-envoy-",                   // timeouts, retries, faults, attempt counts, the original path, who is internal (CVE-2024-45806)
	"x-weft-",                    // criticality, and whatever else is ours
	"x-mesh-",                    // identities, as other meshes name them
	"x-istio-attributes",         // attributes of the caller
	"x-forwarded-client-cert",    // who calls
	"x-ext-authz-check-result",   // that a service outside has been asked
	"grpc-previous-rpc-attempts", // that it is a retry
	"l5d-",                       // linkerd's identities and overrides (linkerd2-proxy 981)
}

// ReadsAs reports whether a header of this name is taken for one of the other, which is in lower case and has no "_", by those who do not tell
// "_" from "-".
func ReadsAs(name, other string) bool { return len(name) == len(other) && begins(name, other) }

// begins reports whether a name begins with what is in lower case.
func begins(name, with string) bool {
	if len(name) < len(with) {
		return false
	}
	for i := range len(with) {
		c := name[i]
		if c == '_' {
			c = '-'
		} else if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != with[i] {
			return false
		}
	}
	return true
}
