package identity

import (
	"net/netip"
	"strings"
)

// A sight is a request as tests see it.
type sight struct {
	r         *Request
	known     facts
	source    netip.Addr
	client    netip.Addr
	local     netip.Addr
	verbs     []string // methods that it can be taken for besides its own
	bare      string   // the path without the parameters of its segments
	authentic bool     // the peer has proved an identity
	name      string   // of the peer; the first one
	names     []string
}

// look is the sight of a request, as far as some test needs it.
func look(r *Request, needs facts) sight {
	s := sight{r: r}
	if r.Source.Addr().IsValid() {
		s.known |= aSource
		s.source = plain(r.Source.Addr())
		s.client = s.source
	}
	if r.Client.IsValid() {
		s.client = plain(r.Client)
	}
	if r.Local.Addr().IsValid() {
		s.known |= aLocal
		s.local = plain(r.Local.Addr())
	}
	if !r.Connection {
		s.known |= aRequest
		if r.Header != nil {
			s.known |= aHeader
		}
		if r.Method != "" {
			s.known |= aMethod
		}
		if needs&aMethod != 0 {
			s.verbs = verbsOf(r)
		}
		if needs&anAuthority != 0 {
			if a, err := NormalizeAuthority(r.Authority); err == nil && a == r.Authority {
				s.known |= anAuthority
			}
		}
		if needs&aPath != 0 {
			s.seePath()
		}
	}
	s.seePeer()
	return s
}

func (s *sight) seePath() {
	if !isNormal(s.r.Path) {
		if p, err := NormalizePath(s.r.Path); err != nil || p != s.r.Path {
			return
		}
	}
	s.known |= aPath
	s.bare = s.r.Path
	if strings.IndexByte(s.r.Path, ';') >= 0 {
		s.bare = withoutParameters(s.r.Path)
	}
}

// seePeer: who a certificate is of is said by its URIs; by its DNS names if it has none; else by its subject (Envoy, gRFC A41).
func (s *sight) seePeer() {
	p := s.r.Peer
	if p == nil {
		return
	}
	if !p.ID.IsZero() {
		s.authentic, s.name = true, p.ID.String()
	}
	if len(p.Certificates) == 0 {
		return
	}
	leaf := p.Certificates[0]
	s.authentic = true
	switch {
	case len(leaf.URIs) == 1 && s.name != "":
	case len(leaf.URIs) > 0:
		for _, uri := range leaf.URIs {
			s.names = append(s.names, uri.String())
		}
	case s.name != "":
	case len(leaf.DNSNames) > 0:
		s.names = leaf.DNSNames
	default:
		s.names = []string{leaf.Subject.String()}
	}
	if s.name == "" {
		s.name, s.names = s.names[0], s.names[1:]
	}
}

// serverName is empty over plaintext.
func (s *sight) serverName() string {
	if s.r.Peer == nil {
		return ""
	}
	return s.r.Peer.ServerName
}
