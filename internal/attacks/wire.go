package attacks

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// patience bounds one exchange.
const patience = 20 * time.Second

// sendHTTP1 returns the status of the first answer.
func (a *Attack) sendHTTP1(c net.Conn) string {
	_ = c.SetDeadline(time.Now().Add(patience)) // what can't be bounded fails otherwise
	go func() { _, _ = io.WriteString(c, a.lines()) }()
	r := bufio.NewReader(c)
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return ended(err)
		}
		if _, status, ok := strings.Cut(line, " "); ok && strings.HasPrefix(line, "HTTP/1") && len(status) >= 3 && status[:3] != "100" {
			return status[:3]
		}
	}
}

// sendHTTP2 returns the status of stream 1, of gRPC where there is one.
func (a *Attack) sendHTTP2(w Wire, c net.Conn) string {
	s, err := Open(c)
	if err != nil {
		return "closed"
	}
	trailed := len(a.Trailer) > 0
	if err := s.Headers(1, w != GRPC && !trailed, a.fields(w)...); err != nil {
		return "closed"
	}
	// If it fails so does what follows.
	if w == GRPC || trailed {
		_ = s.WriteData(1, !trailed, make([]byte, 5)) // an empty message
	}
	if trailed {
		_ = s.Headers(1, true, a.Trailer...)
	}
	return s.Answer(1)
}

// A Session is an HTTP/2 connection of which the caller writes the frames.
type Session struct {
	*http2.Framer
	conn  net.Conn
	block bytes.Buffer
	enc   *hpack.Encoder
}

// Open begins a session.
func Open(c net.Conn) (*Session, error) {
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		return nil, err
	}
	s := &Session{Framer: http2.NewFramer(c, c), conn: c}
	s.enc = hpack.NewEncoder(&s.block)
	s.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	s.AllowIllegalWrites = true
	if _, err := io.WriteString(c, http2.ClientPreface); err != nil {
		return nil, err
	}
	return s, s.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1 << 20})
}

// Headers begins a stream, with as many frames as its fields need.
func (s *Session) Headers(stream uint32, end bool, fields ...[2]string) error {
	const most = 16 << 10
	s.block.Reset()
	for _, f := range fields {
		if err := s.enc.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}); err != nil {
			return err
		}
	}
	b := s.block.Bytes()
	first := b[:min(len(b), most)]
	b = b[len(first):]
	if err := s.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: first, EndStream: end, EndHeaders: len(b) == 0}); err != nil {
		return err
	}
	for len(b) > 0 {
		next := b[:min(len(b), most)]
		b = b[len(next):]
		if err := s.WriteContinuation(stream, len(b) == 0, next); err != nil {
			return err
		}
	}
	return nil
}

// Answer waits for the end of a stream, or of the connection.
func (s *Session) Answer(stream uint32) string {
	status := ""
	for {
		f, err := s.ReadFrame()
		if err != nil {
			if status != "" {
				return status
			}
			return ended(err)
		}
		switch f := f.(type) {
		case *http2.SettingsFrame:
			if !f.IsAck() {
				_ = s.WriteSettingsAck()
			}
		case *http2.GoAwayFrame:
			if f.LastStreamID < stream || f.ErrCode != http2.ErrCodeNo {
				return "GOAWAY " + f.ErrCode.String()
			}
		case *http2.RSTStreamFrame:
			if f.StreamID == stream && status == "" {
				return "RST " + f.ErrCode.String()
			}
			if f.StreamID == stream {
				return status
			}
		case *http2.MetaHeadersFrame:
			if f.StreamID != stream {
				continue
			}
			status = statusOf(f, status)
			if f.StreamEnded() {
				return status
			}
		case *http2.DataFrame:
			if f.StreamID == stream && f.StreamEnded() {
				return status
			}
		}
	}
}

// ended is how a connection without an answer ended.
func ended(err error) string {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return "no answer"
	}
	return "closed"
}

// statusOf is gRPC's status, if it is said; else that of HTTP, or the one before.
func statusOf(f *http2.MetaHeadersFrame, before string) string {
	for _, h := range f.Fields {
		if h.Name == "grpc-status" {
			if code, err := strconv.Atoi(h.Value); err == nil && code < len(grpcCodes) {
				return grpcCodes[code]
			}
			return "grpc-status " + h.Value
		}
	}
	if before == "" {
		return f.PseudoValue("status")
	}
	return before
}

var grpcCodes = [...]string{
	"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED",
	"FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
}
