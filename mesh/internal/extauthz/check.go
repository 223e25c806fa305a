package extauthz

import (
	"context"
	"encoding/pem"
	"net/netip"
	"net/url"
	"strings"
	"time"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	auth "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/internal/match"
)

// mostAnswer bounds an answer.
const mostAnswer = 1 << 20

// check asks by gRPC.
func (a *Asker) check(ctx context.Context, q *question) (identity.Verdict, error) {
	conn, err := a.conn(q.Service)
	if err != nil {
		return identity.Verdict{}, err
	}
	md := metadata.Pairs(questions.Lower, q.depth)
	for _, f := range q.AddHeaders {
		md.Append(f.Name, f.Value)
	}
	answer, err := auth.NewAuthorizationClient(conn).Check(metadata.NewOutgoingContext(ctx, md),
		&auth.CheckRequest{Attributes: a.attributes(q)}, grpc.MaxCallRecvMsgSize(mostAnswer))
	switch status.Code(err) {
	case codes.OK:
		return q.read(answer)
	case codes.Unavailable, codes.DeadlineExceeded:
		return identity.Verdict{}, &silence{err}
	default:
		return identity.Verdict{}, err
	}
}

// attributes are what is known of the request (Envoy AttributeContext).
func (a *Asker) attributes(q *question) *auth.AttributeContext {
	r := q.r
	c := &auth.AttributeContext{
		Source:      &auth.AttributeContext_Peer{Address: addressOf(r.Source), Principal: principalOf(r.Peer)},
		Destination: &auth.AttributeContext_Peer{Address: addressOf(r.Local)},
	}
	if a.config.Self != nil {
		c.Destination.Principal = text(a.config.Self())
	}
	if q.PeerCertificate && r.Peer.Secure() {
		block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.Peer.Certificates[0].Raw})
		c.Source.Certificate = strings.ReplaceAll(url.QueryEscape(string(block)), "+", "%20")
	}
	if r.Connection {
		return c
	}
	h := &auth.AttributeContext_HttpRequest{
		Id: text(q.first("x-request-id")), Method: text(r.Method), Headers: map[string]string{}, Path: text(q.target()), Host: text(r.Authority),
		Scheme: text(r.Scheme), Size: q.length(), Protocol: "HTTP/1.1",
	}
	if r.GRPC || r.Peer != nil && r.Peer.Protocol == "h2" {
		h.Protocol = "HTTP/2"
	}
	for name, values := range q.header.All() {
		if name = match.ToLower(name); len(values) > 0 && name != partialBody.Lower {
			h.Headers[text(name)] = text(strings.Join(q.values(name, values), ","))
		}
	}
	h.Headers[":method"], h.Headers[":path"], h.Headers[":authority"], h.Headers[":scheme"] = h.Method, h.Path, h.Host, h.Scheme
	if q.MaxBody > 0 {
		h.Headers[partialBody.Lower] = q.partial()
		if q.PackAsBytes {
			h.RawBody = q.body
		} else {
			h.Body = text(string(q.body))
		}
	}
	c.Request = &auth.AttributeContext_Request{Time: timestamppb.New(time.Now()), Http: h}
	return c
}

// text is what of a string protobuf can carry (Envoy).
func text(s string) string { return strings.ToValidUTF8(s, "!") }

func addressOf(a netip.AddrPort) *core.Address {
	if !a.IsValid() {
		return nil
	}
	return &core.Address{Address: &core.Address_SocketAddress{SocketAddress: &core.SocketAddress{
		Address: a.Addr().Unmap().WithZone("").String(), PortSpecifier: &core.SocketAddress_PortValue{PortValue: uint32(a.Port())},
	}}}
}

// principalOf is the identity that the peer has proved: his SPIFFE ID, or what else his certificate names him, URIs first (Envoy).
func principalOf(p *identity.Peer) string {
	switch {
	case !p.Secure():
		return ""
	case !p.ID.IsZero():
		return p.ID.String()
	}
	cert := p.Certificates[0]
	switch {
	case len(cert.URIs) > 0:
		return text(cert.URIs[0].String())
	case len(cert.DNSNames) > 0:
		return text(cert.DNSNames[0])
	}
	return text(cert.Subject.String())
}
