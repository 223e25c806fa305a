package jwt_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weftmesh/weft/identity"
	"github.com/weftmesh/weft/identity/jwt"
)

// A place has keys to be fetched.
type place struct {
	mu    sync.Mutex
	keys  string
	err   error
	delay time.Duration
	times int
	most  int // fetches at once
	now   int
}

func (p *place) put(keys string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys, p.err = keys, err
}

func (p *place) fetch(ctx context.Context, service, uri string) ([]byte, error) {
	p.mu.Lock()
	p.times++
	p.now++
	p.most = max(p.most, p.now)
	delay := p.delay
	p.mu.Unlock()
	select {
	case <-time.After(delay):
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now--
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	if service != "keys.auth" || uri != "https://keys.example/jwks" {
		return nil, fmt.Errorf("asked %q for %q", service, uri)
	}
	return []byte(p.keys), p.err
}

func (p *place) fetched() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.times
}

func remote() *identity.JWT {
	p := provider()
	p.JWKS, p.URI, p.Service = "", "https://keys.example/jwks", "keys.auth"
	return needs(p)
}

// lasting is a token that outlives the tests, whose clock begins in 2000.
func lasting(s signer) *identity.Request {
	return bearer(s.sign(usual(claims{"exp": 4102444800, "iat": nil})))
}

func bubble(t *testing.T, test func(t *testing.T, p *place, ask func(signer) error)) {
	t.Helper()
	for _, k := range []func() signer{es, es2} { // outside: a bubble does not wait for what others make
		k()
	}
	synctest.Test(t, func(t *testing.T) {
		p := &place{keys: set(es())}
		a := jwt.New(jwt.Config{Fetch: p.fetch})
		defer a.Close()
		j := remote()
		requests := map[string]*identity.Request{"es": lasting(es()), "es2": lasting(es2())}
		test(t, p, func(s signer) error {
			got := a.Verify(t.Context(), j, requests[s.id])
			if got.Err == nil && len(got.Claims) != 1 {
				t.Errorf("%+v", got)
			}
			return got.Err
		})
	})
}

func wantErr(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("error %v, want %q", err, want)
	}
}

func TestKeysAreFetchedOnceAndAhead(t *testing.T) {
	bubble(t, func(t *testing.T, p *place, ask func(signer) error) {
		for range 7 * 60 { // under three quarters of ten minutes
			wantErr(t, ask(es()), "")
			time.Sleep(time.Second)
		}
		if n := p.fetched(); n != 1 {
			t.Errorf("fetched %d times", n)
		}
		p.mu.Lock()
		p.delay = 3 * time.Second
		p.mu.Unlock()
		for range 3 * 60 { // by now it was time; nobody has waited
			before := time.Now()
			wantErr(t, ask(es()), "")
			if d := time.Since(before); d > 0 {
				t.Errorf("waited %s", d)
			}
			time.Sleep(time.Second)
		}
		if n := p.fetched(); n != 2 {
			t.Errorf("fetched %d times", n)
		}
	})
}

func TestManyWaitForOneFetch(t *testing.T) {
	bubble(t, func(t *testing.T, p *place, ask func(signer) error) {
		p.delay = time.Second
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() { wantErr(t, ask(es()), "") })
		}
		wg.Wait()
		if p.fetched() != 1 {
			t.Errorf("fetched %d times", p.fetched())
		}
	})
}

// What was long not asked for is asked for before it is believed: a key that has left the set may be a stolen one.
func TestOldKeysAreNotBelievedWithoutAsking(t *testing.T) {
	bubble(t, func(t *testing.T, p *place, ask func(signer) error) {
		wantErr(t, ask(es()), "")
		p.put(set(es2()), nil)
		time.Sleep(time.Hour)
		wantErr(t, ask(es()), "not known")
		wantErr(t, ask(es2()), "")
	})
}

func TestBadAnswersKeepTheLastGoodKeys(t *testing.T) {
	for what, bad := range map[string]struct {
		keys string
		err  error
	}{
		"failure": {"", errors.New("500")}, "HTML": {"<html>", nil}, "nothing": {"", nil}, "no keys": {`{"keys":[]}`, nil}, "other JSON": {`[]`, nil},
		"no key that can be used": {`{"keys":[{"kty":"oct","k":"c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0"}]}`, nil},
		"more than a set has":     {set(es2()) + strings.Repeat(" ", 1<<20), nil},
	} {
		t.Run(what, func(t *testing.T) {
			bubble(t, func(t *testing.T, p *place, ask func(signer) error) {
				p.put(bad.keys, bad.err) // at the start: no token is good, and none lets anybody in
				for range 60 {
					wantErr(t, ask(es()), "there are none")
					time.Sleep(time.Second)
				}
				if n := p.fetched(); n < 4 || n > 8 { // at 0 s, 1, 3, 7, 15, 31
					t.Errorf("fetched %d times in the first minute", n)
				}
				time.Sleep(time.Minute)
				p.put(set(es()), nil)
				wantErr(t, ask(es()), "")

				p.put(bad.keys, bad.err)
				before := p.fetched()
				for range 120 {
					wantErr(t, ask(es()), "")
					wantErr(t, ask(es2()), "not known")
					time.Sleep(10 * time.Second)
				}
				if n := p.fetched() - before; n < 36 || n > 40 {
					t.Errorf("fetched %d times in 20 minutes, want once in 30 s", n)
				}
				for range 23 {
					wantErr(t, ask(es()), "")
					time.Sleep(time.Hour)
				}
				time.Sleep(time.Hour) // and then the time is over
				wantErr(t, ask(es()), "there are none")
				time.Sleep(time.Minute)
				p.put(set(es()), nil)
				wantErr(t, ask(es()), "")
			})
		})
	}
}

func TestUnknownKeysAreSoughtSeldom(t *testing.T) {
	bubble(t, func(t *testing.T, p *place, ask func(signer) error) {
		wantErr(t, ask(es()), "")
		for range 300 {
			wantErr(t, ask(es2()), "not known")
			wantErr(t, ask(es()), "")
			time.Sleep(time.Second)
		}
		if n := p.fetched(); n != 1+10 {
			t.Errorf("fetched %d times in 300 s", n)
		}
		p.put(set(es(), es2()), nil) // it is new, and the old one stays as long as it is in the set
		time.Sleep(30 * time.Second)
		wantErr(t, ask(es2()), "")
		wantErr(t, ask(es()), "")
		p.put(set(es2()), nil)
		time.Sleep(10 * time.Minute)
		wantErr(t, ask(es()), "not known")
		wantErr(t, ask(es2()), "")
	})
}

// A stranger's tokens make nobody fetch anything.
func TestStrangersFetchNothing(t *testing.T) {
	bubble(t, func(t *testing.T, p *place, ask func(signer) error) {
		a := jwt.New(jwt.Config{Fetch: p.fetch})
		defer a.Close()
		for _, raw := range []string{"x", "a.b.c", es().sign(usual(claims{"iss": "x"})), es().sign(usual(claims{"exp": 1}))} {
			if a.Verify(t.Context(), remote(), bearer(raw)).Err == nil {
				t.Error("let in")
			}
		}
		if p.fetched() > 0 {
			t.Errorf("fetched %d times", p.fetched())
		}
	})
}

func TestKeysOutliveConfigurations(t *testing.T) {
	bubble(t, func(t *testing.T, p *place, _ func(signer) error) {
		a := jwt.New(jwt.Config{Fetch: p.fetch})
		defer a.Close()
		for range 20 {
			if err := a.Verify(t.Context(), remote(), lasting(es())).Err; err != nil {
				t.Error(err)
			}
			time.Sleep(time.Second)
		}
		if p.fetched() != 1 {
			t.Errorf("fetched %d times", p.fetched())
		}
	})
}

// A token that verified once is not good for ever: not when its key has left the set, and not when it is expired.
func TestSeenTokensAreNotBelievedForEver(t *testing.T) {
	bubble(t, func(t *testing.T, p *place, _ func(signer) error) {
		a := jwt.New(jwt.Config{Fetch: p.fetch})
		defer a.Close()
		j, r := remote(), bearer(es().sign(usual(nil)))
		for range 3 {
			wantErr(t, a.Verify(t.Context(), j, r).Err, "")
		}
		p.put(set(es2()), nil)
		time.Sleep(11 * time.Minute)
		wantErr(t, a.Verify(t.Context(), j, r).Err, "not known")
		p.put(set(es()), nil)
		time.Sleep(time.Minute)
		for range 3 {
			wantErr(t, a.Verify(t.Context(), j, r).Err, "")
		}
		time.Sleep(time.Hour)
		wantErr(t, a.Verify(t.Context(), j, r).Err, "expired")
	})
}

// Nor is it good for who wants another one.
func TestSeenTokensAreOfTheirProvider(t *testing.T) {
	a := authenticator(t, jwt.Config{})
	p, other := provider(es()), provider(es())
	other.Audiences = []string{"warehouse"}
	j, k := needs(p), needs(other)
	r := bearer(es().sign(usual(nil)))
	for range 3 {
		wantErr(t, a.Verify(t.Context(), j, r).Err, "")
		wantErr(t, a.Verify(t.Context(), k, r).Err, "another audience")
	}
}

func TestCloseEndsFetches(t *testing.T) {
	bubble(t, func(t *testing.T, p *place, _ func(signer) error) {
		p.delay = time.Hour
		a := jwt.New(jwt.Config{Fetch: p.fetch})
		j := remote()
		j.Providers[0].Timeout = 2 * time.Hour
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		wantErr(t, a.Verify(ctx, j, lasting(es())).Err, "ended")
		done := make(chan error)
		go func() { done <- a.Verify(t.Context(), j, lasting(es())).Err }()
		synctest.Wait()
		a.Close()
		a.Close()
		wantErr(t, <-done, "there are none")
		wantErr(t, a.Verify(t.Context(), j, lasting(es())).Err, "there are none")
		if p.now != 0 || p.fetched() != 1 {
			t.Errorf("%d fetches run, %d began", p.now, p.fetched())
		}
	})
}

func TestFetchesHaveATime(t *testing.T) {
	bubble(t, func(t *testing.T, p *place, ask func(signer) error) {
		p.delay = time.Hour
		before := time.Now()
		wantErr(t, ask(es()), "deadline")
		if d := time.Since(before); d != 5*time.Second {
			t.Errorf("waited %s", d)
		}
	})
}

func TestNothingToFetchBy(t *testing.T) {
	if got := verify(t, remote(), lasting(es())); got.Err == nil {
		t.Error("let in")
	}
}
