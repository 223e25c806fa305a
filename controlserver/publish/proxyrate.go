package publish

import (
	"math"
	"slices"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// defaultKeys is how many values are told apart where nothing is said (resilience.Rate); a proxy's default is 20.
const defaultKeys = 1024

// rateOfProxy puts a rate so that Envoy takes it: a bucket for calls of a kind is filled in a multiple of
// the common one's time.
func rateOfProxy(l *losses, r *resilience.Rate) *resilience.Rate {
	if r == nil {
		return nil
	}
	out := *r
	out.Descriptors = nil
	if out.MaxKeys == 0 {
		out.MaxKeys = defaultKeys
	}
	for _, d := range r.Descriptors {
		if r.MaxTokens > 0 {
			bucket, ok := filledIn(d.TokenBucket, r.FillInterval)
			if !ok {
				l.say(Rate, "a proxy cannot fill a limit in "+d.FillInterval.String()+" beside one in "+r.FillInterval.String())
				continue
			}
			d.TokenBucket = bucket
		}
		out.Descriptors = append(out.Descriptors, d)
	}
	if slices.ContainsFunc(out.Descriptors, func(d resilience.DescriptorRate) bool { return asksPath(d.Entries) }) {
		l.say(Rate, pathOfProxy)
	}
	if out.MaxTokens == 0 && len(out.Descriptors) == 0 {
		return nil
	}
	return &out
}

const pathOfProxy = "to a proxy the path has the query"

func asksPath(entries []resilience.Entry) bool {
	return slices.ContainsFunc(entries, func(e resilience.Entry) bool { return e.Key == "path" })
}

// filledIn is the same rate in the least multiple of each that is one of the other, too.
func filledIn(b resilience.TokenBucket, each time.Duration) (resilience.TokenBucket, bool) {
	if each <= 0 {
		return b, false
	}
	d, rest := each, b.FillInterval
	for rest > 0 {
		d, rest = rest, d%rest
	}
	times := int64(each / d)
	tokens := int64(max(b.TokensPerFill, 1))
	if times > math.MaxInt32/tokens || int64(b.FillInterval) > math.MaxInt64/times {
		return b, false
	}
	b.FillInterval *= time.Duration(times)
	b.TokensPerFill = uint32(tokens * times)
	return b, true
}
