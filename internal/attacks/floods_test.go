package attacks

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"
	_ "google.golang.org/grpc/encoding/gzip" // registers it
)

// A crowd counts how many handlers run at a time.
type crowd struct{ now, most atomic.Int64 }

func (c *crowd) enter() {
	n := c.now.Add(1)
	for {
		was := c.most.Load()
		if n <= was || c.most.CompareAndSwap(was, n) {
			return
		}
	}
}

func (c *crowd) leave() { c.now.Add(-1) }

// heard has an honest caller ask on a connection of his own.
func (g *guarded) heard(t *testing.T, w Wire, during string) {
	t.Helper()
	if o := g.attack(&Attack{Header: [][2]string{{"x-honest", "yes"}}}, w, g.ca.Source(malloryID)); o.Answer != "200" && o.Answer != "OK" {
		t.Errorf("%s: %v: another caller: %+v", during, w, o)
	}
}

// drained reads what the server says until the connection ends, so that it can't wait for the flooder to read.
func drained(s *Session) <-chan struct{} {
	done := make(chan struct{})
	go func() {
		defer close(done)
		io.Copy(io.Discard, s.conn)
	}()
	return done
}

// Streams that are reset as soon as they are asked for do not run more handlers than a connection may have, and harm nobody else (T1, T2).
func TestT1RapidReset(t *testing.T) {
	var in crowd
	release := make(chan struct{})
	g := serve(t, strictly(only(aliceID, malloryID)))
	g.handle = func(_ http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Honest") != "" {
			return
		}
		in.enter()
		defer in.leave()
		select {
		case <-release:
		case <-r.Context().Done():
		}
	}
	g.stream = func(s grpc.ServerStream) {
		in.enter()
		defer in.leave()
		select {
		case <-release:
		case <-s.Context().Done():
		}
	}
	for _, w := range []Wire{HTTP2, GRPC} {
		in.most.Store(0)
		conn := g.dial(w, g.ca.Source(aliceID))
		s, err := Open(conn)
		if err != nil {
			t.Fatal(err)
		}
		done := drained(s)
		fields := (&Attack{}).fields(w)
		const streams = 10_000
		sent := 0
		for i := range uint32(streams) {
			if s.Headers(1+2*i, w == HTTP2, fields...) != nil || s.WriteRSTStream(1+2*i, http2.ErrCodeCancel) != nil {
				break
			}
			if sent++; i == streams/2 {
				g.heard(t, w, "rapid reset")
			}
		}
		conn.Close()
		<-done
		if most := in.most.Load(); most > 1024 {
			t.Errorf("%v: %d handlers at a time", w, most)
		}
		t.Logf("%v: %d streams were taken, %d handlers at a time", w, sent, in.most.Load())
		g.heard(t, w, "after a rapid reset")
	}
	close(release)
}

// Frames that cost their sender nothing end the connection, or cost the server nothing either; nobody else notices (T4).
func TestT4Floods(t *testing.T) {
	g := serve(t, strictly(only(aliceID, malloryID)))
	const frames = 20_000
	for name, write := range map[string]func(s *Session, i uint32) error{
		"PING":          func(s *Session, i uint32) error { return s.WritePing(false, [8]byte{byte(i)}) },
		"SETTINGS":      func(s *Session, _ uint32) error { return s.WriteSettings() },
		"empty DATA":    func(s *Session, _ uint32) error { return s.WriteData(1, false, nil) },
		"WINDOW_UPDATE": func(s *Session, _ uint32) error { return s.WriteWindowUpdate(0, 1) },
		"PRIORITY": func(s *Session, i uint32) error {
			return s.WritePriority(1+2*i, http2.PriorityParam{StreamDep: 0, Weight: 1})
		},
		"a frame that nobody knows": func(s *Session, _ uint32) error { return s.WriteRawFrame(0xfa, 0, 0, []byte("x")) },
		"CONTINUATION without end":  func(s *Session, _ uint32) error { return s.WriteContinuation(1, false, make([]byte, 1024)) },
	} {
		for _, w := range []Wire{HTTP2, GRPC} {
			conn := g.dial(w, g.ca.Source(aliceID))
			s, err := Open(conn)
			if err != nil {
				t.Fatal(err)
			}
			done := drained(s)
			if name == "CONTINUATION without end" {
				err = s.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: nil})
			} else {
				err = s.Headers(1, false, (&Attack{Method: "POST"}).fields(w)...)
			}
			sent := 0
			for i := uint32(0); err == nil && i < frames; i++ {
				if err = write(s, i); err == nil {
					sent++
				}
			}
			g.heard(t, w, name)
			conn.Close()
			<-done
			if name == "CONTINUATION without end" && err == nil {
				t.Errorf("%v: %d KiB of headers without end are taken", w, sent)
			}
			t.Logf("%s: %v: %d frames, then %v", name, w, sent, err)
		}
	}
}

// Messages that say they are enormous, or are when they are inflated, are refused before they are (T13).
func TestT13Messages(t *testing.T) {
	g := serve(t, strictly(only(aliceID)))
	bomb := gzipped(strings.Repeat("\x00", 64<<20))
	t.Logf("64 MiB are %d bytes", len(bomb))
	frame := func(flag byte, length uint32, body []byte) []byte {
		return append(binary.BigEndian.AppendUint32([]byte{flag}, length), body...)
	}
	for name, tc := range map[string]struct {
		header [][2]string
		body   []byte
		answer string
	}{
		"honest":                          {nil, frame(0, 0, nil), "OK"},
		"honest, compressed":              {[][2]string{{"grpc-encoding", "gzip"}}, frame(1, uint32(len(gzipped(""))), gzipped("")), "OK"},
		"4 GiB less one":                  {nil, frame(0, 1<<32-1, []byte("x")), "RESOURCE_EXHAUSTED"},
		"5 MiB":                           {nil, frame(0, 5<<20, []byte("x")), "RESOURCE_EXHAUSTED"},
		"a bomb":                          {[][2]string{{"grpc-encoding", "gzip"}}, frame(1, uint32(len(bomb)), bomb), "RESOURCE_EXHAUSTED"},
		"compressed by nothing":           {nil, frame(1, 1, []byte("x")), "INTERNAL"},
		"compressed by what nobody knows": {[][2]string{{"grpc-encoding", "zip9"}}, frame(1, 1, []byte("x")), "UNIMPLEMENTED"},
		"a flag that is none":             {nil, frame(0xff, 1, []byte("x")), "INTERNAL"},
	} {
		s, err := Open(g.dial(GRPC, g.ca.Source(aliceID)))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Headers(1, false, (&Attack{Header: tc.header}).fields(GRPC)...); err != nil {
			t.Fatal(err)
		}
		for b := tc.body; len(b) > 0; {
			n := min(len(b), 16<<10)
			if s.WriteData(1, n == len(b), b[:n]) != nil {
				break // it was refused before
			}
			b = b[n:]
		}
		if answer := s.Answer(1); answer != tc.answer {
			t.Errorf("%s: %s, want %s", name, answer, tc.answer)
		}
		s.conn.Close()
	}
}

// Connections that say nothing are not kept for ever, and do not keep others out (E14, H17); that they go after 10 s is
// tcpadapter.TestSilentConnectionsAreTurnedAway, and how many there may be TestLobbyIsBounded.
func TestE14H17Silence(t *testing.T) {
	g := serve(t, strictly(only(aliceID, malloryID)))
	var idle []io.Closer
	for range 500 {
		idle = append(idle, g.dial(HTTP1, nil))
	}
	// And those who say who they are, and then ask for nothing, or for half.
	for range 50 {
		c := g.dial(HTTP1, g.ca.Source(aliceID))
		c.SetDeadline(time.Time{})
		io.WriteString(c, "GET /ok HT")
		idle = append(idle, c)
	}
	var callers sync.WaitGroup
	for range 4 {
		callers.Go(func() {
			for _, w := range both {
				c, err := g.try(w, g.ca.Source(malloryID))
				if err != nil {
					t.Error(err)
					return
				}
				if answer := (&Attack{}).Send(w, c); answer != "200" && answer != "OK" {
					t.Errorf("%v: %s", w, answer)
				}
			}
		})
	}
	callers.Wait()
	for _, c := range idle {
		c.Close()
	}
}

func gzipped(text string) []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = io.WriteString(w, text) // a buffer takes all
	_ = w.Close()
	return b.Bytes()
}
