package ads

import (
	"testing"
	"time"
)

const (
	before = "CDS c1=1, EDS c1=1, LDS l=1, RDS r=1"
	after  = "CDS c2=1, EDS c2=1, LDS l=2, RDS r=2"
)

func TestOrderOfAnUpdate(t *testing.T) {
	for _, tt := range []struct {
		name string
		p    Protocol
		want []string
	}{
		{"delta", Delta, []string{
			"CDS +c2=1", "EDS +c2=1", "LDS +l=2", "RDS +r=2",
			`EDS -c1 !c1: no ClusterLoadAssignment "c1"`, `CDS -c1 !c1: no Cluster "c1"`,
		}},
		{"sotw", StateOfTheWorld, []string{
			"CDS +c1=1 +c2=1", "EDS +c2=1", "LDS +l=2", "RDS +r=2",
			`EDS !c1: no ClusterLoadAssignment "c1"`, `CDS +c2=1 !c1: no Cluster "c1"`,
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			in(t, Config{}, func(t *testing.T, k *kit) {
				k.publish(snap(t, "1", before))
				c := k.connect(tt.p)
				c.ask("RDS", "r") // whatever the order of asking
				c.ask("LDS", "l")
				c.ask("EDS", "c1", "c2")
				c.ask("CDS", "c1", "c2")
				time.Sleep(2 * linger)
				c.take()

				k.publish(snap(t, "2", after))
				time.Sleep(2 * linger)
				c.expect(tt.want...)
			})
		})
	}
}

func TestRemovalsWaitUntilTheClientTookTheRest(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "CDS c1=1, RDS r=1"))
		c := k.connect(Delta)
		c.ask("CDS", "c1")
		c.ask("RDS", "r")
		time.Sleep(2 * linger)
		c.take()

		c.auto = false
		k.publish(snap(t, "2", "CDS c2=1, RDS r=2"))
		update := c.expect("RDS +r=2")
		time.Sleep(10 * linger)
		c.expect()

		c.ack(update[0])
		c.ask("CDS", "c2") // the client follows the new route ...
		next := c.expect("CDS +c2=1")
		time.Sleep(10 * linger)
		c.expect()
		c.ack(next[0])
		c.drop("CDS", "c1") // ... and lets the old go by itself: there is nothing left to remove
		time.Sleep(10 * linger)
		c.expect()
	})
}

func TestRemovalsDoNotWaitForeverForAnswers(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "CDS c1=1, RDS r=1"))
		c := k.connect(Delta)
		c.auto = false
		c.ask("CDS", "c1")
		c.ask("RDS", "r")
		c.take()
		k.publish(snap(t, "2", "RDS r=2"))
		c.expect("RDS +r=2")
		time.Sleep(patience + time.Second)
		c.expect(`CDS -c1 !c1: no Cluster "c1"`)
	})
}

func TestClustersStayWhileARouteIsRefused(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "CDS c1=1, RDS r=1"))
		c := k.connect(Delta)
		c.ask("CDS", "c1")
		c.ask("RDS", "r")
		c.take()
		c.auto = false
		k.publish(snap(t, "2", "RDS r=2"))
		c.nack(c.expect("RDS +r=2")[0], "RouteConfiguration r: bad")
		time.Sleep(2 * patience)
		c.expect()

		k.publish(snap(t, "3", "RDS r=3"))
		c.ack(c.expect("RDS +r=3")[0])
		time.Sleep(2 * linger)
		c.expect(`CDS -c1 !c1: no Cluster "c1"`)
	})
}

func TestWhatComesBackInTimeIsNotRemoved(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "CDS a=1, CDS b=1"))
		c := k.connect(Delta)
		c.ask("CDS", "a", "b")
		c.expect("CDS +a=1 +b=1")
		k.publish(snap(t, "2", "CDS b=2"))
		k.publish(snap(t, "3", "CDS a=1, CDS b=2"))
		time.Sleep(2 * linger)
		c.expect("CDS +b=2")
	})
}

func TestEndpointsOfAChangedClusterAreSentAgain(t *testing.T) {
	for _, p := range []Protocol{Delta, StateOfTheWorld} {
		t.Run(p.String(), func(t *testing.T) {
			in(t, Config{}, func(t *testing.T, k *kit) {
				k.publish(snap(t, "1", "CDS a=1, EDS a=1, EDS b=1"))
				c := k.connect(p)
				c.ask("CDS")
				c.ask("EDS", "a", "b")
				c.take()
				k.publish(snap(t, "2", "CDS a=2, EDS a=1, EDS b=1"))
				c.expect("CDS +a=2", "EDS +a=1")
			})
		})
	}
}

func TestRemovalsWaitForAQuietMoment(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "CDS c1=1, RDS r=1"))
		c := k.connect(Delta)
		c.ask("CDS", "c1")
		c.ask("RDS", "r")
		time.Sleep(2 * linger)
		c.take()
		k.publish(snap(t, "2", "CDS c2=1, RDS r=2"))
		time.Sleep(linger / 2)
		c.expect("RDS +r=2") // acknowledged, but the client may be about to ask for c2
		c.ask("CDS", "c2")
		time.Sleep(linger / 2)
		c.expect("CDS +c2=1")
		time.Sleep(linger)
		c.expect(`CDS -c1 !c1: no Cluster "c1"`)
	})
}
