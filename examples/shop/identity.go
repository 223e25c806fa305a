package main

import (
	"context"
	_ "embed"
	"os"
	"path/filepath"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/examples/stage"
	"github.com/weftmesh/weft/identity/enroll"
	"github.com/weftmesh/weft/mesh"
)

// who is who the parts must be to each other. Without identities nobody could be.
//
//go:embed identity/identity.yaml
var who []byte

// secure adds who is who to the configuration, and a place for the authority.
func (d *director) secure() (err error) {
	if d.state, err = os.MkdirTemp("", "weft-shop-authority-"); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(d.dir, "identity.yaml"), who, 0o600)
}

// trustDomain is whose identities the parts of the shop have: payments is spiffe://shop.example/ns/shop/sa/payments.
const trustDomain = "shop.example"

// authority makes the control server the authority of the trust domain. What it must not forget when it is killed, its
// root above all, stands in the directory; without one there is no authority.
func authority(dir string) *ca.Config {
	if dir == "" {
		return nil
	}
	return &ca.Config{TrustDomain: spiffeid.RequireTrustDomainFromString(trustDomain), Dir: dir}
}

// invite is what a process needs to be a part of the shop: where the authority is, the root that it is verified by (as
// `meshctl ca root` prints it), and a token that is good once (as `meshctl token create` makes it). A process that is
// started again needs another one.
func (d *director) invite(role string) (enroll.Config, error) {
	status, err := ca.ReadStatus(d.state)
	if err != nil {
		return enroll.Config{}, err
	}
	var roots []byte
	for _, r := range status.Roots {
		roots = append(roots, r.CertificatePEM...)
	}
	file := filepath.Join(d.state, "root.pem")
	if err := stage.Save(file, roots); err != nil {
		return enroll.Config{}, err
	}
	id, err := spiffeid.FromSegments(status.TrustDomain, "ns", "shop", "sa", role)
	if err != nil {
		return enroll.Config{}, err
	}
	token, err := ca.CreateToken(d.state, id, 0)
	return enroll.Config{Address: d.control, RootCAFile: file, JoinToken: token}, err
}

// environment hands an invitation to another process, where [enroll.FromEnv] reads it.
func environment(cfg enroll.Config) []string {
	return []string{"WEFT_CA=" + cfg.Address, "WEFT_ROOT_CA=" + cfg.RootCAFile, "WEFT_JOIN_TOKEN=" + cfg.JoinToken}
}

// customer makes this process those who buy. For the control server to tell it where the storefronts are it must be
// somebody, too; the storefronts do not ask.
func (d *director) customer(ctx context.Context) (m *mesh.Mesh, leave func(), err error) {
	options := []mesh.Option{
		mesh.WithControlServer(d.control), mesh.WithService("customer.shop", nil), mesh.WithLogger(stage.Quiet("customer")),
	}
	forget := func() {}
	if !d.insecure {
		cfg, err := d.invite("customer")
		if err != nil {
			return nil, nil, err
		}
		cfg.Logger = stage.Quiet("customer")
		source, err := enroll.New(cfg)
		if err != nil {
			return nil, nil, err
		}
		forget = func() { source.Close() }
		options = append(options, mesh.WithIdentity(source))
	}
	if m, err = mesh.New(ctx, options...); err != nil {
		forget()
		return nil, nil, err
	}
	return m, func() { m.Close(); forget() }, nil
}
