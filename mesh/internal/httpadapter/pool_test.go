package httpadapter

import (
	"net/http"
	"net/url"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resolver"
)

func TestTransportsAreSharedByDemand(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := pool{engine: engine.New(engine.Config{})}
		p.open()
		get := func(c resolver.Cluster, raw string, upgrade bool) *http.Transport {
			u, err := url.Parse(raw)
			if err != nil {
				t.Fatal(err)
			}
			tr, _, err := p.transport(&c, c.TLS, u, upgrade)
			if err != nil {
				t.Fatal(err)
			}
			return tr
		}
		demand := func(name string, sans ...string) resolver.Cluster {
			return resolver.Cluster{TLS: &identity.ClientTLS{ServerName: name, SubjectAltNames: identity.ExactNames(sans...)}}
		}
		for name, c := range map[string]struct {
			a, b *http.Transport
			same bool
		}{
			"plaintext hosts":         {get(resolver.Cluster{}, "http://a", false), get(resolver.Cluster{}, "http://b", false), true},
			"http1 and h2c":           {get(resolver.Cluster{}, "http://a", false), get(resolver.Cluster{HTTP2: true}, "http://a", false), false},
			"upgrade in h2c":          {get(resolver.Cluster{}, "http://a", false), get(resolver.Cluster{HTTP2: true}, "http://a", true), true},
			"https of two names":      {get(resolver.Cluster{}, "https://a", false), get(resolver.Cluster{}, "https://b", false), false},
			"https of one name":       {get(resolver.Cluster{}, "https://a:1", false), get(resolver.Cluster{}, "https://a:2", false), true},
			"equal demands":           {get(demand("x", "s"), "http://a", false), get(demand("x", "s"), "http://b", false), true},
			"names":                   {get(demand("x", "s"), "http://a", false), get(demand("y", "s"), "http://a", false), false},
			"alternative names":       {get(demand("x", "s"), "http://a", false), get(demand("x", "r"), "http://a", false), false},
			"demands without a name":  {get(demand("", "s"), "http://a", false), get(demand("", "s"), "http://b", false), false},
			"demand, and none":        {get(demand("", "s"), "http://a", false), get(resolver.Cluster{}, "https://a", false), false},
			"demand in https or http": {get(demand("x", "s"), "https://a", false), get(demand("x", "s"), "http://a", false), true},
		} {
			if (c.a == c.b) != c.same {
				t.Errorf("%s: shared %v, want %v", name, c.a == c.b, c.same)
			}
		}

		// A year of updates, each with its own pointer, of which only the last is used.
		kept := get(demand("kept"), "http://a", false)
		for range 365 {
			time.Sleep(24 * time.Hour)
			if get(demand("kept"), "http://a", false) != kept {
				t.Fatal("an update without a change made a new transport")
			}
		}
		if n := len(*p.secure.Load()); n > 3 {
			t.Errorf("%d demands are remembered", n)
		}
	})
}
