package grpcadapter

// Flow-control windows are fixed: gRPC's estimator of bandwidth sends a ping on
// each connection with every batch of data, which on a client with many
// hosts, each with little to say, about doubles the reads and writes of a call. Both
// ends must fix theirs for the pings to vanish; BenchmarkClientCPU says what it saves.
// What is given up is that windows grow to fit a path: for one stream these carry
// 1 GB/s at 1 ms, 100 MB/s at 10 ms and 10 MB/s at 100 ms. They also bound what one peer
// can make this process keep unread. Who needs others says so by gRPC's own
// options after those of the mesh, at both ends.
const (
	streamWindow = 1 << 20
	connWindow   = 4 << 20
)
