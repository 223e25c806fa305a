package xds

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// serving keeps what is reported of an address: how many requests it may have, or "error".
func serving(c *Client) *[]string {
	got := new([]string)
	c.Serve("10.0.0.1:80", func(in *resolver.Inbound, err error) {
		if err != nil {
			*got = append(*got, "error")
			return
		}
		*got = append(*got, fmt.Sprint(in.Serving.MaxRequests))
	})
	return got
}

const inboundName = "xds.istio.io/grpc/lds/inbound/10.0.0.1:80"

var bounded = wire.Listener{Name: inboundName, Inbound: &resolver.Inbound{Addr: "10.0.0.1:80", Serving: resilience.Serving{MaxRequests: 7}}}

// What a server demands of its callers is not known as long as the first answer is refused: that is not the same as nothing.
func TestARefusedInboundListenerOpensNoServer(t *testing.T) {
	both(t, func(s *script, f ...string) {
		got := serving(s.client(f...))
		st := s.accept()
		st.expect(listeners, inboundName)
		bad := packed(&listenerv3.Listener{Name: inboundName}) // no filter chain
		st.send(listeners, "1", bad)
		synctest.Wait()
		if want := []string{"error"}; !slices.Equal(*got, want) {
			s.t.Errorf("told %q, want %q", *got, want)
		}
		st.send(listeners, "2", packed(wire.EncodeListener(bounded)))
		st.send(listeners, "3", bad)
		synctest.Wait()
		if want := []string{"error", "7", "error"}; !slices.Equal(*got, want) {
			s.t.Errorf("told %q, want %q", *got, want)
		}
	})
}

func TestAnInboundListenerThatIsTakenAwayOpensNoServer(t *testing.T) {
	both(t, func(s *script, f ...string) {
		got := serving(s.client(f...))
		st := s.accept()
		st.expect(listeners, inboundName)
		st.send(listeners, "1", packed(wire.EncodeListener(bounded)))
		synctest.Wait()
		st.send(listeners, "2", gone(inboundName))
		time.Sleep(time.Minute)
		synctest.Wait()
		if want := []string{"7"}; !slices.Equal(*got, want) {
			s.t.Errorf("told %q, want %q", *got, want)
		}
	})
}
