package ca

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// A Stage is how far the rotation of the root is.
type Stage string

// The stages.
const (
	Steady    Stage = "steady"    // one root
	Announced Stage = "announced" // two: the old one signs, the new one is believed
	Switched  Stage = "switched"  // two: the new one signs, the old one is believed
)

// A Step is a part of the rotation of the root. Between the steps time must pass: for the bundle to reach all, and for what the
// old root has signed to expire.
type Step string

// The steps, in their order.
const (
	AnnounceRoot Step = "announce" // a new root joins the bundle: Steady to Announced
	SwitchRoot   Step = "switch"   // the new root signs: Announced to Switched
	RetireRoot   Step = "retire"   // the old root leaves the bundle, and its key is removed: Switched to Steady
)

// RotateRoot takes a step of the rotation of the root. It refuses one that is not due, saying when it will be: to switch before the new root
// was in the bundle for Config.Overlap, to retire before the last certificate of the old root has expired. force takes it
// nevertheless, as when a key was stolen: then calls may fail between those who know and those who don't.
func (c *CA) RotateRoot(step Step, force bool) error {
	c.changing.Lock()
	defer c.changing.Unlock()
	s, err := rotate(c.store, c.config.Keys, c.config.lives(), step, force)
	if err != nil {
		return err
	}
	c.log.Warn("the root is being rotated", "step", string(step), "stage", string(s.stage()), "forced", force)
	return c.reload()
}

// RotateRoot takes a step of the rotation of the root in a state directory, as [CA.RotateRoot] does. A control server that runs on the
// directory takes it up within seconds.
func RotateRoot(dir string, keys Keys, step Step, force bool) (Status, error) {
	d, _, err := existing(dir)
	if err != nil {
		return Status{}, err
	}
	s, err := rotate(d, keys, lives{root: rootLife, intermediate: intermediateLife}, step, force)
	if err != nil {
		return Status{}, err
	}
	a, err := newAuthority(s, keys, d)
	if err != nil {
		return Status{}, err
	}
	return a.status(), nil
}

// ReadStatus is what a state directory says of its authority.
func ReadStatus(dir string) (Status, error) {
	d, s, err := existing(dir)
	if err != nil {
		return Status{}, err
	}
	a, err := newAuthority(s, Keys{}, d)
	if a == nil || err != nil && !errors.Is(err, errSealed) {
		return Status{}, err
	}
	return a.status(), nil
}

// existing opens a state directory that has a state.
func existing(dir string) (*directory, *state, error) {
	if _, err := os.Stat(filepath.Join(dir, "state")); err != nil {
		return nil, nil, fmt.Errorf("ca: %s is no state directory (a control server makes it at its first start: meshctl serve --trust-domain): %w", dir, err)
	}
	d, err := openDirectory(dir)
	if err != nil {
		return nil, nil, err
	}
	s, err := d.load()
	if err != nil {
		return nil, nil, err
	}
	if s == nil {
		return nil, nil, fmt.Errorf("ca: %s has no authority yet: start the control server on it once", dir)
	}
	return d, s, nil
}

type lives struct{ root, intermediate time.Duration }

// rotate makes the state that follows a step, and commits it.
func rotate(in store, keys Keys, life lives, step Step, force bool) (*state, error) {
	s, err := in.load()
	if err != nil {
		return nil, err
	}
	n, now := s.next(), time.Now()
	early := func(what string, due time.Time) error {
		if force || !now.Before(due) {
			return nil
		}
		return fmt.Errorf("ca: %s can be done at %s, in %v", what, due.Format(time.RFC3339), due.Sub(now).Round(time.Second))
	}
	if err := sealedAlike(in, s, keys); err != nil {
		return nil, err
	}
	switch step {
	case AnnounceRoot:
		if s.stage() != Steady {
			return nil, fmt.Errorf("ca: a rotation is on its way already: it is %s", s.stage())
		}
		r, err := keys.newRoot(in, s.TrustDomain, life.root, s.Roots)
		if err != nil {
			return nil, err
		}
		n.Roots = append(n.Roots, r)
		n.Sequence++
	case SwitchRoot:
		if s.stage() != Announced {
			return nil, fmt.Errorf("ca: no new root is announced: the rotation is %s", s.stage())
		}
		if err := early("switching to the new root, which must have reached all first,", s.Roots[1].Since.Add(s.Overlap.duration())); err != nil {
			return nil, err
		}
		n.Signing, n.Switched = s.Roots[1].Key, now
		if err := n.replace(keys, in, s.TrustDomain, life.intermediate, now); err != nil {
			return nil, err
		}
	case RetireRoot:
		if s.stage() != Switched {
			return nil, fmt.Errorf("ca: the old root still signs, or there is none: the rotation is %s", s.stage())
		}
		// A running server may sign by the old root until it has seen the new state.
		if err := early("retiring the old root, whose certificates must have expired first,", s.Switched.Add(s.Longest.duration()+takeUp)); err != nil {
			return nil, err
		}
		n.Roots = n.Roots[1:]
		n.Sequence++
		n.forget(now)
	default:
		return nil, fmt.Errorf("ca: %q is no step of a rotation: there are %s, %s and %s", step, AnnounceRoot, SwitchRoot, RetireRoot)
	}
	if err := in.commit(n); err != nil {
		return nil, err
	}
	return n, in.sweep(n, s)
}

// takeUp is within which a running server has taken up a state that another process made.
const takeUp = 10 * time.Second

// sealedAlike refuses to add a key in the clear to encrypted ones.
func sealedAlike(in store, s *state, keys Keys) error {
	if len(keys.Passphrase) > 0 {
		return nil
	}
	for _, name := range s.keys() {
		if text, err := in.key(name); err == nil && sealed(text) {
			return errors.New("ca: the keys in the state directory are encrypted: give their passphrase")
		}
	}
	return nil
}
