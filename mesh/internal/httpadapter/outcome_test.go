package httpadapter

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"go/build"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/weftmesh/weft/mesh/internal/tcpadapter"
	"github.com/weftmesh/weft/resilience"
)

func TestFailure(t *testing.T) {
	live := context.Background()
	canceled, cancel := context.WithCancel(live)
	cancel()
	late, cancel := context.WithTimeout(live, -1)
	defer cancel()
	for name, c := range map[string]struct {
		ctx  context.Context
		err  error
		want resilience.Cause
	}{
		"no connection":          {live, &tcpadapter.ConnectError{Cause: resilience.ConnectFailure, Err: io.EOF}, resilience.ConnectFailure},
		"host left":              {live, &tcpadapter.ConnectError{Cause: resilience.HostLeft, Err: io.EOF}, resilience.HostLeft},
		"canceled while dialing": {canceled, &tcpadapter.ConnectError{Cause: resilience.ConnectFailure, Err: io.EOF}, resilience.Canceled},
		"late":                   {late, io.EOF, resilience.Timeout},
		"eof":                    {live, io.EOF, resilience.Reset},
		"reset":                  {live, &net.OpError{Op: "read", Err: syscall.ECONNRESET}, resilience.Reset},
		"broken while writing":   {live, fmt.Errorf("net/http: HTTP/1.x transport connection broken: %w", errors.New("http: server closed idle connection")), resilience.Reset},
		"goaway, processed":      {live, errors.New("http2: server sent GOAWAY and closed the connection; LastStreamID=1, ErrCode=NO_ERROR"), resilience.Reset},
		"cannot retry, other":    {live, errors.New("http2: Transport: cannot retry err [stream error: stream ID 1; PROTOCOL_ERROR] after"), resilience.Reset},
		"cannot retry, refused":  {live, errors.New("http2: Transport: cannot retry err [stream error: stream ID 1; REFUSED_STREAM; received from peer] after"), resilience.Refused},
		"closed while idle":      {live, errors.New("http: server closed idle connection"), resilience.Unsent},
	} {
		out := failure(c.ctx, c.err)
		if out.Cause != c.want {
			t.Errorf("%s: cause %d, want %d", name, out.Cause, c.want)
		}
		if !errors.Is(out.Err, c.err) || c.ctx.Err() != nil && !errors.Is(out.Err, c.ctx.Err()) {
			t.Errorf("%s: %v does not wrap what it should", name, out.Err)
		}
	}
}

// net/http's own words must still be those we look for.
func TestSayingsAreNetHTTPs(t *testing.T) {
	var source strings.Builder
	for _, name := range []string{"transport.go", "h2_bundle.go", "internal/httpcommon/httpcommon.go"} {
		b, err := os.ReadFile(filepath.Join(build.Default.GOROOT, "src/net/http", name))
		if err != nil {
			t.Skip("no source of net/http here:", err)
		}
		source.Write(b)
	}
	for _, s := range sayings {
		if !strings.Contains(source.String(), `"`+s.prefix) {
			t.Errorf("net/http never says %q", s.prefix)
		}
	}
	if !strings.Contains(source.String(), "type nothingWrittenError struct") {
		t.Error("net/http has no nothingWrittenError")
	}
}

// mock is a connection to a server that answers each request with 200, until it is broken.
type mock struct {
	net.Conn
	closed chan struct{}
	once   sync.Once
	mute   atomic.Bool   // writing fails
	heard  chan struct{} // reading does not before this is closed, if writing does
}

func (m *mock) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	if err != nil && m.mute.Load() {
		<-m.heard
	}
	return n, err
}

func (m *mock) Write(p []byte) (int, error) {
	if m.mute.Load() {
		return 0, syscall.EPIPE
	}
	return m.Conn.Write(p)
}

func (m *mock) Close() error {
	m.once.Do(func() { close(m.closed) })
	return m.Conn.Close()
}

// What really comes out of net/http when a kept connection turns out to be dead, for a
// request that it does not send again by itself. Where it cannot write it closes the connection, and if it sees that by reading
// before it is told of the writing, it takes off the proof that nothing was written: such a request may have been sent, for all we know.
func TestDeadKeptConnectionIsUnsent(t *testing.T) {
	for name, kill := range map[string]func(client *mock, server net.Conn){
		"closed before it was written to": func(c *mock, s net.Conn) { s.Close(); <-c.closed },
		"takes no byte":                   func(c *mock, s net.Conn) { c.mute.Store(true) },
	} {
		t.Run(name, func(t *testing.T) {
			client, server := net.Pipe()
			conn := &mock{Conn: client, closed: make(chan struct{}), heard: make(chan struct{})}
			var serving sync.WaitGroup
			serving.Go(func() {
				r := bufio.NewReader(server)
				for {
					req, err := http.ReadRequest(r)
					if err != nil {
						return
					}
					io.Copy(io.Discard, req.Body)
					io.WriteString(server, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
				}
			})
			tr := &http.Transport{DialContext: func(context.Context, string, string) (net.Conn, error) { return conn, nil }}
			trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) {
				if i.Reused {
					kill(conn, server)
				}
			}}
			ctx := httptrace.WithClientTrace(context.Background(), trace)
			post := func() error {
				req := request(t, "POST", "http://x/", struct{ io.Reader }{strings.NewReader("x")})
				resp, err := tr.RoundTrip(req.WithContext(ctx))
				if err == nil {
					resp.Body.Close()
				}
				return err
			}
			if err := post(); err != nil {
				t.Fatal(err)
			}
			err := post()
			if err == nil {
				t.Fatal("the dead connection answered")
			}
			if out := failure(ctx, err); out.Cause != resilience.Unsent {
				t.Errorf("cause %d of %v", out.Cause, err)
			}
			close(conn.heard)
			conn.Close()
			server.Close()
			serving.Wait()
		})
	}
}
