package resilience

import (
	"hash/maphash"
	"time"
)

// A Fallback is what a caller gets when a route's attempts are spent: the last good answer if it
// is young enough, else one that is configured. It is for calls that only read. The zero Fallback has none.
type Fallback struct {
	// Answer is the configured one; nil if there is none.
	Answer *Answer
	// MaxAge is how old a last good answer may be; 0 means that none are kept.
	MaxAge time.Duration
	// MaxAnswers is how many are kept, and MaxBytes how long their bodies may be; 0 means 256 and 64 KiB.
	MaxAnswers int
	MaxBytes   int
}

// An Answer is an answer to a call as it can be given again. It is not modified.
type Answer struct {
	Status int    // HTTP
	Code   uint32 // gRPC; counts when GRPC is set
	GRPC   bool
	Header []Entry
	Body   []byte
}

// LastGood keeps good answers. It takes no lock.
type LastGood struct{ answers *keyed[kept] }

type kept struct {
	key    string
	at     time.Time
	answer *Answer
}

// NewLastGood returns a store for the answers of f.
func NewLastGood(f *Fallback) *LastGood {
	size := f.MaxAnswers
	if size <= 0 {
		size = 256
	}
	return &LastGood{newKeyed[kept](size)}
}

// Keeps reports whether an answer with a body so long is to be kept.
func (f *Fallback) Keeps(o Outcome, bytes int) bool {
	most := f.MaxBytes
	if most <= 0 {
		most = 64 << 10
	}
	good := o.OK() && (o.GRPC && o.Code == 0 || !o.GRPC && o.Status >= 200 && o.Status < 300)
	return f.MaxAge > 0 && good && bytes <= most
}

// Keep keeps the answer to the calls that key tells apart: it has to hold all that the answer
// depends on, whoever asks included. When there are too many, one that was long not asked for makes room.
// a and what it holds are not modified afterwards.
func (l *LastGood) Keep(key string, now time.Time, a *Answer) {
	l.answers.put(maphash.String(l.answers.seed, key), now.UnixNano(), kept{key, now, a})
}

// Choose is the answer to give to the calls of key, and how old it is; nil if there is none. A configured
// one has no age.
func (f *Fallback) Choose(l *LastGood, key string, now time.Time) (a *Answer, age time.Duration) {
	if f.MaxAge > 0 && l != nil {
		if k := l.answers.find(maphash.String(l.answers.seed, key), now.UnixNano()); k != nil && k.key == key {
			if age := max(now.Sub(k.at), 0); age <= f.MaxAge {
				return k.answer, age
			}
		}
	}
	return f.Answer, 0
}

// Applies reports whether a call that ended so is to be answered by a fallback. Who gave up waits for none.
func (f *Fallback) Applies(o Outcome) bool { return !o.OK() && o.Cause != Canceled }
