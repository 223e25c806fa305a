package httpadapter

import (
	"context"
	"math"
	"sync/atomic"
	"time"
)

// An idle ends an attempt on which neither side has sent anything for a while (Envoy idle_timeout), whether or
// not anybody waits for it. A nil idle never does.
type idle struct {
	limit  time.Duration
	began  time.Time
	last   atomic.Int64 // how long after began something was sent
	over   atomic.Bool
	timer  *time.Timer
	cancel context.CancelCauseFunc

	upgraded atomic.Pointer[upgraded] // what the context does not end
}

// newIdle returns an idle and the context that it ends, with an idleError as the cause.
func newIdle(ctx context.Context, limit time.Duration) (context.Context, *idle) {
	i := &idle{limit: limit, began: time.Now()}
	ctx, i.cancel = context.WithCancelCause(ctx)
	i.timer = time.AfterFunc(math.MaxInt64, i.check)
	i.timer.Reset(limit)
	return ctx, i
}

// touch says that something was sent.
func (i *idle) touch() {
	if i != nil {
		i.last.Store(int64(time.Since(i.began)))
	}
}

func (i *idle) check() {
	if i.over.Load() {
		return
	}
	if quiet := time.Since(i.began) - time.Duration(i.last.Load()); quiet < i.limit {
		i.timer.Reset(i.limit - quiet)
		return
	}
	i.cancel(idleError(i.limit))
	if u := i.upgraded.Load(); u != nil {
		u.expire(idleError(i.limit))
	}
}

// stop says that the attempt has ended.
func (i *idle) stop() {
	if i != nil && !i.over.Swap(true) {
		i.timer.Stop()
		i.cancel(nil)
	}
}

// An idleError says that nothing was sent for so long.
type idleError time.Duration

func (e idleError) Error() string {
	return "nothing was sent either way for " + time.Duration(e).String() + " (idle timeout)"
}

// Timeout is as net.Error has it.
func (e idleError) Timeout() bool { return true }

// Is makes it a deadline that was exceeded.
func (e idleError) Is(target error) bool { return target == context.DeadlineExceeded }

// expired is the idleError that ended ctx, if one did.
func expired(ctx context.Context) (err idleError, ok bool) {
	err, ok = context.Cause(ctx).(idleError) //nolint:errorlint // a cause is as it was given
	return err, ok
}
