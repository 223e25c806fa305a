// Package resilience decides whether a call may go, may go again, and has
// waited long enough. It decides only: the engine acts.
//
// What is configured is a value: it is built whole, never changed, and its Check
// names all that makes no sense in it. What must survive a change of configuration
// is live, is made by a New function unless its zero value says otherwise, takes
// the value in force with each question, and is safe for concurrent use. Where a
// question depends on time, the caller hands in what its clock says, and where it
// depends on chance, a random number.
package resilience

// An Outcome is how an attempt ended, in terms that gRPC and HTTP share.
type Outcome struct {
	// Err is what kept the attempt from being answered; nil if the server answered.
	Err error
	// Header is the answer's headers, and trailers if there are any; nil if
	// nobody can read them. It is read before the answer is discarded, not after.
	Header Header
	// Status is the HTTP status of the answer; 0 if there is none.
	Status int
	// Code is the gRPC status code when GRPC is set.
	Code uint32
	// GRPC says that Code counts.
	GRPC bool
	// Cause says what kind of failure Err is.
	Cause Cause
	// Idempotent says that the call does no harm when it is processed twice: an HTTP
	// method that is so by definition (RFC 9110, 9.2.2), or one declared to be.
	Idempotent bool
}

// A Cause is what went wrong below the protocol's own answers.
type Cause uint8

// The causes. Of the first four the server has surely seen nothing, so that the call may go elsewhere.
const (
	None           Cause = iota
	HostLeft             // the host left the configuration before the call was sent
	ConnectFailure       // no connection could be made (Envoy connect-failure)
	Refused              // the server said it did not process the call: REFUSED_STREAM, GOAWAY (Envoy refused-stream)
	Unsent               // not sent for another reason
	Reset                // the connection broke after the call was sent, before the answer (Envoy reset)
	Canceled             // the caller gave up
	Timeout              // the deadline passed
	TryTimeout           // the attempt's own time was up, the call's is not (Envoy per_try_timeout)
	Stale                // a connection that was kept from before broke under the call: most likely it was dead already, but the server may have seen the call
)

// Unprocessed reports that no server has seen the call, so that it is always safe to repeat.
func (o Outcome) Unprocessed() bool { return o.Cause >= HostLeft && o.Cause <= Unsent }

// OK reports that the host did its work: it answered, and not with a server's failure.
func (o Outcome) OK() bool {
	if o.Err != nil && o.Cause != None {
		return false
	}
	if o.GRPC {
		switch o.Code {
		case codeUnknown, codeDeadlineExceeded, codeResourceExhausted, codeInternal, codeUnavailable, codeDataLoss:
			return false
		}
		return true
	}
	return o.Err == nil && o.Status < 500
}

// Final reports that the server asks for its answer not to be followed by a retry: by x-envoy-overloaded, or, in
// gRPC, by a push-back that is no time (gRFC A6). It is true of failures only.
func (o Outcome) Final() bool {
	if o.Header == nil || o.OK() {
		return false
	}
	if _, overloaded := first(o.Header, envoyOverloaded); overloaded {
		return true
	}
	if o.GRPC {
		if v, ok := first(o.Header, pushback); ok {
			_, may := ParsePushback(v)
			return !may
		}
	}
	return false
}

// The gRPC status codes that decisions turn on.
const (
	codeCancelled         = 1
	codeUnknown           = 2
	codeDeadlineExceeded  = 4
	codeResourceExhausted = 8
	codeInternal          = 13
	codeUnavailable       = 14
	codeDataLoss          = 15
	lastCode              = 16
)
