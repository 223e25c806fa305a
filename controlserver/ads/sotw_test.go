package ads

import (
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

func TestStateOfTheWorldSubscription(t *testing.T) {
	const all = "CDS a=1, CDS b=1, EDS a=1, EDS b=1, EDS c=1"
	for _, tt := range []struct {
		name string
		do   func(c *client)
		want []string
	}{
		{"legacy wildcard", func(c *client) { c.ask("CDS") }, []string{"CDS +a=1 +b=1"}},
		{"explicit wildcard", func(c *client) { c.ask("CDS", "*") }, []string{"CDS +a=1 +b=1"}},
		{"wildcard of nothing is answered", func(c *client) { c.ask("LDS") }, []string{"LDS"}},
		{"clusters by name", func(c *client) { c.ask("CDS", "b") }, []string{"CDS +b=1"}},
		{"a cluster that is missing", func(c *client) { c.ask("CDS", "b", "x") }, []string{`CDS +b=1 !x: no Cluster "x"`}},
		{"endpoints by name", func(c *client) { c.ask("EDS", "c", "a") }, []string{"EDS +a=1 +c=1"}},
		{"only missing endpoints", func(c *client) { c.ask("EDS", "x") }, []string{`EDS !x: no ClusterLoadAssignment "x"`}},
		{"endpoints have no wildcard", func(c *client) { c.ask("EDS") }, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, Config{}, func(t *testing.T, k *kit) {
				k.publish(snap(t, "1", all))
				c := k.connect(StateOfTheWorld)
				tt.do(c)
				c.expect(tt.want...)
			})
		})
	}
}

func TestStateOfTheWorldChangeOfSubscription(t *testing.T) {
	for _, tt := range []struct {
		name, typ     string
		first, second []string
		want          []string
	}{
		{"one more cluster: all of them", "CDS", []string{"a"}, []string{"a", "b"}, []string{"CDS +a=1 +b=1"}},
		{"one more endpoint: it alone", "EDS", []string{"a"}, []string{"a", "b"}, []string{"EDS +b=1"}},
		{"the same in another order", "EDS", []string{"a", "b"}, []string{"b", "a"}, nil},
		{"one less", "CDS", []string{"a", "b"}, []string{"a"}, nil},
		{"none is not all", "CDS", []string{"a"}, nil, nil},
		{"from all to one", "CDS", nil, []string{"a"}, []string{"CDS +a=1"}},
		{"a missing one more", "CDS", []string{"a"}, []string{"a", "x"}, []string{`CDS +a=1 !x: no Cluster "x"`}},
		{"one goes, a duplicate hides it", "EDS", []string{"a", "b"}, []string{"a", "a"}, nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, Config{}, func(t *testing.T, k *kit) {
				k.publish(snap(t, "1", "CDS a=1, CDS b=1, EDS a=1, EDS b=1"))
				c := k.connect(StateOfTheWorld)
				c.ask(tt.typ, tt.first...)
				c.take()
				c.ask(tt.typ, tt.second...)
				time.Sleep(2 * linger)
				c.expect(tt.want...)
				if got := k.status(tt.typ); got.Subscribed != len(unique(tt.second)) || got.Wildcard {
					t.Errorf("subscribed to %d, wildcard %v", got.Subscribed, got.Wildcard)
				}
			})
		})
	}
}

func unique(names []string) map[string]bool {
	m := map[string]bool{}
	for _, n := range names {
		m[n] = true
	}
	return m
}

func TestStateOfTheWorldFullSetForClustersOnlyChangesForEndpoints(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "CDS a=1, CDS b=1, EDS a=1, EDS b=1"))
		c := k.connect(StateOfTheWorld)
		c.ask("CDS")
		c.ask("EDS", "a", "b")
		c.take()
		k.publish(snap(t, "2", "CDS a=1, CDS b=2, EDS a=2, EDS b=1, RDS r=1"))
		c.expect("CDS +a=1 +b=2", "EDS +a=2 +b=1")
		k.publish(snap(t, "3", "CDS a=1, CDS b=2, EDS a=2, EDS b=1, RDS r=2"))
		c.expect()
		k.publish(snap(t, "4", "CDS b=2, EDS a=2, EDS b=1"))
		time.Sleep(2 * linger)
		c.expect("CDS +b=2")
	})
}

func TestListWithStaleNonceIsIgnored(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "EDS a=1, EDS b=1"))
		c := k.connect(StateOfTheWorld)
		c.auto = false
		c.ask("EDS", "a")
		first := c.expect("EDS +a=1")[0]
		k.publish(snap(t, "2", "EDS a=2, EDS b=1"))
		second := c.expect("EDS +a=2")[0]

		stale := &discoveryv3.DiscoveryRequest{TypeUrl: EndpointType, ResponseNonce: first.nonce, VersionInfo: "1", ResourceNames: []string{"a", "b"}}
		c.send(stale)
		c.expect()
		if s := k.status("EDS"); s.Acked != "1" || s.Subscribed != 1 {
			t.Errorf("after a stale nonce: acknowledged %q, want 1; subscribed to %d, want 1", s.Acked, s.Subscribed)
		}
		c.ack(second)
		if s := k.status("EDS"); s.Acked != "2" {
			t.Errorf("acknowledged %q, want 2", s.Acked)
		}
	})
}

func TestFirstRequestOfAStreamWithAnEarlierNonceIsAnswered(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "EDS a=1"))
		c := k.connect(StateOfTheWorld)
		c.send(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: EndpointType, VersionInfo: "1", ResponseNonce: "7", ResourceNames: []string{"a"}})
		c.expect("EDS +a=1")
	})
}
