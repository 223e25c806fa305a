package ratelimit

import (
	"context"
	"crypto/sha1" //nolint:gosec // Redis names scripts so
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/valkey-io/valkey-go"
)

// redis keeps counts in a Redis or Valkey. Commands of requests that come at once share a connection.
type redis struct {
	client    valkey.Client
	timeout   time.Duration
	secret    string // is in no error
	script    string // the name that Redis has for it
	unreached error  // why the first connection could not be made
}

// newRedis connects, or leaves that to the requests if it can't be done within timeout.
func newRedis(address string, timeout time.Duration) (*redis, error) {
	o, err := parse(address)
	if err != nil {
		return nil, err
	}
	o.Dialer.Timeout = timeout
	o.ConnWriteTimeout = 2 * timeout // a connection that is silent for so long is given up
	o.ForceSingleClient = true
	o.PipelineMultiplex = -1 // one connection
	o.DisableCache = true
	o.DisableRetry = true // nobody knows whether the first try was counted
	o.ReadBufferEachConn, o.WriteBufferEachConn = 64<<10, 64<<10
	o.ClientSetInfo = valkey.DisableClientSetInfo
	client, err := valkey.NewClient(o)
	sum := sha1.Sum([]byte(script)) //nolint:gosec // Redis names scripts so
	r := &redis{client: client, timeout: timeout, secret: o.Password, script: hex.EncodeToString(sum[:])}
	if client == nil {
		return nil, fmt.Errorf("rate limit store: %w", r.clean(err))
	}
	if err != nil {
		r.unreached = fmt.Errorf("%s: %w", o.InitAddress[0], r.clean(err))
	}
	return r, nil
}

// take asks for all wants in one round trip. It is not cut short when the one who asks goes away: the next
// one wants the connection that is being made, and what is counted is known to somebody.
func (r *redis) take(ctx context.Context, wants []want, levels []level) ([]level, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), r.timeout)
	defer cancel()
	commands := make([]valkey.Completed, len(wants))
	for i := range wants {
		commands[i] = r.command(&wants[i], false)
	}
	for i, answer := range r.client.DoMulti(ctx, commands...) {
		if e, ok := valkey.IsValkeyErr(answer.Error()); ok && e.IsNoScript() {
			answer = r.client.Do(ctx, r.command(&wants[i], true))
		}
		l, err := levelOf(answer)
		if err != nil {
			return nil, r.clean(err)
		}
		levels = append(levels, l)
	}
	return levels, nil
}

func (r *redis) close() { r.client.Close() }

// command runs the script, which is sent as a whole if the server does not have it.
func (r *redis) command(w *want, whole bool) valkey.Completed {
	name := "weft:ratelimit:" + hex.EncodeToString(w.key[:])
	args := [...]string{strconv.FormatUint(uint64(w.limit), 10), strconv.FormatInt(w.hits, 10), strconv.FormatInt(w.per.Milliseconds(), 10)}
	if whole {
		return r.client.B().Eval().Script(script).Numkeys(1).Key(name).Arg(args[:]...).Build()
	}
	return r.client.B().Evalsha().Sha1(r.script).Numkeys(1).Key(name).Arg(args[:]...).Build()
}

// script is memory's count.take. Redis runs one script at a time; the key's own life is the window, so
// that the clock is the store's alone.
const script = `
local limit, hits, per = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local used, left = 0, redis.call('PTTL', KEYS[1])
if left > 0 then
  used = tonumber(redis.call('GET', KEYS[1])) or 0
else
  left = per
end
if hits >= 0 and used + hits > limit then
  return {0, math.max(limit - used, 0), left}
end
local now = math.max(used + hits, 0)
if now ~= used then redis.call('SET', KEYS[1], now, 'PX', left) end
return {1, math.max(limit - now, 0), left}
`

// levelOf reads the script's answer.
func levelOf(answer valkey.ValkeyResult) (level, error) {
	values, err := answer.AsIntSlice()
	switch {
	case err != nil:
		return level{}, err
	case len(values) != 3:
		return level{}, errors.New("its script's answer is not of this version")
	}
	return level{values[0] == 1, uint32(values[1]), time.Duration(values[2]) * time.Millisecond}, nil
}

// clean takes the password out of an error: a server may repeat what it does not understand.
func (r *redis) clean(err error) error {
	if err == nil || r.secret == "" || !strings.Contains(err.Error(), r.secret) {
		return err
	}
	return errors.New(strings.ReplaceAll(err.Error(), r.secret, "(secret)"))
}
