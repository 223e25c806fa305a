package identity

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
)

// Check refuses a chain, leaf first and root last, that belongs to a revoked identity or has a revoked certificate in it. Roots are revoked by
// taking them out of the bundle. A nil Revoked refuses nothing.
func (r *Revoked) Check(id spiffeid.ID, chain []*x509.Certificate) error {
	if r == nil {
		return nil
	}
	if slices.Contains(r.IDs, id) && !id.IsZero() {
		return fmt.Errorf("identity %s is revoked", id)
	}
	if len(r.Serials) == 0 {
		return nil
	}
	for i, c := range chain {
		if i > 0 && i == len(chain)-1 {
			break
		}
		if c.SerialNumber != nil && slices.Contains(r.Serials, Serial(c.SerialNumber)) {
			return fmt.Errorf("certificate with serial number %s is revoked", Serial(c.SerialNumber))
		}
	}
	return nil
}

// unrevoked is the first of the chains that r does not refuse.
func (r *Revoked) unrevoked(id spiffeid.ID, chains [][]*x509.Certificate) ([]*x509.Certificate, error) {
	err := errors.New("no chain to a root")
	for _, chain := range chains {
		if err = r.Check(id, chain); err == nil {
			return chain, nil
		}
	}
	return nil, err
}
