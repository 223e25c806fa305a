package resilience

import (
	"hash/maphash"
	"sync/atomic"
)

// keyed keeps what is live for each of a bounded number of keys that callers choose. It takes no
// lock. A key belongs to one of many small sets; when its set is full, the key there that was
// not asked for longest makes room.
type keyed[T any] struct {
	seed maphash.Seed
	sets [][ways]atomic.Pointer[slot[T]]
}

// ways is how many keys a set holds.
const ways = 8

type slot[T any] struct {
	key   uint64
	used  atomic.Int64 // UnixNano
	value T
}

// newKeyed keeps at least size keys, and at most ways-1 more.
func newKeyed[T any](size int) *keyed[T] {
	return &keyed[T]{maphash.MakeSeed(), make([][ways]atomic.Pointer[slot[T]], (max(size, 1)+ways-1)/ways)}
}

// size is how many keys there may be at most.
func (k *keyed[T]) size() int { return len(k.sets) * ways }

// find returns what is kept for the key, or nil.
func (k *keyed[T]) find(key uint64, now int64) *T {
	set := &k.sets[key%uint64(len(k.sets))]
	for i := range set {
		if s := set[i].Load(); s != nil && s.key == key {
			if s.used.Load() < now {
				s.used.Store(now)
			}
			return &s.value
		}
	}
	return nil
}

// put keeps value for the key, in place of what was kept.
func (k *keyed[T]) put(key uint64, now int64, value T) *T { return k.place(key, now, value, true) }

// join keeps value for the key unless there is one already, and returns the one that is kept: who comes first with a key at once with
// others shares it with them.
func (k *keyed[T]) join(key uint64, now int64, value T) *T { return k.place(key, now, value, false) }

func (k *keyed[T]) place(key uint64, now int64, value T, replace bool) *T {
	next := &slot[T]{key: key, value: value}
	next.used.Store(now)
	set := &k.sets[key%uint64(len(k.sets))]
	for {
		place, was := 0, set[0].Load()
		for i := range set {
			s := set[i].Load()
			if s == nil || s.key == key {
				place, was = i, s
				break
			}
			if was != nil && s.used.Load() < was.used.Load() {
				place, was = i, s
			}
		}
		if was != nil && was.key == key && !replace {
			return &was.value
		}
		if set[place].CompareAndSwap(was, next) {
			return &next.value
		}
	}
}
