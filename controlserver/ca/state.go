package ca

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// A state is what the authority of a trust domain is made of, but its keys. It is a value: a change makes another one, with
// the next Number.
type state struct {
	Number      uint64               `json:"number"`
	TrustDomain spiffeid.TrustDomain `json:"trustDomain"`
	// Sequence counts the changes of the bundle (SPIFFE spiffe_sequence).
	Sequence uint64 `json:"sequence"`
	// Roots are believed, the oldest first: one, or two during a rotation.
	Roots []root `json:"roots"`
	// Signing is the key of the root that signs, Intermediate what it has signed.
	Signing      string `json:"signing"`
	Intermediate string `json:"intermediate"` // PEM
	// Former are the intermediates before, the oldest first.
	Former []former `json:"former,omitempty"`
	// Switched is when Signing began to sign.
	Switched time.Time `json:"switched"`
	// Longest is the longest life that was given to a certificate, Overlap how long a new root stands in the bundle before it signs.
	Longest seconds `json:"longestSeconds"`
	Overlap seconds `json:"overlapSeconds"`
}

// A root is an authority of the bundle.
type root struct {
	Certificate string    `json:"certificate"` // PEM
	Key         string    `json:"key"`         // its name
	Since       time.Time `json:"since"`       // in the bundle
}

// seconds is a duration as JSON has it.
type seconds int64

func (s seconds) duration() time.Duration { return time.Duration(s) * time.Second }

func inSeconds(d time.Duration) seconds { return seconds(d / time.Second) }

func decodeState(text []byte) (*state, error) {
	s := new(state)
	if err := json.Unmarshal(text, s); err != nil {
		return nil, err
	}
	if s.TrustDomain.IsZero() || len(s.Roots) == 0 || len(s.Roots) > 2 || s.signing() == nil {
		return nil, errors.New("it lacks a trust domain or the root that signs")
	}
	return s, nil
}

func (s *state) encode() ([]byte, error) { return json.MarshalIndent(s, "", "  ") }

// next is a copy to be changed.
func (s *state) next() *state {
	n := *s
	n.Number++
	n.Roots = slices.Clone(s.Roots)
	return &n
}

// signing is the root that signs.
func (s *state) signing() *root {
	for i := range s.Roots {
		if s.Roots[i].Key == s.Signing {
			return &s.Roots[i]
		}
	}
	return nil
}

// stage says how far a rotation is.
func (s *state) stage() Stage {
	switch {
	case len(s.Roots) == 1:
		return Steady
	case s.Signing == s.Roots[0].Key:
		return Announced
	}
	return Switched
}

// keys are the names of the keys that the state needs.
func (s *state) keys() []string {
	var names []string
	for _, r := range s.Roots {
		names = append(names, r.Key)
	}
	for _, text := range s.intermediates() {
		if cert, err := parseCertificate(text); err == nil {
			names = append(names, keyName(cert.PublicKey))
		}
	}
	return names
}

// keyName names a key by what is public of it.
func keyName(public crypto.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		return "" // of no kind that signs
	}
	sum := sha256.Sum256(der)
	return hex.EncodeToString(sum[:16])
}

func parseCertificate(text string) (*x509.Certificate, error) {
	block, _ := pem.Decode([]byte(text))
	if block == nil || block.Type != "CERTIFICATE" {
		return nil, errors.New("it is no PEM certificate")
	}
	cert, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("certificate: %w", err)
	}
	return cert, nil
}

func encodeCertificate(c *x509.Certificate) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
}
