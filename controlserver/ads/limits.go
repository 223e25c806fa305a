package ads

import (
	"errors"
	"fmt"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that ours stands in front of
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// Limits bound what one client, and all clients, can make the server hold. A
// zero field takes its default.
type Limits struct {
	Streams       int // open at once: 20,000
	Subscriptions int // names a stream may be subscribed to, for each type: 20,000
	NameBytes     int // of one resource name: 2,048
	NodeBytes     int // of the node in the first request: 64 KiB
	RequestBytes  int // of one request: 4 MiB
	ResponseBytes int // above which a response is divided where the protocol can: 2 MiB (gRPC clients take 4 MiB)

	FirstRequest time.Duration // until a stream must have sent its node: 30 s
	Send         time.Duration // until a client must have made room for a message: 2 min
}

func (l Limits) withDefaults() Limits {
	def(&l.Streams, 20_000)
	def(&l.Subscriptions, 20_000)
	def(&l.NameBytes, 2048)
	def(&l.NodeBytes, 64<<10)
	def(&l.RequestBytes, 4<<20)
	def(&l.ResponseBytes, 2<<20)
	def(&l.FirstRequest, 30*time.Second)
	def(&l.Send, 2*time.Minute)
	return l
}

func def[T int | time.Duration](v *T, d T) {
	if *v <= 0 {
		*v = d
	}
}

// ServerOptions are what a grpc.Server for this service should be made with:
// keepalive that finds a dead client within 50 s, limits on connections, small
// buffers because there are many quiet connections, and the codec that lets
// streams share encoded responses (without it they are encoded again and again).
func ServerOptions(l Limits) []grpc.ServerOption {
	l = l.withDefaults()
	// Fixed windows keep gRPC from probing the bandwidth at every
	// acknowledgement; requests are small, so the smallest do.
	const window = 64 << 10
	return []grpc.ServerOption{
		grpc.ForceServerCodecV2(codec{encoding.GetCodecV2("proto")}),
		grpc.KeepaliveParams(keepalive.ServerParameters{Time: 30 * time.Second, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 5 * time.Second, PermitWithoutStream: true}),
		grpc.MaxRecvMsgSize(l.RequestBytes),
		grpc.MaxConcurrentStreams(100),
		grpc.MaxHeaderListSize(64 << 10),
		grpc.ConnectionTimeout(10 * time.Second),
		grpc.StaticStreamWindowSize(window),
		grpc.StaticConnWindowSize(window),
		grpc.ReadBufferSize(4 << 10),
	}
}

// checkNode returns why the node of a first request is not acceptable.
func (l Limits) checkNode(n *corev3.Node) error {
	switch {
	case n == nil:
		return invalid("node: missing: the first request of a stream must carry it")
	case n.GetId() == "":
		return invalid("node.id: empty")
	case len(n.GetId()) > l.NameBytes:
		return invalid("node.id: %d bytes, more than the limit of %d", len(n.GetId()), l.NameBytes)
	}
	if size := proto.Size(n); size > l.NodeBytes {
		return invalid("node: %d bytes, more than the limit of %d", size, l.NodeBytes)
	}
	return nil
}

// checkNames returns why the names in a field of a request are not acceptable.
func (l Limits) checkNames(field string, names []string) error {
	if len(names) > l.Subscriptions {
		return invalid("%s: %d names, more than the limit of %d", field, len(names), l.Subscriptions)
	}
	for i, name := range names {
		if err := l.checkName(name); err != nil {
			return invalid("%s[%d]: %w", field, i, err)
		}
	}
	return nil
}

func (l Limits) checkName(name string) error {
	switch {
	case name == "":
		return errors.New("empty")
	case len(name) > l.NameBytes:
		return fmt.Errorf("%d bytes, more than the limit of %d", len(name), l.NameBytes)
	case strings.IndexByte(name, 0) >= 0:
		return errors.New("contains a NUL byte")
	}
	return nil
}

func invalid(format string, args ...any) error {
	return status.Error(codes.InvalidArgument, fmt.Errorf(format, args...).Error())
}
