package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
)

// mostCSR bounds a request, in bytes of PEM. One of RSA 4096 with some names has 2,000.
const mostCSR = 16 << 10

// readCSR is the public key of a request for a certificate, and the request. Who asks must hold the private key, which the signature
// shows; all else that the request says is nothing to go by.
func readCSR(text string) (public crypto.PublicKey, der []byte, err error) {
	if len(text) > mostCSR {
		return nil, nil, fmt.Errorf("%d bytes, more than the limit of %d", len(text), mostCSR)
	}
	block, rest := pem.Decode([]byte(text))
	switch {
	case block == nil:
		return nil, nil, errors.New("it is no PEM")
	case block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST":
		return nil, nil, errors.New("its PEM is no CERTIFICATE REQUEST")
	case len(bytes.TrimSpace(rest)) > 0:
		return nil, nil, errors.New("something follows it")
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return nil, nil, errors.New("it can't be read")
	}
	if err := checkPublic(csr.PublicKey); err != nil { // before a signature of any size is computed
		return nil, nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, nil, errors.New("its signature is not of its key")
	}
	return csr.PublicKey, block.Bytes, nil
}

// checkPublic refuses keys that are weak, or dear to verify.
func checkPublic(public crypto.PublicKey) error {
	switch k := public.(type) {
	case *ecdsa.PublicKey:
		if k.Curve == elliptic.P256() || k.Curve == elliptic.P384() {
			return nil
		}
	case ed25519.PublicKey:
		return nil
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits >= 2048 && bits <= 4096 && k.E >= 65537 && k.N.Bit(0) == 1 {
			return nil
		}
	}
	return errors.New("its key is none of ECDSA P-256 and P-384, Ed25519, RSA 2048 to 4096")
}
