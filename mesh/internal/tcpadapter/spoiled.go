package tcpadapter

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"math/big"
	"time"
)

// spoiled is conf with a certificate that nobody can verify: its own is its only authority.
func (l *Listener) spoiled(conf *tls.Config) *tls.Config {
	l.spoil.Do(func() { l.corrupt = corrupt() })
	out := conf.Clone()
	out.GetConfigForClient = nil
	out.GetCertificate = func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
		if l.corrupt.PrivateKey == nil {
			return nil, errors.New("corrupt certificate: none could be made")
		}
		return &l.corrupt, nil
	}
	return out
}

// corrupt is a certificate that its own key has signed; it is empty if none can be made.
func corrupt() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}
	}
	now := time.Now()
	form := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "corrupt on purpose (fault)"}, DNSNames: []string{"corrupt.invalid"},
		NotBefore: now.Add(-time.Hour), NotAfter: now.Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}
