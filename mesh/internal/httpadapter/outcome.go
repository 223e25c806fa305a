package httpadapter

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"

	"github.com/weftmesh/weft/mesh/internal/tcpadapter"
	"github.com/weftmesh/weft/resilience"
)

// failure is the outcome of a RoundTrip of net/http that failed. It is Reset, which is to say
// that a server may have seen the request, unless there is proof that none did.
func failure(ctx context.Context, err error) resilience.Outcome {
	if gone := ctx.Err(); gone != nil {
		if idle, ok := expired(ctx); ok {
			if !errors.Is(err, idle) {
				err = fmt.Errorf("%w: %w", idle, err)
			}
			return resilience.Outcome{Err: err, Cause: resilience.Timeout}
		}
		if !errors.Is(err, gone) {
			err = fmt.Errorf("%w: %w", gone, err)
		}
		if errors.Is(gone, context.DeadlineExceeded) {
			return resilience.Outcome{Err: err, Cause: resilience.Timeout}
		}
		return resilience.Outcome{Err: err, Cause: resilience.Canceled}
	}
	out := resilience.Outcome{Err: err, Cause: resilience.Reset}
	var connect *tcpadapter.ConnectError
	var stream streamError
	switch {
	case errors.As(err, &connect):
		out.Cause = connect.Cause
	case errors.As(err, &stream):
		if stream.Code == refusedStream {
			out.Cause = resilience.Refused
		}
	case errors.Is(err, errStale):
		out.Cause = resilience.Stale
	case unwritten(err):
		out.Cause = resilience.Unsent
	default:
		out.Cause = said(err.Error())
	}
	return out
}

// unwritten reports that net/http says, by a type it does not export, that not
// one byte of an HTTP/1.1 request was written.
func unwritten(err error) bool {
	for ; err != nil; err = errors.Unwrap(err) {
		if reflect.TypeOf(err).String() == "http.nothingWrittenError" {
			return true
		}
	}
	return false
}

// streamError is the HTTP/2 error of one stream. net/http keeps its own type to
// itself, but fills in any struct with these fields (errors.As).
type streamError struct {
	StreamID uint32
	Code     uint32
	Cause    error
}

func (e streamError) Error() string { return "http2: stream error" }

// refusedStream is REFUSED_STREAM: not processed (RFC 9113, 8.7).
const refusedStream = 7

// said finds the cause in the words of errors that net/http exports in no other
// way. Tests hold the words to the Go in use.
func said(text string) resilience.Cause {
	for _, s := range sayings {
		if strings.HasPrefix(text, s.prefix) && strings.Contains(text, s.contains) {
			return s.means
		}
	}
	return resilience.Reset
}

var sayings = []struct {
	prefix, contains string
	means            resilience.Cause
}{
	// The server had closed the idle connection before the request was written to it.
	{"http: server closed idle connection", "", resilience.Unsent},
	{"readLoopPeekFailLocked:", "", resilience.Unsent},
	{"http: idle connection timeout", "", resilience.Unsent},
	{"http: CloseIdleConnections called", "", resilience.Unsent},
	// net/http would have sent it again but for the body.
	{"http2: Transport: cannot retry err", "REFUSED_STREAM", resilience.Refused},
	{"http2: Transport: cannot retry err", "graceful shutdown GOAWAY", resilience.Refused},
	// The server shut the connection down, and this stream was above the last it took.
	{"http2: Transport received Server's graceful shutdown GOAWAY", "", resilience.Refused},
	{"http2: client conn not usable", "", resilience.Unsent},
	{"http2: client conn could not be established", "", resilience.Unsent},
	// The request can be sent by nobody.
	{"net/http: invalid ", "", resilience.Unsent},
	{"http2: invalid ", "", resilience.Unsent},
}
