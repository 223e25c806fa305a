package ads

import (
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

func TestDeltaSendsOnlyWhatChanged(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "CDS a=1, CDS b=1, EDS a=1, EDS b=1"))
		c := k.connect(Delta)
		c.ask("CDS", "a", "b")
		c.ask("EDS", "a", "b")
		c.expect("CDS +a=1 +b=1", "EDS +a=1 +b=1")

		k.publish(snap(t, "2", "CDS a=1, CDS b=1, EDS a=1, EDS b=2, CDS other=1"))
		c.expect("EDS +b=2")

		k.publish(snap(t, "3", "CDS a=1, CDS b=1, EDS a=1, EDS b=2, CDS other=2"))
		c.expect()
	})
}

func TestDeltaSubscription(t *testing.T) {
	const all = "CDS a=1, CDS b=1, CDS c=1"
	for _, tt := range []struct {
		name string
		do   func(c *client)
		want []string
	}{
		{"legacy wildcard", func(c *client) { c.ask("CDS") }, []string{"CDS +a=1 +b=1 +c=1"}},
		{"explicit wildcard", func(c *client) { c.ask("CDS", "*") }, []string{"CDS +a=1 +b=1 +c=1"}},
		{"wildcard is for listeners and clusters", func(c *client) { c.ask("RDS", "*") }, []string{`RDS -* !*: no RouteConfiguration "*"`}},
		{"an empty first request of routes is nothing", func(c *client) { c.ask("RDS"); c.ask("CDS", "a") }, []string{"CDS +a=1"}},
		{"wildcard beside a name", func(c *client) { c.ask("CDS", "*", "a") }, []string{"CDS +a=1 +b=1 +c=1"}},
		{"missing", func(c *client) { c.ask("CDS", "a", "x") }, []string{`CDS +a=1 -x !x: no Cluster "x"`}},
		{"the same name twice in a request", func(c *client) { c.ask("CDS", "a", "a") }, []string{"CDS +a=1"}},
		{"unsubscribed before the answer", func(c *client) {
			c.send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: ClusterType,
				ResourceNamesSubscribe: []string{"a", "b"}, ResourceNamesUnsubscribe: []string{"b"}})
		}, []string{"CDS +a=1"}},
		{"unsubscribing what was never subscribed", func(c *client) { c.ask("CDS", "a"); c.drop("CDS", "b") }, []string{"CDS +a=1"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, Config{}, func(t *testing.T, k *kit) {
				k.publish(snap(t, "1", all))
				c := k.connect(Delta)
				tt.do(c)
				c.expect(tt.want...)
			})
		})
	}
}

func TestDeltaChangeOfSubscription(t *testing.T) {
	for _, tt := range []struct {
		name  string
		first []string
		do    func(c *client)
		want  []string
	}{
		{"one more", []string{"a"}, func(c *client) { c.ask("CDS", "b") }, []string{"CDS +b=1"}},
		{"again: it may have been forgotten", []string{"a"}, func(c *client) { c.ask("CDS", "a") }, []string{"CDS +a=1"}},
		{"away", []string{"a", "b"}, func(c *client) { c.drop("CDS", "a") }, nil},
		{"away and back", []string{"a"}, func(c *client) { c.drop("CDS", "a"); c.ask("CDS", "a") }, []string{"CDS +a=1"}},
		{"the wildcard comes", []string{"a"}, func(c *client) { c.ask("CDS", "*") }, []string{"CDS +b=1"}},
		{"the wildcard goes", []string{"*", "a"}, func(c *client) { c.drop("CDS", "*") }, nil},
		{"a name under the wildcard goes, the wildcard has it", []string{"*", "a"}, func(c *client) { c.drop("CDS", "a") }, []string{"CDS +a=1"}},
		{"a name under the wildcard goes that does not exist", []string{"*", "x"}, func(c *client) { c.drop("CDS", "x") }, []string{"CDS -x"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, Config{}, func(t *testing.T, k *kit) {
				k.publish(snap(t, "1", "CDS a=1, CDS b=1"))
				c := k.connect(Delta)
				c.ask("CDS", tt.first...)
				c.take()
				tt.do(c)
				time.Sleep(2 * linger)
				c.expect(tt.want...)
			})
		})
	}
}

func TestDeltaReconnect(t *testing.T) {
	now := "CDS a=1, CDS b=2"
	a, b := res(t, "CDS a=1").Version, res(t, "CDS b=1").Version
	for _, tt := range []struct {
		name      string
		subscribe []string
		brings    map[string]string
		want      []string
	}{
		{"nothing changed: a sign of life", []string{"a"}, map[string]string{"a": a}, []string{"CDS"}},
		{"one changed", []string{"a", "b"}, map[string]string{"a": a, "b": b}, []string{"CDS +b=2"}},
		{"one is gone", []string{"a", "x"}, map[string]string{"a": a, "x": "1"}, []string{"CDS", `CDS -x !x: no Cluster "x"`}},
		{"wildcard, one changed, one gone", nil, map[string]string{"a": a, "b": b, "x": "1"}, []string{"CDS +b=2", "CDS -x"}},
		{"one it did not have", []string{"a", "b"}, map[string]string{"a": a}, []string{"CDS +b=2"}},
		{"versions of what it does not subscribe to", []string{"a"}, map[string]string{"a": a, "b": b}, []string{"CDS"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, Config{}, func(t *testing.T, k *kit) {
				k.publish(snap(t, "1", now))
				c := k.connect(Delta)
				c.send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: ClusterType,
					ResourceNamesSubscribe: tt.subscribe, InitialResourceVersions: tt.brings})
				time.Sleep(2 * linger)
				c.expect(tt.want...)
			})
		})
	}
}

func TestDeltaRemovalAndReturn(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "EDS a=1, EDS b=1"))
		c := k.connect(Delta)
		c.ask("EDS", "a", "b", "late")
		c.expect(`EDS +a=1 +b=1 -late !late: no ClusterLoadAssignment "late"`)
		time.Sleep(2 * linger)

		k.publish(snap(t, "2", "EDS b=1"))
		c.expect(`EDS -a !a: no ClusterLoadAssignment "a"`)
		k.publish(snap(t, "3", "EDS a=1, EDS b=1, EDS late=1"))
		c.expect("EDS +a=1 +late=1")
	})
}

func TestNothingIsAnsweredBeforeTheFirstPublication(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		c := k.connect(Delta)
		c.ask("CDS", "a", "b")
		c.expect()
		k.publish(snap(t, "1", "CDS a=1"))
		c.expect(`CDS +a=1 -b !b: no Cluster "b"`)
	})
}

func TestLargeDeltaResponsesAreDivided(t *testing.T) {
	in(t, Config{Limits: Limits{ResponseBytes: 150}}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "CDS a=1, CDS b=1, CDS c=1"))
		c := k.connect(Delta)
		c.ask("CDS", "a", "b", "c", "x")
		c.expect(`CDS +a=1 -x !x: no Cluster "x"`, "CDS +b=1", "CDS +c=1")
	})
}

func TestWarmupHoldsReturningClientsOnly(t *testing.T) {
	in(t, Config{Warmup: 3 * time.Second}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "EDS a=1"))
		back, fresh := k.connect(Delta), k.connect(Delta)
		back.send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: EndpointType,
			ResourceNamesSubscribe: []string{"a"}, InitialResourceVersions: map[string]string{"a": "old"}})
		fresh.ask("EDS", "a")
		fresh.expect("EDS +a=1")
		back.expect()
		time.Sleep(4 * time.Second)
		back.expect("EDS +a=1")
	})
}
