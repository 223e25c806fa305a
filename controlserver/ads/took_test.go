package ads

import (
	"strings"
	"testing"
	"testing/synctest"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// What an observer hears of as taken is what the client said it uses: never what it was only sent, nor what it refused.
func TestObserverHearsWhatClientsTook(t *testing.T) {
	one, two := "LDS a=1, LDS b=1", "LDS a=2, LDS b=2"
	word := func(t *testing.T, text string) string {
		r := res(t, text)
		return short[r.TypeURL] + " " + r.Name + " " + r.Version[:4]
	}
	for _, p := range []Protocol{Delta, StateOfTheWorld} {
		t.Run(p.String(), func(t *testing.T) {
			e := &events{}
			in(t, Config{Observer: e}, func(t *testing.T, k *kit) {
				k.publish(snap(t, "1", one))
				c := k.connect(p)
				c.auto = false
				c.ask("LDS", "a", "b")
				sent := c.expect("LDS +a=1 +b=1")[0]
				e.expect(t, "open 1 "+node.Id, "sub 1 LDS a,b")
				c.ack(sent)
				e.expect(t, "took 1 "+word(t, "LDS a=1")+","+word(t, "LDS b=1"))

				k.publish(snap(t, "2", two))
				c.nack(c.expect("LDS +a=2 +b=2")[0], `"a": no`) // so b is good (gRFC A46)
				e.expect(t, "took 1 "+word(t, "LDS b=2"))

				k.publish(snap(t, "3", "LDS a=3, LDS b=3"))
				c.nack(c.expect("LDS +a=3 +b=3")[0], "no")
				e.expect(t)
			})
		})
	}
}

// What a client brings from an earlier stream is not sent again, so that there is nothing to acknowledge.
func TestObserverHearsWhatClientsBring(t *testing.T) {
	e := &events{}
	in(t, Config{Observer: e}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "LDS a=1, LDS b=2"))
		a, b, old := res(t, "LDS a=1"), res(t, "LDS b=2"), res(t, "LDS b=1")
		c := k.connect(Delta)
		c.auto = false
		c.send(&discoveryv3.DeltaDiscoveryRequest{
			Node: node, TypeUrl: ListenerType, ResourceNamesSubscribe: []string{"a", "b"},
			InitialResourceVersions: map[string]string{"a": a.Version, "b": old.Version},
		})
		sent := c.expect("LDS +b=2")[0]
		e.expect(t, "open 1 "+node.Id, "sub 1 LDS a,b", "took 1 LDS a "+a.Version[:4])
		c.ack(sent)
		e.expect(t, "took 1 LDS b "+b.Version[:4])
	})
}

// Who waits until all is settled finds that the observer has heard of it.
func TestSettledWhenTheObserverHasHeard(t *testing.T) {
	e := &events{}
	in(t, Config{Observer: e}, func(t *testing.T, k *kit) {
		hears, goes := make(chan struct{}), make(chan struct{})
		e.on = func(event string) {
			if strings.HasPrefix(event, "took") {
				close(hears)
				<-goes
			}
		}
		k.publish(snap(t, "1", "LDS a=1"))
		c := k.connect(Delta)
		c.ask("LDS", "a")
		<-hears
		done := make(chan error, 1)
		go func() { done <- k.server.Settled(t.Context()) }()
		synctest.Wait()
		select {
		case <-done:
			t.Error("settled, and the observer has not heard")
		default:
		}
		close(goes)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
