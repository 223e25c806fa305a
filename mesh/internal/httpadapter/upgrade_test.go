package httpadapter

import (
	"bufio"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// echoUpgrade leaves HTTP and sends back what comes.
func echoUpgrade(w http.ResponseWriter, r *http.Request) {
	if r.Header.Get("Upgrade") != "websocket" {
		w.WriteHeader(http.StatusUpgradeRequired)
		return
	}
	conn, rw, err := w.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
	io.Copy(conn, rw)
}

func TestUpgrade(t *testing.T) {
	each(t, func(t *testing.T, w wire) {
		m := w.to(t, http.HandlerFunc(echoUpgrade), resilience.Policy{Timeout: time.Hour})
		for range 2 {
			m.do(request(t, "GET", "http://payments/", nil)).Body.Close() // leaves an HTTP/2 connection where there is one
			<-m.watcher.finished
			req := request(t, "GET", "http://payments/ws", nil)
			req.Header = http.Header{"Connection": {"Upgrade"}, "Upgrade": {"websocket"}}
			resp := m.do(req)
			conn, ok := resp.Body.(io.ReadWriteCloser)
			if resp.StatusCode != 101 || !ok {
				t.Fatalf("status %d, body %T", resp.StatusCode, resp.Body)
			}
			if _, bounded := conn.(*upgraded).attempt.Context().Deadline(); bounded {
				t.Error("the route's timeout holds for the connection")
			}
			io.WriteString(conn, "ping\n")
			if line, err := bufio.NewReader(conn).ReadString('\n'); line != "ping\n" {
				t.Errorf("%q, %v", line, err)
			}
			if n := m.inFlight(); n != 1 {
				t.Errorf("%d in flight while upgraded", n)
			}
			conn.Close()
			<-m.watcher.finished
			if n := m.inFlight(); n != 0 {
				t.Errorf("%d in flight after Close", n)
			}
		}
	})
}
