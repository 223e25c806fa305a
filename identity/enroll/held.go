package enroll

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

// file is where a directory keeps what is held: the key, the chain, the roots, in one file, so that they are never of different ages.
const file = "identity.pem"

// held is what an authority has given: an SVID and the roots of its trust domain. It is not modified.
type held struct {
	svid    *x509svid.SVID
	roots   []*x509.Certificate
	renewal time.Time // when to ask for the next one
}

func (h *held) leaf() *x509.Certificate { return h.svid.Certificates[0] }

func (h *held) domain() spiffeid.TrustDomain { return h.svid.ID.TrustDomain() }

// since says when it came: it is renewed after half of its life from then on.
func (h *held) since(t time.Time) {
	h.renewal = t.Add(jittered(time.Duration(float64(h.leaf().NotAfter.Sub(t))*renewAt), renewJitter))
}

// newHeld checks an answer: the leaf is of the key and an X509-SVID, and its chain leads to a root that the answer has. Roots are the
// self-signed authorities in it, of which there are several while the root is rotated.
func newHeld(key crypto.Signer, certs []*x509.Certificate) (*held, error) {
	if len(certs) == 0 {
		return nil, errors.New("the answer has no certificate")
	}
	public, ok := key.Public().(interface {
		Equal(other crypto.PublicKey) bool
	})
	if !ok || !public.Equal(certs[0].PublicKey) {
		return nil, errors.New("the certificate is of another key")
	}
	h := &held{}
	chain := certs[:1:1]
	for _, c := range certs[1:] {
		switch {
		case !c.IsCA:
			return nil, errors.New("a certificate of the chain is of no authority")
		case bytes.Equal(c.RawSubject, c.RawIssuer) && c.CheckSignatureFrom(c) == nil:
			h.roots = append(h.roots, c)
		default:
			chain = append(chain, c)
		}
	}
	id, err := x509svid.IDFromCert(certs[0])
	if err != nil {
		return nil, fmt.Errorf("the certificate is no X509-SVID: %w", err)
	}
	if id.Path() == "" {
		return nil, fmt.Errorf("the certificate is of no workload: %s", id)
	}
	if _, _, err := x509svid.Verify(chain, x509bundle.FromX509Authorities(id.TrustDomain(), h.roots)); err != nil {
		return nil, fmt.Errorf("the chain of the certificate leads to none of its roots: %w", err)
	}
	h.svid = &x509svid.SVID{ID: id, Certificates: chain, PrivateKey: key}
	h.since(time.Now())
	return h, nil
}

// load is what a directory keeps; nil if that is nothing, or has expired.
func load(dir string) (*held, error) {
	// Roots that it keeps are believed, so that nobody else may put any there.
	if info, err := os.Stat(dir); err == nil && runtime.GOOS != "windows" && info.Mode().Perm()&0o002 != 0 {
		return nil, fmt.Errorf("%s can be written to by other users (mode %04o): run chmod 700 %s, or name a directory within it", dir, info.Mode().Perm(), dir)
	}
	path := filepath.Join(dir, file)
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0 {
		return nil, fmt.Errorf("%s, which has a private key, is open to other users (mode %04o): run chmod 600 %s", path, info.Mode().Perm(), path)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	h, err := decode(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w: remove it to enroll anew", path, err)
	}
	return h, nil
}

func decode(text []byte) (*held, error) {
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PRIVATE KEY" {
		return nil, errors.New("it does not begin with a private key")
	}
	key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil {
		return nil, errors.New("its private key can't be read")
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("its private key signs nothing")
	}
	certs, err := parse(rest)
	if err != nil {
		return nil, err
	}
	if len(certs) > 0 && !time.Now().Before(certs[0].NotAfter) {
		return nil, nil
	}
	h, err := newHeld(signer, certs)
	if err == nil {
		h.since(h.leaf().NotBefore)
	}
	return h, err
}

// parse reads PEM certificates.
func parse(text []byte) ([]*x509.Certificate, error) {
	var certs []*x509.Certificate
	for {
		var block *pem.Block
		if block, text = pem.Decode(text); block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("a %s among the certificates", block.Type)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, errors.New("a certificate can't be read")
		}
		certs = append(certs, cert)
	}
	if len(bytes.TrimSpace(text)) > 0 {
		return nil, errors.New("something that is no PEM certificate")
	}
	return certs, nil
}

// save keeps what is held in a directory, whole or not at all.
func save(dir string, h *held) error {
	key, err := x509.MarshalPKCS8PrivateKey(h.svid.PrivateKey)
	if err != nil {
		return err
	}
	text := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})
	for _, c := range slices.Concat(h.svid.Certificates, h.roots) {
		text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})...)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(dir, ".new-*") // of mode 0600
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), filepath.Join(dir, file))
	}
	if err != nil {
		_ = os.Remove(f.Name())
	}
	return err
}
