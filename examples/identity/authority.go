package main

import (
	"path/filepath"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/examples/stage"
)

// trustDomain is whose identities the parts of the bank have: the till is spiffe://bank.example/ns/bank/sa/till.
const trustDomain = "bank.example"

const (
	// leafTTL is the life of certificates: an hour by default, and here as short as the story is.
	leafTTL = 8 * time.Second
	// overlap is how long all may take to hear of a new root. They do with their next certificate.
	overlap = 6 * time.Second
)

// authority is that of the control server, which keeps its state in the directory.
func authority(dir string) *ca.Config {
	return &ca.Config{TrustDomain: spiffeid.RequireTrustDomainFromString(trustDomain), Dir: dir, LeafTTL: leafTTL, Overlap: overlap}
}

// identityOf is that of a part.
func identityOf(name string) (spiffeid.ID, error) {
	return spiffeid.FromSegments(spiffeid.RequireTrustDomainFromString(trustDomain), "ns", "bank", "sa", name)
}

// invite makes the environment with which a process becomes a part of the bank: where the authority is, the root that it is
// verified by (`meshctl ca root`), and a token that is good once (`meshctl token create`).
func (d *director) invite(name string) (variables []string, err error) {
	status, err := ca.ReadStatus(d.state)
	if err != nil {
		return nil, err
	}
	var roots []byte
	for _, r := range status.Roots {
		roots = append(roots, r.CertificatePEM...)
	}
	file := filepath.Join(d.state, "root.pem")
	if err := stage.Save(file, roots); err != nil {
		return nil, err
	}
	id, err := identityOf(name)
	if err != nil {
		return nil, err
	}
	token, err := ca.CreateToken(d.state, id, 0)
	return []string{"WEFT_CA=" + d.control, "WEFT_ROOT_CA=" + file, "WEFT_JOIN_TOKEN=" + token}, err
}

// rotate takes a step of the rotation of the root (`meshctl ca rotate`).
func (d *director) rotate(step ca.Step) error {
	_, err := ca.RotateRoot(d.state, ca.Keys{}, step, false)
	return err
}

// due is when the next step of the rotation may be taken.
func (d *director) due() (time.Time, error) {
	status, err := ca.ReadStatus(d.state)
	return status.Next, err
}
