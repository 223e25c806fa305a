package httpadapter

import "github.com/weftmesh/weft/mesh/internal/engine"

// An aside is the carrier of an attempt that runs beside others of its call.
type aside struct{ carrier }

// Beside returns a Transport for an attempt beside others, or nil if the request can't be sent twice.
func (x *exchange) Beside() engine.Aside {
	if x.call.Unbounded { // it leaves HTTP
		return nil
	}
	s := &aside{carrier{pool: x.pool, req: x.req}}
	if !x.body.beside(&s.body) {
		return nil
	}
	return s
}

// Take makes the answer of an aside that of the call.
func (x *exchange) Take(a engine.Aside) {
	x.won.discard()
	x.won = &a.(*aside).carrier
}

// Discard drops the answer, if there is one.
func (s *aside) Discard() {
	s.discard()
	s.body.drop()
}
