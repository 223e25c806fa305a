package engine

import (
	"context"
	"fmt"
	"runtime"
	"sync"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
)

// racer is a Hedger and the call it carries. It notes what the engine makes it do.
type racer struct {
	Call
	send   func(ctx context.Context, a *Attempt) resilience.Outcome
	single bool // it can't be sent twice

	mu     sync.Mutex
	log    []string
	hosts  map[int]string // by attempt
	inside int            // Sends
	most   int            // Sends at a time
}

func (r *racer) say(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, args...))
}

func (r *racer) enter(a *Attempt) (leave func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.hosts == nil {
		r.hosts = map[int]string{}
	}
	r.hosts[a.Number] = a.Host.Addr()
	r.inside++
	r.most = max(r.most, r.inside)
	return func() {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.inside--
	}
}

func (r *racer) Send(ctx context.Context, a *Attempt) resilience.Outcome {
	defer r.enter(a)()
	return r.send(ctx, a)
}

func (r *racer) Replayable() bool { return true }

func (r *racer) Connected(*balancer.Host) bool { return true }

func (r *racer) Beside() Aside {
	if r.single {
		return nil
	}
	return &beside{racer: r}
}

func (r *racer) Take(a Aside) {
	b := a.(*beside)
	r.mu.Lock()
	inside := r.inside
	r.mu.Unlock()
	if inside > 0 {
		r.say("take while %d run", inside)
	}
	r.say("take %d", b.number)
}

type beside struct {
	racer  *racer
	number int
}

func (b *beside) Send(ctx context.Context, a *Attempt) resilience.Outcome {
	b.number = a.Number
	defer b.racer.enter(a)()
	return b.racer.send(ctx, a)
}

func (b *beside) Replayable() bool              { return true }
func (b *beside) Connected(*balancer.Host) bool { return true }
func (b *beside) Discard()                      { b.racer.say("discard %d", b.number) }

// panicker is a racer whose Beside panics if it is told to.
type panicker struct {
	racer
	at int
}

func (p *panicker) Beside() Aside {
	if p.at == 3 {
		panic("oh beside")
	}
	return p.racer.Beside()
}

// panicking is an Observer that panics at the second attempt.
type panicking struct{ recorder }

func (p *panicking) AttemptStarted(ctx context.Context, c *Call, a *Attempt) context.Context {
	if a.Number == 2 {
		panic("oh observer")
	}
	return p.recorder.AttemptStarted(ctx, c, a)
}

func exit() { runtime.Goexit() }
