package xds

import (
	"github.com/weftmesh/weft/resolver/xds/wire"
)

// A secret is one name of a certificate, or of roots, that is watched.
type secret struct {
	linked
	name    string
	watches []*watch[wire.Secret]
	value   *wire.Secret
	gen     uint64
	err     error
}

// rebuild reports the secret. One that was there is never taken away: without it nobody could be believed, or believe.
func (s *secret) rebuild(c *core) {
	r := c.use(s, secrets, s.name)
	if r.pending() {
		return
	}
	s.answered = true
	if r.content != nil && (s.value == nil || s.gen != r.content.gen) {
		s.value, s.gen, s.err = r.content.secret, r.content.gen, nil
		for _, w := range s.watches {
			w.tell(s.value, nil)
		}
	}
	switch {
	case r.err == nil:
		s.err = nil
	case s.err == nil || s.err.Error() != r.err.Error():
		s.err = r.err
		for _, w := range s.watches {
			w.tell(nil, r.err)
		}
	}
}

func (s *secret) catchUp(w *watch[wire.Secret]) {
	if s.value != nil {
		w.tell(s.value, nil)
	}
	if s.err != nil {
		w.tell(nil, s.err)
	}
}

func (c *core) watchSecret(name string, w *watch[wire.Secret]) {
	if s := c.secrets[name]; s != nil {
		s.watches = append(s.watches, w)
		s.catchUp(w)
		return
	}
	s := &secret{name: name, watches: []*watch[wire.Secret]{w}}
	c.secrets[name] = s
	c.rebuild(s)
}

func (c *core) unwatchSecret(name string, w *watch[wire.Secret]) {
	s := c.secrets[name]
	if s == nil {
		return
	}
	if s.watches = without(s.watches, w); len(s.watches) == 0 {
		c.end(s)
		delete(c.secrets, name)
	}
}

// secret reports a secret by its name, under the rules of Watch.
func (c *Client) secret(name string, sink func(*wire.Secret, error)) (stop func()) {
	w := &watch[wire.Secret]{sink: sink}
	return c.start(w.stop, func(k *core) { k.watchSecret(name, w) }, func(k *core) { k.unwatchSecret(name, w) }, func() { w.tell(nil, errClosed) })
}
