package ratelimit

import (
	"testing"

	descriptor "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// FuzzRequest: whatever is asked, it is answered for each descriptor, or refused for what it is.
func FuzzRequest(f *testing.F) {
	back := describe("a=1")
	back.HitsAddend, back.IsNegativeHits = wrapperspb.UInt64(1<<63), true
	for _, q := range []*rls.RateLimitRequest{
		{},
		{Domain: "d", HitsAddend: 1<<32 - 1, Descriptors: []*descriptor.RateLimitDescriptor{describe("a=1"), describe("a=1 b=2"), back}},
		{Domain: "d", Descriptors: []*descriptor.RateLimitDescriptor{{}, {Entries: []*descriptor.RateLimitDescriptor_Entry{{}}}}},
	} {
		b, err := proto.Marshal(q)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	s := start(f, Config{MaxKeys: 640},
		Limit{Domain: "d", Entries: entries("a"), Requests: 1 << 20, Per: hour}, Limit{Domain: "d", Entries: entries("a=1 b"), Requests: 1<<32 - 1, Per: hour})
	f.Fuzz(func(t *testing.T, b []byte) {
		var q rls.RateLimitRequest
		if proto.Unmarshal(b, &q) != nil {
			return
		}
		a, err := s.ShouldRateLimit(t.Context(), &q)
		switch {
		case err != nil && status.Code(err) != codes.InvalidArgument:
			t.Error(err)
		case err == nil && len(a.GetStatuses()) != len(q.GetDescriptors()):
			t.Errorf("%d answers to %d descriptors", len(a.GetStatuses()), len(q.GetDescriptors()))
		}
		for _, st := range a.GetStatuses() {
			if l := st.GetCurrentLimit(); l != nil && (st.GetLimitRemaining() > l.GetRequestsPerUnit() || st.GetDurationUntilReset().AsDuration() <= 0) {
				t.Errorf("%v", st)
			}
		}
	})
}
