package httpadapter

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"

	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// Many callers at once on a cold pool, of a server that takes few streams a
// connection: others take the streams of the connections they make, but all are answered.
func TestHerdOnAColdPool(t *testing.T) {
	s := started(t, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}), func(s *httptest.Server) {
		s.Config.Protocols = new(http.Protocols)
		s.Config.Protocols.SetUnencryptedHTTP2(true)
		s.Config.HTTP2 = &http.HTTP2Config{MaxConcurrentStreams: 3}
		s.Start()
	})
	m := newMesh(t, Config{}, false)
	m.serve(resolver.Cluster{HTTP2: true}, resilience.Policy{}, addr(s))
	var running sync.WaitGroup
	begin := make(chan struct{})
	for range 200 {
		running.Go(func() {
			<-begin
			resp, err := m.RoundTrip(request(t, "GET", "http://payments/", nil))
			if err != nil {
				t.Error(err)
				return
			}
			resp.Body.Close()
		})
	}
	close(begin)
	running.Wait()
}
