package trafficpolicy

// A Fault is what is done to calls on purpose. Each part is for a percentage of the calls, chosen at random and by itself.
// It needs at least one of delay, abort, responseRate and connection.
type Fault struct {
	// Delay holds calls back. Default: none.
	Delay *Delay `json:"delay"`
	// Abort answers calls in the server's place. Default: none.
	Abort *Abort `json:"abort"`
	// ResponseRate slows the bodies of answers down. Default: none.
	ResponseRate *ResponseRate `json:"responseRate"`
	// Connection breaks connections. Default: none.
	Connection *Connection `json:"connection"`
	// ByHeader lets callers say what is done to their calls by Envoy's x-envoy-fault headers, at most in the percentages
	// given here. Default: false, the headers have no effect.
	ByHeader bool `json:"byHeader"`
	// MaxActive is how many calls may have a fault at a time, in each process. Default: no bound.
	MaxActive uint32 `json:"maxActive"`
}

// A Delay holds calls back.
type Delay struct {
	// Duration is for how long. Needed unless the fault is byHeader.
	Duration Duration `json:"duration"`
	// Percent of the calls are held back; 0 are none.
	Percent *Percent `json:"percent" rule:"required"`
}

// An Abort answers calls in the server's place. It has either httpStatus or grpcStatus, or, in a fault that is byHeader, neither.
type Abort struct {
	// HTTPStatus is the HTTP status of the answer, 200 to 599; gRPC calls get the gRPC status that it stands for.
	HTTPStatus uint32 `json:"httpStatus" rule:"min=200,max=599"`
	// GRPCStatus is the name of the gRPC status of the answer, such as UNAVAILABLE; HTTP calls get the HTTP status that it
	// stands for.
	GRPCStatus GRPCStatus `json:"grpcStatus"`
	// Percent of the calls are answered so; 0 are none.
	Percent *Percent `json:"percent" rule:"required"`
}

// A ResponseRate slows the bodies of answers down.
type ResponseRate struct {
	// BytesPerSecond is how fast each of them goes. Needed unless the fault is byHeader.
	BytesPerSecond Size `json:"bytesPerSecond"`
	// Percent of the answers are slowed down; 0 are none.
	Percent *Percent `json:"percent" rule:"required"`
}

// A Connection breaks connections.
type Connection struct {
	// Break is how: "refused" (nobody listens), "resetBody" (reset in the middle of an answer's body), "slowBody" (an answer's
	// body stops again and again) or "corruptCertificate" (the peer's certificate can't be verified).
	Break Break `json:"break" rule:"required"`
	// After is how many bytes of the body come through before a resetBody, or before each pause of a slowBody. Needed for a
	// slowBody. Default: none.
	After Size `json:"after"`
	// Pause is how long a slowBody stops each time. Needed for it.
	Pause Duration `json:"pause"`
	// Percent of the calls have it; 0 are none.
	Percent *Percent `json:"percent" rule:"required"`
}

// A Bandwidth bounds how fast bodies go, those of all calls together. It needs at least one of request and response.
type Bandwidth struct {
	// Request is for what callers send. Default: no bound.
	Request *Throughput `json:"request"`
	// Response is for what servers answer. Default: no bound.
	Response *Throughput `json:"response"`
}

// A Throughput bounds how fast bytes go one way.
type Throughput struct {
	// BytesPerSecond is the bound.
	BytesPerSecond Size `json:"bytesPerSecond" rule:"required"`
	// Fill is how much time's worth of bytes may go at once, 20ms to 1s. Default: 50ms.
	Fill Duration `json:"fill"`
}
