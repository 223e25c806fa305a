package grpcadapter

import (
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"

	"github.com/weftmesh/weft/resilience"
)

// options are the call options of the caller. gRPC is given them anew for each
// attempt, so what must happen once a call is kept back.
type options struct {
	all       []grpc.CallOption
	each      []grpc.CallOption // for each attempt
	authority string            // of grpc.CallAuthority
	wait      bool              // of grpc.WaitForReady
}

func newOptions(opts []grpc.CallOption) options {
	o := options{all: opts, each: opts}
	for i, opt := range opts {
		switch opt := opt.(type) {
		case grpc.AuthorityOverrideCallOption:
			o.authority = opt.Authority
		case grpc.FailFastCallOption:
			o.wait = !opt.FailFast
		case grpc.OnFinishCallOption:
			if len(o.each) == len(opts) {
				o.each = append(make([]grpc.CallOption, 0, len(opts)), opts[:i]...)
			}
			continue
		}
		if len(o.each) < len(opts) && i >= len(o.each) {
			o.each = append(o.each, opt)
		}
	}
	return o
}

// reset takes back what an attempt has reported, so that an answer of one host
// does not pass for that of another.
func (o *options) reset() { o.report(nil, nil, peer.Peer{}) }

// answer reports what is known of an answer that no host gave.
func (o *options) answer(a *resilience.Answer) { o.report(headerOf(a), nil, peer.Peer{}) }

// report says where the caller wants to know it what an attempt has learned.
func (o *options) report(header, trailer metadata.MD, from peer.Peer) {
	for _, opt := range o.each {
		switch opt := opt.(type) {
		case grpc.HeaderCallOption:
			*opt.HeaderAddr = header
		case grpc.TrailerCallOption:
			*opt.TrailerAddr = trailer
		case grpc.PeerCallOption:
			*opt.PeerAddr = from
		}
	}
}

// finish tells the caller that the call is over. err is nil or what the caller got.
func (o *options) finish(err error) {
	if len(o.each) == len(o.all) {
		return // there is no OnFinish
	}
	for _, opt := range o.all {
		if f, ok := opt.(grpc.OnFinishCallOption); ok {
			f.OnFinish(err)
		}
	}
}
