package ca

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/identity"
)

const (
	// tokenPrefix tells join tokens from JWTs, and finds them where they should not be.
	tokenPrefix = "weftjoin_"
	// tokenLife is how long a join token is good for by default, longestToken at most.
	tokenLife    = 10 * time.Minute
	longestToken = 24 * time.Hour
	// usedSuffix marks a token that somebody is being given a certificate for.
	usedSuffix = ".used"
)

// A joinToken is what is kept of a join token: whom it makes, and until when. The token itself is not: it is found by its hash.
type joinToken struct {
	ID      spiffeid.ID `json:"identity"`
	Expires time.Time   `json:"expires"`
}

// A tokenStore keeps join tokens by their hash.
type tokenStore interface {
	put(hash string, t joinToken) error
	peek(hash string) (joinToken, error)
	// take takes the token away, which succeeds once. giveBack undoes it, done makes it last.
	take(hash string) error
	giveBack(hash string)
	done(hash string)
	// sweep removes those that have expired.
	sweep(now time.Time)
}

var errToken = errors.New("ca: there is no such join token, or it was used")

// CreateToken makes a token with which one process can have its first certificate, of that identity, within ttl: 10 min if that is 0,
// 24 h at most. Only its hash is kept.
func (c *CA) CreateToken(id spiffeid.ID, ttl time.Duration) (string, error) {
	return createToken(c.store.tokens(), c.TrustDomain(), id, ttl)
}

// CreateToken makes a join token in a state directory, as [CA.CreateToken] does; a control server that runs on it takes it at once.
func CreateToken(dir string, id spiffeid.ID, ttl time.Duration) (string, error) {
	d, s, err := existing(dir)
	if err != nil {
		return "", err
	}
	return createToken(d.tokens(), s.TrustDomain, id, ttl)
}

func createToken(in tokenStore, domain spiffeid.TrustDomain, id spiffeid.ID, ttl time.Duration) (string, error) {
	now := time.Now()
	in.sweep(now)
	switch {
	case !id.MemberOf(domain) || id.Path() == "":
		return "", fmt.Errorf("ca: join token: %q is no identity of trust domain %s: write spiffe://%s/ns/NAMESPACE/sa/SERVICEACCOUNT", id, domain, domain)
	case id.Path() == identity.ControlServerPath:
		return "", fmt.Errorf("ca: join token: %q is the control server, which makes its own certificates, and nobody else is it", id)
	case ttl < 0 || ttl > longestToken:
		return "", fmt.Errorf("ca: join token: a life of %v: it may be %v at most", ttl, longestToken)
	case ttl == 0:
		ttl = tokenLife
	}
	token := tokenPrefix + base64.RawURLEncoding.EncodeToString(random(32))
	return token, in.put(hashToken(token), joinToken{ID: id, Expires: now.Add(ttl)})
}

func hashToken(token string) string {
	sum := sha256.Sum256([]byte(token))
	return hex.EncodeToString(sum[:])
}

// valid is the token of a hash, if it is there and has not expired.
func validToken(in tokenStore, hash string) (joinToken, error) {
	t, err := in.peek(hash)
	if err == nil && !time.Now().Before(t.Expires) {
		err = fmt.Errorf("ca: join token: it expired at %v", t.Expires)
	}
	return t, err
}

// tokenFiles are join tokens as files of a directory, by their hashes. A token is taken by renaming its file, which one process does first.
type tokenFiles string

// file is named by a hash of ours, never by what a caller said.
func (f tokenFiles) file(hash string) string { return filepath.Join(string(f), hash) }

func (f tokenFiles) put(hash string, t joinToken) error {
	text, err := json.Marshal(t)
	if err == nil {
		err = writeFile(f.file(hash), text)
	}
	if err != nil {
		return fmt.Errorf("ca: join token: %w", err)
	}
	return nil
}

func (f tokenFiles) peek(hash string) (t joinToken, err error) {
	text, err := os.ReadFile(f.file(hash))
	if errors.Is(err, fs.ErrNotExist) {
		return t, errToken
	}
	if err == nil {
		err = json.Unmarshal(text, &t)
	}
	if err != nil {
		return t, fmt.Errorf("ca: join token: %w", err)
	}
	return t, nil
}

func (f tokenFiles) take(hash string) error {
	switch err := os.Rename(f.file(hash), f.file(hash)+usedSuffix); { //nolint:gosec // see file
	case errors.Is(err, fs.ErrNotExist):
		return errToken
	case err != nil:
		return fmt.Errorf("ca: join token: %w", err)
	}
	return nil
}

func (f tokenFiles) giveBack(hash string) { _ = os.Rename(f.file(hash)+usedSuffix, f.file(hash)) } // or it stays taken

func (f tokenFiles) done(hash string) { _ = os.Remove(f.file(hash) + usedSuffix) } // or sweep does it

func (f tokenFiles) sweep(now time.Time) {
	names, _ := os.ReadDir(string(f)) // another time, then
	for _, n := range names {
		if info, err := n.Info(); err == nil && now.Sub(info.ModTime()) > longestToken {
			_ = os.Remove(f.file(n.Name()))
			continue
		}
		hash := strings.TrimSuffix(n.Name(), usedSuffix)
		if len(hash) != 2*sha256.Size || hash != n.Name() {
			continue // on its way in or out
		}
		if t, err := f.peek(hash); err == nil && !now.Before(t.Expires) {
			_ = os.Remove(f.file(hash))
		}
	}
}

// tokenMemory are join tokens of an authority in memory. The zero tokenMemory has none.
type tokenMemory struct {
	mu    sync.Mutex
	free  map[string]joinToken
	taken map[string]joinToken
}

func (m *tokenMemory) put(hash string, t joinToken) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.free == nil {
		m.free, m.taken = map[string]joinToken{}, map[string]joinToken{}
	}
	m.free[hash] = t
	return nil
}

func (m *tokenMemory) peek(hash string) (joinToken, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.free[hash]
	if !ok {
		return t, errToken
	}
	return t, nil
}

func (m *tokenMemory) take(hash string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	t, ok := m.free[hash]
	if !ok {
		return errToken
	}
	delete(m.free, hash)
	m.taken[hash] = t
	return nil
}

func (m *tokenMemory) giveBack(hash string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t, ok := m.taken[hash]; ok {
		delete(m.taken, hash)
		m.free[hash] = t
	}
}

func (m *tokenMemory) done(hash string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.taken, hash)
}

func (m *tokenMemory) sweep(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for hash, t := range m.free {
		if !now.Before(t.Expires) {
			delete(m.free, hash)
		}
	}
}
