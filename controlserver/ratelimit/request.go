package ratelimit

import (
	"crypto/sha256"
	"encoding/binary"
	"math"
	"time"

	descriptor "github.com/envoyproxy/go-control-plane/envoy/extensions/common/ratelimit/v3"
	rls "github.com/envoyproxy/go-control-plane/envoy/service/ratelimit/v3"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// What one request may hold. Values are as long as headers can be: a limit that a long value
// makes fail would not limit. They are not kept.
const (
	mostDescriptors = 64
	mostEntries     = 32
	mostName        = 1 << 10 // bytes of a domain or key
	mostValue       = 128 << 10
)

// check returns why a request is not acceptable.
func check(q *rls.RateLimitRequest) error {
	switch {
	case q.GetDomain() == "":
		return invalid("domain: empty")
	case len(q.GetDomain()) > mostName:
		return invalid("domain: %d bytes, more than the limit of %d", len(q.GetDomain()), mostName)
	case len(q.GetDescriptors()) == 0:
		return invalid("descriptors: empty")
	case len(q.GetDescriptors()) > mostDescriptors:
		return invalid("descriptors: %d, more than the limit of %d", len(q.GetDescriptors()), mostDescriptors)
	}
	for i, d := range q.GetDescriptors() {
		switch {
		case len(d.GetEntries()) == 0:
			return invalid("descriptors[%d].entries: empty", i)
		case len(d.GetEntries()) > mostEntries:
			return invalid("descriptors[%d].entries: %d, more than the limit of %d", i, len(d.GetEntries()), mostEntries)
		}
		for j, e := range d.GetEntries() {
			switch {
			case e.GetKey() == "":
				return invalid("descriptors[%d].entries[%d].key: empty", i, j)
			case len(e.GetKey()) > mostName:
				return invalid("descriptors[%d].entries[%d].key: %d bytes, more than the limit of %d", i, j, len(e.GetKey()), mostName)
			case len(e.GetValue()) > mostValue:
				return invalid("descriptors[%d].entries[%d].value: %d bytes, more than the limit of %d", i, j, len(e.GetValue()), mostValue)
			}
		}
	}
	return nil
}

func invalid(format string, args ...any) error {
	return status.Errorf(codes.InvalidArgument, format, args...)
}

// hitsOf is how many hits a descriptor counts, less than 0 if it gives some back.
func hitsOf(q *rls.RateLimitRequest, d *descriptor.RateLimitDescriptor) int64 {
	hits := int64(max(q.GetHitsAddend(), 1))
	if d.GetHitsAddend() != nil {
		hits = int64(min(d.GetHitsAddend().GetValue(), math.MaxUint32))
	}
	if d.GetIsNegativeHits() {
		hits = -hits
	}
	return hits
}

// A key names a count: a hash, so that it is small whatever the values are, and
// nobody who looks into the store sees them.
type key [16]byte

// keyOf is the key of a descriptor in windows of that length.
func keyOf(domain string, per time.Duration, entries []*descriptor.RateLimitDescriptor_Entry) key {
	var room [256]byte
	b := binary.BigEndian.AppendUint64(room[:0], uint64(per))
	b = appendString(b, domain)
	for _, e := range entries {
		b = appendString(appendString(b, e.GetKey()), e.GetValue())
	}
	sum := sha256.Sum256(b)
	return key(sum[:16])
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}
