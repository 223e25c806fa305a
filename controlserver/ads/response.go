package ads

import (
	"fmt"
	"hash/maphash"
	"slices"
	"sync"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	rpcstatus "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// A response is one message to clients but for its nonce. It is immutable;
// streams that send the same share it.
type response struct {
	protocol Protocol
	kind     kind
	version  string
	sent     []*Resource
	gone     []string // removed_resources, delta only
	lost     []loss   // resource_errors (xRFC TP3)

	once sync.Once
	body mem.Buffer // everything but the nonce
	err  error
}

// A loss is a name a client asked for that has no resource.
type loss struct{ name, why string }

// encode returns the message without its nonce; the first caller makes it. A
// message is the concatenation of its parts (protobuf encoding: last one wins,
// repeated fields append), so the resources' own bytes are copied, not marshalled.
func (r *response) encode() (mem.Buffer, error) {
	r.once.Do(func() {
		var errs []*discoveryv3.ResourceError
		for _, l := range r.lost {
			errs = append(errs, &discoveryv3.ResourceError{
				ResourceName: &discoveryv3.ResourceName{Name: l.name},
				ErrorDetail:  &rpcstatus.Status{Code: int32(codes.NotFound), Message: l.why},
			})
		}
		var head proto.Message
		if r.protocol == Delta {
			head = &discoveryv3.DeltaDiscoveryResponse{
				SystemVersionInfo: r.version, TypeUrl: r.kind.url(), RemovedResources: r.gone, ResourceErrors: errs,
			}
		} else {
			head = &discoveryv3.DiscoveryResponse{VersionInfo: r.version, TypeUrl: r.kind.url(), ResourceErrors: errs}
		}
		body := make([]byte, 0, proto.Size(head)+r.size())
		if body, r.err = (proto.MarshalOptions{Deterministic: true}).MarshalAppend(body, head); r.err != nil {
			r.err = fmt.Errorf("%s response: %w", shortType(r.kind.url()), r.err)
			return
		}
		for _, res := range r.sent {
			body = append(body, r.bytes(res)...)
		}
		r.body = mem.SliceBuffer(body)
	})
	return r.body, r.err
}

// divide splits a delta response, or one of a type that need not be whole, into
// several of at most about limit bytes each.
func (r *response) divide(limit int) []*response {
	if r.size() <= limit {
		return []*response{r}
	}
	var parts []*response
	rest := r.sent
	for len(rest) > 0 {
		n, size := 0, 0
		for n < len(rest) && (n == 0 || size+rest[n].Size() <= limit) {
			size += rest[n].Size()
			n++
		}
		parts = append(parts, &response{protocol: r.protocol, kind: r.kind, version: r.version, sent: slices.Clip(rest[:n])})
		rest = rest[n:]
	}
	parts[0].gone, parts[0].lost = r.gone, r.lost
	return parts
}

func (r *response) bytes(res *Resource) []byte {
	if r.protocol == Delta {
		return res.entry
	}
	return res.plain
}

// size is about how many bytes the response takes.
func (r *response) size() int {
	n := 0
	for _, res := range r.sent {
		n += len(r.bytes(res))
	}
	return n
}

func (r *response) sum(seed maphash.Seed) uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	write := func(ss ...string) {
		for _, s := range ss {
			_, _ = h.WriteString(s) // never fails
			_ = h.WriteByte(0)
		}
	}
	_ = h.WriteByte(byte(r.protocol))
	_ = h.WriteByte(byte(r.kind))
	write(r.version)
	for _, res := range r.sent {
		write(res.Name, res.Version)
	}
	_ = h.WriteByte(1)
	write(r.gone...)
	_ = h.WriteByte(2)
	for _, l := range r.lost {
		write(l.name, l.why)
	}
	return h.Sum64()
}

func (r *response) equal(o *response) bool {
	return r.protocol == o.protocol && r.kind == o.kind && r.version == o.version && slices.Equal(r.gone, o.gone) && slices.Equal(r.lost, o.lost) &&
		slices.EqualFunc(r.sent, o.sent, func(a, b *Resource) bool {
			return a == b || a.Name == b.Name && a.Version == b.Version
		})
}

// names calls yield with every resource name the response speaks of.
func (r *response) names(yield func(name, version string)) {
	for _, res := range r.sent {
		yield(res.Name, res.Version)
	}
	for _, name := range r.gone {
		yield(name, "")
	}
	for _, l := range r.lost {
		yield(l.name, "")
	}
}

// A shelf keeps the responses made from one publication, for the next stream
// that needs the same.
type shelf struct {
	seed maphash.Seed

	mu    sync.Mutex
	bySum map[uint64]*response
	bytes int
}

// shelfBytes bounds what a shelf keeps; a response that does not fit is made again.
const shelfBytes = 16 << 20

func newShelf() *shelf { return &shelf{seed: maphash.MakeSeed(), bySum: make(map[uint64]*response)} }

// share returns a response equal to r, r itself if there is none yet.
func (s *shelf) share(r *response) *response {
	sum := r.sum(s.seed)
	s.mu.Lock()
	defer s.mu.Unlock()
	if have := s.bySum[sum]; have != nil {
		if have.equal(r) {
			return have
		}
		return r
	}
	const overhead = 256
	if size := r.size() + overhead; s.bytes+size <= shelfBytes {
		s.bytes += size
		s.bySum[sum] = r
	}
	return r
}

// A frame is a response with its nonce, as handed to gRPC. It is a proto.Message
// too, made only when somebody asks: another codec, an interceptor.
type frame struct {
	protocol Protocol
	body     mem.Buffer
	nonce    mem.Buffer // the field, encoded

	once sync.Once
	msg  proto.Message
}

func newFrame(r *response, nonce string) (*frame, error) {
	const field = 5 // of the nonce, in both responses
	body, err := r.encode()
	if err != nil {
		return nil, err
	}
	return &frame{protocol: r.protocol, body: body, nonce: mem.SliceBuffer(appendString(make([]byte, 0, 2+len(nonce)), protowire.Number(field), nonce))}, nil
}

// ProtoReflect makes the frame a proto.Message.
func (f *frame) ProtoReflect() protoreflect.Message {
	f.once.Do(func() {
		f.msg = &discoveryv3.DeltaDiscoveryResponse{}
		if f.protocol == StateOfTheWorld {
			f.msg = &discoveryv3.DiscoveryResponse{}
		}
		whole := slices.Concat(f.body.ReadOnlyData(), f.nonce.ReadOnlyData())
		if err := proto.Unmarshal(whole, f.msg); err != nil {
			panic(fmt.Sprintf("response of our own making: %v", err)) // ends this stream only
		}
	})
	return f.msg.ProtoReflect()
}

// codec is gRPC's protobuf codec, which besides sends frames as they are.
type codec struct{ encoding.CodecV2 }

func (c codec) Marshal(v any) (mem.BufferSlice, error) {
	if f, ok := v.(*frame); ok {
		return mem.BufferSlice{f.body, f.nonce}, nil
	}
	return c.CodecV2.Marshal(v)
}
