// Package yamldir reads configuration from a directory tree of YAML and JSON
// files and follows its changes.
//
// All *.yaml, *.yml and *.json files are read, but for those whose name, or the
// name of a directory on the way, begins with a dot. Symbolic links are followed,
// so that a mounted Kubernetes ConfigMap works.
package yamldir

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/weftmesh/weft/controlserver/catalog"
)

const (
	// quiet is how long no event must come before the tree is read, and patience
	// how long events may go on coming.
	quiet    = 15 * time.Millisecond
	patience = 60 * time.Millisecond
)

// A Source reports what a directory tree says. Create it with [New].
type Source struct {
	tree   tree
	rescan time.Duration
	log    *slog.Logger
}

// An Option changes a Source.
type Option func(*Source)

// WithRescan sets how often the tree is looked through without an event, which
// heals events that got lost; default 1 s.
func WithRescan(every time.Duration) Option { return func(s *Source) { s.rescan = every } }

// WithLogger sets where it is told that events cannot be had; default slog.Default.
func WithLogger(log *slog.Logger) Option { return func(s *Source) { s.log = log } }

// New returns a source for a directory, or for one file.
func New(dir string, opts ...Option) *Source {
	s := &Source{tree: tree{root: dir}, rescan: time.Second, log: slog.Default()}
	for _, o := range opts {
		o(s)
	}
	return s
}

// Read returns what a directory, or one file, says now.
func Read(path string) (catalog.Fragment, error) {
	if _, err := os.Stat(path); err != nil {
		return catalog.Fragment{}, fmt.Errorf("configuration: %w", err)
	}
	t := tree{root: path}
	t.scan(time.Now())
	return t.fragment(), nil
}

// Run reports the whole fragment once at the start, and again whenever it
// changed, always from the goroutine it was called in; the fragment is the
// receiver's. It returns nil when ctx ends, and an error when the directory is
// not there at the start. A directory that goes away later is a finding.
func (s *Source) Run(ctx context.Context, report func(catalog.Fragment)) error {
	if _, err := os.Stat(s.tree.root); err != nil {
		return fmt.Errorf("configuration: %w", err)
	}
	w := newWatch(s.log)
	defer w.close()
	s.look(w)
	report(s.tree.fragment())

	rescan := time.NewTicker(s.rescan)
	defer rescan.Stop()
	settle := time.NewTimer(0)
	settle.Stop()
	defer settle.Stop()
	var last time.Time // when the tree must be read, events or not; zero when none is due
	arm := func(wait time.Duration) {
		now := time.Now()
		if last.IsZero() {
			last = now.Add(patience)
		}
		settle.Reset(min(wait, last.Sub(now)))
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-w.events:
			arm(quiet)
			continue
		case err := <-w.errors:
			s.log.Warn("configuration directory: events lost", "dir", s.tree.root, "error", err)
			arm(quiet)
			continue
		case <-settle.C:
		case <-rescan.C:
		}
		last = time.Time{}
		changed := s.look(w)
		if changed {
			report(s.tree.fragment())
		}
		if s.tree.unsettled {
			arm(patience)
		}
	}
}

// look reads the tree, again for as long as there are directories that were not
// watched while it was read, and reports whether anything changed.
func (s *Source) look(w *watch) bool {
	changed := false
	for range 8 {
		changed = s.tree.scan(time.Now()) || changed
		if !w.follow(s.tree.dirs) {
			break
		}
	}
	return changed
}

// A watch tells of changes in a set of directories. Without help from the
// operating system it tells nothing, and the re-scan has to do.
type watch struct {
	watcher *fsnotify.Watcher
	events  chan fsnotify.Event
	errors  chan error
	watched map[string]bool
	log     *slog.Logger
	told    bool
}

func newWatch(log *slog.Logger) *watch {
	w := &watch{watched: map[string]bool{}, log: log}
	watcher, err := fsnotify.NewWatcher()
	if err != nil {
		log.Warn("configuration directory: no events, changes are found by looking", "error", err)
		return w
	}
	w.watcher, w.events, w.errors = watcher, watcher.Events, watcher.Errors
	return w
}

// follow watches these directories and no others, and reports whether any is new.
func (w *watch) follow(dirs map[string]bool) bool {
	if w.watcher == nil {
		return false
	}
	fresh := false
	for dir := range w.watched {
		if !dirs[dir] {
			_ = w.watcher.Remove(dir) // gone with the directory, most often
			delete(w.watched, dir)
		}
	}
	for dir := range dirs {
		known := w.watched[dir]
		// A directory that was replaced under its name needs a new watch; one
		// that was not is left as it is.
		if err := w.watcher.Add(dir); err != nil {
			if !w.told {
				w.told = true
				w.log.Warn("configuration directory: no events, changes are found by looking", "dir", dir, "error", err)
			}
			continue
		}
		w.watched[dir] = true
		fresh = fresh || !known
	}
	return fresh
}

func (w *watch) close() {
	if w.watcher != nil {
		_ = w.watcher.Close()
	}
}
