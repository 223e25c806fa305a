package xds

import (
	"strings"

	"github.com/weftmesh/weft/balancer"
)

// healthType is the type by which Istio's agents report their workload's health.
const healthType = "type.googleapis.com/istio.v1.HealthInformation"

// A health is what the control server is told of this process. Silence means healthy.
type health struct {
	is      balancer.Health
	text    string
	pending bool // this stream's server does not know it yet
}

func (h *health) set(is balancer.Health, text string) {
	if is == balancer.Healthy {
		is = balancer.HealthUnknown
	}
	if is == balancer.HealthUnknown {
		text = ""
	}
	if h.is != is || h.text != text {
		*h = health{is, text, true}
	}
}

func (h *health) bad() bool { return h.is != balancer.HealthUnknown }

// reason is empty if the process is healthy.
func (h *health) reason() string {
	if !h.bad() {
		return ""
	}
	r := strings.ToLower(h.is.String())
	if h.text != "" {
		r += ": " + h.text
	}
	return r
}
