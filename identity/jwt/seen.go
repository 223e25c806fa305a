package jwt

import (
	"crypto/sha256"
	"sync"
)

// seen remembers tokens that verified, so that the same one is not verified for each request of a client again: a signature costs some 50 times
// as much as finding it here. Only issuers can add to it. It holds two generations at most, and no token itself. The zero seen is empty.
type seen struct {
	mu         sync.Mutex
	young, old map[sight]*verified
}

// A sight is a token at a provider.
type sight struct {
	hash     [sha256.Size]byte
	provider *provider
}

const (
	generation = 512
	rememberUp = 4 << 10 // to this length of a token
)

// get returns what is known of a token; nil if nothing.
func (s *seen) get(at sight) *verified {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.young[at]
	if v == nil {
		if v = s.old[at]; v != nil {
			s.put(at, v)
		}
	}
	return v
}

// drop forgets a token.
func (s *seen) drop(at sight) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.young, at)
	delete(s.old, at)
}

func (s *seen) add(at sight, v *verified) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.put(at, v)
}

// put is add with the lock held.
func (s *seen) put(at sight, v *verified) {
	if s.young == nil {
		s.young = map[sight]*verified{}
	} else if len(s.young) >= generation {
		s.old, s.young = s.young, map[sight]*verified{}
	}
	s.young[at] = v
}
