package wire

import (
	"net"
	"net/netip"
	"strconv"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
)

// decodeAddress returns "host:port".
func decodeAddress(p *place, a *corev3.Address) string {
	if a.GetSocketAddress() == nil {
		p.refuse("address", "only socket_address is supported")
		return ""
	}
	s := a.GetSocketAddress()
	q := p.in("address.socket_address")
	q.only(s, "protocol", "address", "port_value", "named_port", "ipv4_compat")
	if s.GetProtocol() != corev3.SocketAddress_TCP {
		q.refuse("protocol", "%v is not supported", s.GetProtocol())
	}
	if !isHost(s.GetAddress()) {
		q.refuse("address", "%q is no IP address or name", s.GetAddress())
	}
	port := s.GetPortValue()
	switch s.GetPortSpecifier().(type) {
	case *corev3.SocketAddress_PortValue:
		if port == 0 || port > 65535 {
			q.refuse("port_value", "%d is not within 1 and 65535", port)
		}
	case *corev3.SocketAddress_NamedPort:
		q.refuse("named_port", "not supported")
	default:
		q.refuse("port_value", "missing")
	}
	return net.JoinHostPort(s.GetAddress(), strconv.FormatUint(uint64(port), 10))
}

func isHost(s string) bool {
	if _, err := netip.ParseAddr(s); err == nil {
		return true
	}
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._") == ""
}

// encodeAddress writes port 0, which nobody accepts, where addr has no port.
func encodeAddress(addr string) *corev3.Address {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	}
	n, err := strconv.ParseUint(port, 10, 32)
	if err != nil {
		n = 0
	}
	return &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
		Address:       host,
		PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(n)},
	}}}
}
