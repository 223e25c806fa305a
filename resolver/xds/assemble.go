package xds

import (
	"errors"
	"fmt"
	"maps"
	"strings"

	"github.com/weftmesh/weft/resolver"
)

// A consumer is made of resources and follows them.
type consumer interface {
	// rebuild looks at the resources anew and tells the watchers what changed.
	rebuild(*core)
	links() *linked
}

// linked ties a consumer to what it is made of.
type linked struct {
	uses     map[*resource]struct{}
	dirty    bool
	answered bool // the server has answered, well or badly
}

func (l *linked) links() *linked { return l }

// changed makes those who use the resource look at it.
func (c *core) changed(r *resource) {
	for d := range r.users {
		c.mark(d)
	}
}

func (c *core) mark(d consumer) {
	if l := d.links(); !l.dirty {
		l.dirty = true
		c.dirty = append(c.dirty, d)
	}
}

// flush rebuilds the consumers whose resources changed. It goes before the next
// request: an ACK says that a response is in use, not only that it was understood.
func (c *core) flush() {
	list := c.dirty
	c.dirty = nil
	for _, d := range list {
		if l := d.links(); l.dirty { // else it has ended, or was rebuilt
			l.dirty = false
			c.rebuild(d)
		}
	}
}

// rebuild lets a consumer look, and drops what it no longer uses.
func (c *core) rebuild(d consumer) {
	l := d.links()
	old := l.uses
	l.uses = make(map[*resource]struct{}, len(old))
	d.rebuild(c)
	for r := range old {
		if _, ok := l.uses[r]; !ok {
			c.release(d, r)
		}
	}
}

// end releases everything.
func (c *core) end(d consumer) {
	l := d.links()
	l.dirty = false
	for r := range l.uses {
		c.release(d, r)
	}
	l.uses = nil
}

// A service is one watched name.
type service struct {
	linked
	name    string
	watches []*watch[resolver.Service]

	// adopted are the routes in use: the newest of which all clusters had resolved
	// or failed. It is of no generation before the first.
	adopted table
	// newest is the table that was made last.
	newest table
	// value is what was reported last, made of parts.
	value *resolver.Service
	gen   generation
	parts map[string]part
	err   error // what was complained of last; nil after a good report

	waits []string // what the server has not answered for
}

// A table is virtual hosts and what they name, under what their listener says for all of them.
type table struct {
	gen     generation
	hosts   []resolver.VirtualHost
	targets []string
	over    *overlay
}

// A generation is the contents that a table was made from; the second is 0 where the
// listener says nothing.
type generation struct{ routes, listener uint64 }

// A part is the contents, by generation, that a cluster was made from, or why it was not.
type part struct {
	cluster, endpoints uint64
	why                string // it is missing
}

func (s *service) rebuild(c *core) {
	var problems []error
	newest, err := s.routes(c)
	if err != nil {
		problems = append(problems, err)
		if _, ok := errors.AsType[*resolver.UnknownError](err); ok {
			s.adopted, s.value, s.parts = table{}, nil, nil
			s.complain(err)
			return
		}
	}
	if newest.gen != (generation{}) && s.resolved(c, newest) {
		s.adopted = newest
	}
	if s.adopted.gen == (generation{}) {
		if err != nil {
			s.complain(fmt.Errorf("service %q: %w [node %s]", s.name, err, c.client.node.GetId()))
		}
		return
	}
	value, parts, more := s.build(c)
	problems = append(problems, more...)
	s.report(value, parts, len(problems) == 0)
	if len(problems) > 0 {
		s.complain(fmt.Errorf("service %q: %w [node %s]", s.name, joined(problems), c.client.node.GetId()))
	}
}

// routes finds the newest routes; generation 0 means there are none yet, or never
// will be if there is an error. That is an [*resolver.UnknownError] if what was
// known before must not be used any longer.
func (s *service) routes(c *core) (table, error) {
	s.waits = nil
	l := c.use(s, listeners, c.client.bootstrap.listenerName(s.name))
	switch {
	case l.pending():
		s.waits = append(s.waits, l.String())
		return table{}, nil
	case l.content == nil && l.missing:
		return table{}, &resolver.UnknownError{Name: s.name, Detail: l.detail}
	case l.content == nil:
		return table{}, l.err
	case l.content.inbound != nil:
		return table{}, fmt.Errorf("%s: is a server's, without routes", l)
	case l.content.routeConfig == "":
		return table{generation{routes: l.content.gen}, l.content.virtualHosts, l.content.targets, l.content.over}, l.err
	}
	r := c.use(s, routes, l.content.routeConfig)
	switch {
	case r.pending():
		s.waits = append(s.waits, r.String())
		return table{}, l.err
	case r.content == nil && r.dropped && r.missing:
		return table{}, &resolver.UnknownError{Name: s.name, Detail: fmt.Sprintf("service %q: %v", s.name, r.err)}
	case r.content == nil:
		return table{}, r.err
	case r.err != nil:
		return s.overlaid(l.content, r.content), r.err
	}
	return s.overlaid(l.content, r.content), l.err
}

// overlaid is the routes of r under what their listener says for all routes. It is made anew only
// when one of the two changes.
func (s *service) overlaid(l, r *content) table {
	gen := generation{routes: r.gen}
	if l.over != nil {
		gen.listener = l.gen
	}
	if s.newest.gen != gen {
		s.newest = table{gen, r.virtualHosts, r.targets, l.over}
		if l.over != nil || r.incomplete {
			s.newest.hosts = l.over.apply(r.virtualHosts)
		}
	}
	return s.newest
}

// resolved asks for the clusters of t, and their endpoints, and reports whether
// each is there or has failed (gRFC A74).
func (s *service) resolved(c *core, t table) bool {
	for _, name := range t.targets {
		r := c.use(s, clusters, name)
		if r.content != nil && r.content.endpointsName != "" {
			r = c.use(s, endpoints, r.content.endpointsName)
		}
		if r.pending() {
			s.waits = append(s.waits, r.String())
		}
	}
	return len(s.waits) == 0
}

// build makes the service from the adopted routes. A cluster that has failed is
// left out; one that has to be asked for anew stays as it was until the answer.
func (s *service) build(c *core) (*resolver.Service, map[string]part, []error) {
	value := &resolver.Service{Name: s.name, VirtualHosts: s.adopted.hosts, Clusters: make(map[string]resolver.Cluster, len(s.adopted.targets))}
	parts := make(map[string]part, len(s.adopted.targets))
	var problems []error
	for _, name := range s.adopted.targets {
		r := c.use(s, clusters, name)
		if r.err != nil {
			problems = append(problems, r.err)
		}
		if r.content == nil {
			if (r.dropped || !s.keep(name, value, parts)) && r.err != nil {
				if value.Missing == nil {
					value.Missing = make(map[string]string)
				}
				value.Missing[name] = fmt.Sprintf("%v [node %s]", r.err, c.client.node.GetId())
				parts[name] = part{why: r.err.Error()}
			}
			continue
		}
		cluster, p := r.content.cluster, part{cluster: r.content.gen}
		s.adopted.over.admit(&cluster)
		if r.content.endpointsName != "" {
			e := c.use(s, endpoints, r.content.endpointsName)
			if e.err != nil {
				problems = append(problems, e.err)
			}
			switch {
			case e.content != nil:
				cluster.Endpoints, p.endpoints = e.content.endpoints, e.content.gen
			case !e.dropped && s.keep(name, value, parts):
				continue
			}
		}
		value.Clusters[name], parts[name] = cluster, p
	}
	return value, parts, problems
}

// keep carries a cluster of the last report over, if it was there.
func (s *service) keep(name string, value *resolver.Service, parts map[string]part) bool {
	if s.value == nil {
		return false
	}
	cluster, ok := s.value.Clusters[name]
	if ok {
		value.Clusters[name], parts[name] = cluster, s.parts[name]
	}
	return ok
}

// report tells the watchers of a new value, and of an old one if a complaint has ended; clean says that there is none.
func (s *service) report(value *resolver.Service, parts map[string]part, clean bool) {
	s.answered = true
	same := s.value != nil && s.gen == s.adopted.gen && maps.Equal(s.parts, parts)
	if same && (s.err == nil || !clean) {
		return
	}
	s.value, s.gen, s.parts = value, s.adopted.gen, parts
	if clean {
		s.err = nil
	}
	s.tell(value, nil)
}

// complain tells the watchers of an error they do not know.
func (s *service) complain(err error) {
	s.answered = true
	if s.err != nil && s.err.Error() == err.Error() {
		return
	}
	s.err = err
	s.tell(nil, err)
}

func (s *service) tell(v *resolver.Service, err error) {
	for _, w := range s.watches {
		w.tell(v, err)
	}
}

// catchUp tells a new watcher what the others know.
func (s *service) catchUp(w *watch[resolver.Service]) {
	if s.value != nil {
		w.tell(s.value, nil)
	}
	if s.err != nil {
		w.tell(nil, s.err)
	}
}

// joined is the errors as one line; many are cut short.
func joined(errs []error) error {
	const most = 5
	var texts []string
	seen := make(map[string]bool)
	for _, err := range errs {
		if t := err.Error(); !seen[t] {
			seen[t] = true
			texts = append(texts, t)
		}
	}
	if n := len(texts) - most; n > 0 {
		texts = append(texts[:most], fmt.Sprintf("and %d more", n))
	}
	return errors.New(strings.Join(texts, "; "))
}

// An inbound is one address that this process serves.
type inbound struct {
	linked
	addr    string
	watches []*watch[resolver.Inbound]
	value   *resolver.Inbound
	gen     uint64
	err     error
}

// rebuild reports what the server has to say of the address. A server that has nothing to say demands nothing; it may not
// know this process at all. But what was demanded once is only changed by another demand: neither a refused
// resource nor one that was taken away may open a server.
func (in *inbound) rebuild(c *core) {
	r := c.use(in, listeners, c.client.bootstrap.serverListenerName(in.addr))
	if r.pending() {
		return
	}
	in.answered = true
	switch known := r.content != nil && r.content.inbound != nil; {
	case known && in.gen != r.content.gen:
		v := *r.content.inbound
		v.Addr = in.addr
		in.report(&v, r.content.gen)
	case known || in.value != nil:
	case r.state == Nacked:
	default:
		in.report(&resolver.Inbound{Addr: in.addr}, 0)
	}
	if r.state != Nacked {
		in.err = nil
		return
	}
	if in.err == nil || in.err.Error() != r.err.Error() {
		in.err = r.err
		for _, w := range in.watches {
			w.tell(nil, r.err)
		}
	}
}

func (in *inbound) report(v *resolver.Inbound, gen uint64) {
	in.value, in.gen, in.err = v, gen, nil
	for _, w := range in.watches {
		w.tell(v, nil)
	}
}

// catchUp tells a new watcher what the others know.
func (in *inbound) catchUp(w *watch[resolver.Inbound]) {
	if in.value != nil {
		w.tell(in.value, nil)
	}
	if in.err != nil {
		w.tell(nil, in.err)
	}
}
