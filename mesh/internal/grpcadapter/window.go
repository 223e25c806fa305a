package grpcadapter

// Flow-control windows are fixed: gRPC's estimator of bandwidth sends a ping on
// each connection with every batch of data, which on a client with many
// hosts, each with little to say, about doubles the writes and reads of a call. Both
// ends must fix theirs for the pings to vanish. What is given up is that windows
// grow to fit a path; these fit 1 GB/s at 1 ms, 100 MB/s at 10 ms and 10 MB/s at 100 ms for one stream.
// They also bound what one peer can make this process keep unread.
const (
	streamWindow = 1 << 20
	connWindow   = 4 << 20
)
