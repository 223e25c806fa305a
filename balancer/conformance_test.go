package balancer_test

import (
	"testing"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/balancer/balancertest"
)

func TestConformance(t *testing.T) {
	for name, p := range map[string]balancer.Policy{
		"round robin":                        {},
		"random":                             {Kind: balancer.Random},
		"least request":                      {Kind: balancer.LeastRequest},
		"least request of five":              {Kind: balancer.LeastRequest, Choices: 5},
		"least request of more than allowed": {Kind: balancer.LeastRequest, Choices: 1 << 31},
		"a kind not known":                   {Kind: 99},
	} {
		t.Run(name, func(t *testing.T) { balancertest.Run(t, p) })
	}
}
