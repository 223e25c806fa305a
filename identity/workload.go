package identity

import (
	"fmt"
	"strings"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// ControlServerPath is the path of the identity that the control servers of a trust domain have, by which their clients know them.
const ControlServerPath = "/ns/weft-system/sa/control-server"

// WorkloadOf reads an identity of Istio's form, spiffe://TRUSTDOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT.
func WorkloadOf(id spiffeid.ID) (namespace, serviceAccount string, err error) {
	parts := strings.Split(id.Path(), "/")
	if len(parts) != 5 || parts[1] != "ns" || parts[3] != "sa" {
		return "", "", fmt.Errorf("identity %q: not of the form spiffe://TRUSTDOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT", id.String())
	}
	return parts[2], parts[4], nil
}
