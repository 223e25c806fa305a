// Package resilience decides whether a call may go, may go again, and has
// waited long enough. It decides only: the engine acts.
package resilience

// An Outcome is how an attempt ended, in terms that gRPC and HTTP share.
type Outcome struct {
	// Err is what kept the attempt from being answered; nil if the server answered.
	Err error
	// Status is the HTTP status of the answer; 0 if there is none.
	Status int
	// Code is the gRPC status code when GRPC is set.
	Code uint32
	// GRPC says that Code counts.
	GRPC bool
	// Cause says what kind of failure Err is.
	Cause Cause
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
		case 2, 4, 8, 13, 14, 15: // Unknown, DeadlineExceeded, ResourceExhausted, Internal, Unavailable, DataLoss
			return false
		}
		return true
	}
	return o.Err == nil && o.Status < 500
}
