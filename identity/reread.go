package identity

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
)

// racy is how long after a file was written it may be written again without its time showing it.
const racy = 2 * time.Second

// A reread is what files say: it reads them anew when they change. It is safe for concurrent use.
type reread[T any] struct {
	paths  []string
	parse  func([][]byte) (T, error)
	report func(error)

	mu    sync.Mutex
	value T
	state []fs.FileInfo // of the files when they were last read; nil for one that was not there
	sure  bool          // state tells any later change
	told  string        // what was reported last
}

// newReread reads the files for the first time.
func newReread[T any](paths []string, parse func([][]byte) (T, error), report func(error)) (*reread[T], error) {
	r := &reread[T]{paths: paths, parse: parse, report: report}
	r.state, r.sure = r.stat()
	return r, r.read()
}

// now is what the files say now or, if that is nothing, what they said last.
func (r *reread[T]) now() T {
	r.mu.Lock()
	defer r.mu.Unlock()
	// Looked at before they are read: what is written in between is seen the next time.
	state, sure := r.stat()
	if r.sure && same(r.state, state) {
		return r.value
	}
	r.state, r.sure = state, sure
	if err := r.read(); err != nil {
		if r.report != nil && r.told != err.Error() {
			r.report(fmt.Errorf("%w; what it said before is kept", err))
		}
		r.told = err.Error()
	} else {
		r.told = ""
	}
	return r.value
}

func (r *reread[T]) read() error {
	content := make([][]byte, 0, len(r.paths))
	for _, p := range r.paths {
		if p == "" {
			return errors.New("a file is not named: certificate and key belong together")
		}
		b, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		content = append(content, b)
	}
	value, err := r.parse(content)
	if err != nil {
		return fmt.Errorf("%s: %w", strings.Join(r.paths, ", "), err)
	}
	r.value = value
	return nil
}

func (r *reread[T]) stat() (state []fs.FileInfo, sure bool) {
	sure = true
	for _, p := range r.paths {
		info, err := os.Stat(p)
		if err != nil {
			info = nil
		} else if time.Since(info.ModTime()) < racy {
			sure = false
		}
		state = append(state, info)
	}
	return state, sure
}

func same(a, b []fs.FileInfo) bool {
	for i := range a {
		if a[i] == nil || b[i] == nil {
			if a[i] != nil || b[i] != nil {
				return false
			}
		} else if !a[i].ModTime().Equal(b[i].ModTime()) || a[i].Size() != b[i].Size() || !os.SameFile(a[i], b[i]) {
			return false
		}
	}
	return true
}
