package attacks

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/resolver"
)

// client is a mesh whose services are at these addresses, without TLS.
func client(t *testing.T, at map[string]string) *mesh.Mesh {
	t.Helper()
	services := resolver.Static{}
	for name, addr := range at {
		services[name] = &resolver.Service{
			VirtualHosts: []resolver.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: []resolver.Route{{Name: "r", To: []resolver.Target{{Cluster: name}}}}}},
			Clusters:     map[string]resolver.Cluster{name: {Name: name, HTTP2: true, Endpoints: []balancer.Endpoint{{Addr: addr}}}},
		}
	}
	m, err := mesh.New(t.Context(), mesh.WithResolver(services), mesh.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { m.Close() })
	return m
}

// An evil server answers each connection of HTTP/2 as a test says, frame by frame, and reads what it is sent.
func evil(t *testing.T, settings []http2.Setting, answer func(s *Session, stream uint32)) (addr string, streams *atomic.Int64) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	streams = new(atomic.Int64)
	var running sync.WaitGroup
	var open sync.Map
	running.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			open.Store(c, true)
			running.Go(func() {
				defer c.Close()
				preface := make([]byte, len(http2.ClientPreface))
				if _, err := io.ReadFull(c, preface); err != nil {
					return
				}
				s := &Session{Framer: http2.NewFramer(c, c), conn: c}
				s.AllowIllegalWrites, s.enc = true, hpack.NewEncoder(&s.block)
				if s.WriteSettings(settings...) != nil {
					return
				}
				for {
					f, err := s.ReadFrame()
					if err != nil {
						return
					}
					switch f := f.(type) {
					case *http2.SettingsFrame:
						if !f.IsAck() {
							s.WriteSettingsAck()
						}
					case *http2.HeadersFrame:
						streams.Add(1)
						answer(s, f.StreamID)
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		open.Range(func(c, _ any) bool { c.(net.Conn).Close(); return true })
		running.Wait()
	})
	return ln.Addr().String(), streams
}

// calls asks a service by HTTP and by gRPC.
func calls(t *testing.T, m *mesh.Mesh, wait time.Duration) (code int, web, rpc error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), wait)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://web/x", bytes.NewReader(make([]byte, 1<<10)))
	if err != nil {
		t.Fatal(err)
	}
	resp, web := m.RoundTripper().RoundTrip(req)
	if web == nil {
		code = resp.StatusCode
		_, web = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	cc, err := grpc.NewClient("mesh:///rpc", m.DialOptions()...)
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	return code, web, cc.Invoke(ctx, "/shop.Shop/Read", &emptypb.Empty{}, &emptypb.Empty{})
}

// Servers that say what can't be, or nothing that could be served, fail the call in its time, and nothing else (T5, T7, T14, T19).
func TestT5T7T14T19EvilServers(t *testing.T) {
	type fields = [][2]string
	head := func(s *Session, stream uint32, end bool, f ...[2]string) { s.Headers(stream, end, f...) }
	for name, tc := range map[string]struct {
		settings []http2.Setting
		answer   func(s *Session, stream uint32)
		code     int        // of HTTP; 0 is an error
		rpc      codes.Code // any but OK if it is OK
	}{
		"T5 frames of no size": {settings: []http2.Setting{{ID: http2.SettingMaxFrameSize, Val: 0}}},
		"T5 no window":         {settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 0}}},
		"T5 a window too big":  {settings: []http2.Setting{{ID: http2.SettingInitialWindowSize, Val: 1<<32 - 1}}},
		"T7 no streams":        {settings: []http2.Setting{{ID: http2.SettingMaxConcurrentStreams, Val: 0}}},
		"T7 GOAWAY, then no streams": {answer: func(s *Session, _ uint32) {
			s.WriteGoAway(0, http2.ErrCodeNo, nil)
			s.WriteSettings(http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: 0})
		}},
		"T14 a status of gRPC that is no number": {answer: func(s *Session, n uint32) {
			head(s, n, true, fields{{":status", "200"}, {"content-type", "application/grpc"}, {"grpc-status", "OK"}}...)
		}, code: 200},
		"T14 a status of gRPC beyond all": {answer: func(s *Session, n uint32) {
			head(s, n, true, fields{{":status", "200"}, {"content-type", "application/grpc"}, {"grpc-status", "99"}}...)
		}, code: 200},
		"T14 no status of gRPC": {answer: func(s *Session, n uint32) {
			head(s, n, false, fields{{":status", "200"}, {"content-type", "application/grpc"}}...)
			s.WriteData(n, true, make([]byte, 5))
		}, code: 200, rpc: codes.Internal},
		"T14 500 without a status of gRPC": {answer: func(s *Session, n uint32) {
			head(s, n, true, fields{{":status", "500"}}...)
		}, code: 500, rpc: codes.Unknown},
		"T14 a message of percents": {answer: func(s *Session, n uint32) {
			head(s, n, true, fields{{":status", "200"}, {"content-type", "application/grpc"}, {"grpc-status", "3"}, {"grpc-message", "%zz%%0d%0a%"}}...)
		}, code: 200, rpc: codes.InvalidArgument},
		"T14 a status that is none": {answer: func(s *Session, n uint32) {
			head(s, n, true, fields{{":status", "2000"}}...)
		}, code: 2000}, // as net/http's client has it: no success to anybody
		"T19 a promise": {answer: func(s *Session, n uint32) {
			s.block.Reset()
			s.enc.WriteField(hpack.HeaderField{Name: ":path", Value: "/admin"})
			s.WritePushPromise(http2.PushPromiseParam{StreamID: n, PromiseID: 2, BlockFragment: s.block.Bytes(), EndHeaders: true})
		}},
		"T19 an answer that nobody asked for": {answer: func(s *Session, _ uint32) {
			head(s, 2, true, fields{{":status", "200"}}...)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			answer := tc.answer
			if answer == nil {
				answer = func(*Session, uint32) {}
			}
			addr, streams := evil(t, tc.settings, answer)
			wait := patience
			if tc.code == 0 {
				wait = time.Second // there is nothing to wait for
			}
			code, web, rpc := calls(t, client(t, map[string]string{"web": addr, "rpc": addr}), wait)
			if code != tc.code || (web == nil) != (tc.code != 0) {
				t.Errorf("HTTP: %d, %v", code, web)
			}
			if got := status.Code(rpc); got == codes.OK || tc.rpc != 0 && got != tc.rpc {
				t.Errorf("gRPC: %v", rpc)
			}
			if n := streams.Load(); n > 3*64 { // a call follows hosts that leave 64 times at most
				t.Errorf("%d streams were asked for: it spins", n)
			}
		})
	}
}

// A redirect to another service does not take the caller's credentials along (T16).
func TestT16Redirect(t *testing.T) {
	var leaked, called atomic.Int64
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		called.Add(1)
		if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" {
			leaked.Add(1)
		}
	}))
	defer other.Close()
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") == "" {
			t.Error("the service that is called gets no credentials")
		}
		http.Redirect(w, r, "http://other/x", http.StatusTemporaryRedirect)
	}))
	defer first.Close()
	services := resolver.Static{}
	for name, s := range map[string]*httptest.Server{"web": first, "other": other} {
		services[name] = &resolver.Service{
			VirtualHosts: []resolver.VirtualHost{{Name: "v", Domains: []string{"*"}, Routes: []resolver.Route{{Name: "r", To: []resolver.Target{{Cluster: name}}}}}},
			Clusters:     map[string]resolver.Cluster{name: {Name: name, Endpoints: []balancer.Endpoint{{Addr: s.Listener.Addr().String()}}}},
		}
	}
	m, err := mesh.New(t.Context(), mesh.WithResolver(services), mesh.WithLogger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://web/", nil)
	req.Header.Set("Authorization", "Bearer secret")
	req.Header.Set("Cookie", "secret=1")
	resp, err := (&http.Client{Transport: m.RoundTripper()}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if called.Load() != 1 || leaked.Load() != 0 {
		t.Errorf("the other service was called %d times, with credentials %d times", called.Load(), leaked.Load())
	}
}
