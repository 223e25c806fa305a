package ca

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A store keeps the state, keys and join tokens of an authority. Its methods are safe for concurrent use, and those of a
// directory are by several processes.
type store interface {
	// newest is the number of the state, 0 if there is none.
	newest() (uint64, error)
	// load is the newest state; nil if there is none.
	load() (*state, error)
	// commit makes s the state. It fails with errOutdated if s does not follow the newest.
	commit(s *state) error
	// key is the PEM of a key, fs.ErrNotExist if there is none of that name.
	key(name string) ([]byte, error)
	putKey(name string, text []byte) error
	// sweep removes the keys that s does not need, but those that may be a change on its way.
	sweep(s, before *state) error
	tokens() tokenStore
}

var errOutdated = errors.New("ca: the state was changed by another process meanwhile")

// A directory is a store of files:
//
//	state/N.json   the states; the one of the highest number counts
//	keys/NAME.pem  private keys
//	tokens/HASH    join tokens, see token.go
//	issued.log     see log.go
//
// A state is put in place by a link that fails if there is one of its number, so that of two processes one changes first and the other
// looks again.
type directory struct{ path string }

// kept is how many states stay on disk.
const kept = 32

// openDirectory makes the directory if there is none, and refuses one that others can read.
func openDirectory(path string) (*directory, error) {
	d := &directory{path: path}
	for _, dir := range []string{path, d.sub("state"), d.sub("keys"), d.sub("tokens")} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return nil, fmt.Errorf("ca: state directory: %w", err)
		}
		if err := private(dir, "700"); err != nil {
			return nil, err
		}
	}
	names, err := os.ReadDir(d.sub("keys"))
	if err != nil {
		return nil, fmt.Errorf("ca: state directory: %w", err)
	}
	for _, n := range names {
		if err := private(d.sub("keys", n.Name()), "600"); err != nil {
			return nil, err
		}
	}
	return d, nil
}

// private refuses what others than the owner can get at.
func private(path, mode string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // removed meanwhile
	case err != nil:
		return fmt.Errorf("ca: state directory: %w", err)
	case runtime.GOOS != "windows" && info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("ca: %s is open to other users (mode %04o): run chmod %s %s, and if they may have read a key, rotate the root", path, info.Mode().Perm(), mode, path)
	}
	return nil
}

func (d *directory) sub(elem ...string) string {
	return filepath.Join(append([]string{d.path}, elem...)...)
}

func (d *directory) stateFile(n uint64) string { return d.sub("state", fmt.Sprintf("%d.json", n)) }

func (d *directory) numbers() ([]uint64, error) {
	names, err := os.ReadDir(d.sub("state"))
	if err != nil {
		return nil, fmt.Errorf("ca: state: %w", err)
	}
	var out []uint64
	for _, n := range names {
		if digits, ok := strings.CutSuffix(n.Name(), ".json"); ok {
			if number, err := strconv.ParseUint(digits, 10, 64); err == nil {
				out = append(out, number)
			}
		}
	}
	slices.Sort(out)
	return out, nil
}

func (d *directory) newest() (uint64, error) {
	numbers, err := d.numbers()
	if err != nil || len(numbers) == 0 {
		return 0, err
	}
	return numbers[len(numbers)-1], nil
}

func (d *directory) load() (*state, error) {
	n, err := d.newest()
	if err != nil || n == 0 {
		return nil, err
	}
	text, err := os.ReadFile(d.stateFile(n))
	if err != nil {
		return nil, fmt.Errorf("ca: state: %w", err)
	}
	s, err := decodeState(text)
	if err != nil {
		return nil, fmt.Errorf("ca: state %s: %w", d.stateFile(n), err)
	}
	if s.Number != n {
		return nil, fmt.Errorf("ca: state %s: it says that its number is %d", d.stateFile(n), s.Number)
	}
	return s, nil
}

func (d *directory) commit(s *state) error {
	before, err := d.newest()
	if err != nil {
		return err
	}
	if before+1 != s.Number {
		return errOutdated
	}
	text, err := s.encode()
	if err != nil {
		return fmt.Errorf("ca: state: %w", err)
	}
	temp, err := writeTemp(d.sub("state"), text)
	if err != nil {
		return fmt.Errorf("ca: state: %w", err)
	}
	defer os.Remove(temp) //nolint:errcheck // a name too many does no harm
	switch err := os.Link(temp, d.stateFile(s.Number)); {
	case errors.Is(err, fs.ErrExist):
		return errOutdated
	case err != nil:
		return fmt.Errorf("ca: state: %w", err)
	}
	if err := syncDir(d.sub("state")); err != nil {
		return fmt.Errorf("ca: state: %w", err)
	}
	numbers, err := d.numbers()
	if err != nil {
		return err
	}
	if numbers[len(numbers)-1] >= s.Number+kept/2 {
		return errOutdated // this process slept so long that the state of this number had been removed
	}
	for _, n := range numbers[:max(0, len(numbers)-kept)] {
		_ = os.Remove(d.stateFile(n)) // the next commit tries again
	}
	return nil
}

func (d *directory) keyFile(name string) string { return d.sub("keys", name+".pem") }

func (d *directory) key(name string) ([]byte, error) {
	if err := private(d.keyFile(name), "600"); err != nil {
		return nil, err
	}
	return os.ReadFile(d.keyFile(name))
}

func (d *directory) putKey(name string, text []byte) error {
	if err := writeFile(d.keyFile(name), text); err != nil {
		return fmt.Errorf("ca: key: %w", err)
	}
	return nil
}

// sweep leaves alone what is younger than an hour and was never needed: another process may be about to need it.
func (d *directory) sweep(s, before *state) error {
	names, err := os.ReadDir(d.sub("keys"))
	if err != nil {
		return fmt.Errorf("ca: keys: %w", err)
	}
	var wanted, old []string
	wanted = s.keys()
	if before != nil {
		old = before.keys()
	}
	for _, n := range names {
		name := strings.TrimSuffix(n.Name(), ".pem")
		if slices.Contains(wanted, name) {
			continue
		}
		info, err := n.Info()
		if err != nil || !slices.Contains(old, name) && time.Since(info.ModTime()) < time.Hour {
			continue
		}
		if err := os.Remove(d.sub("keys", n.Name())); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("ca: a key that is not needed any more can't be removed: %w", err)
		}
	}
	return nil
}

func (d *directory) tokens() tokenStore { return tokenFiles(d.sub("tokens")) }

// writeFile puts a file of mode 0600 in place whole, or not at all.
func writeFile(path string, text []byte) error {
	temp, err := writeTemp(filepath.Dir(path), text)
	if err != nil {
		return err
	}
	if err := os.Rename(temp, path); err != nil {
		_ = os.Remove(temp)
		return err
	}
	return syncDir(filepath.Dir(path))
}

// writeTemp writes a file of another name, of mode 0600, to the disk.
func writeTemp(dir string, text []byte) (name string, err error) {
	f, err := os.CreateTemp(dir, ".new-*")
	if err != nil {
		return "", err
	}
	_, err = f.Write(text)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		_ = os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}

// syncDir has the names of a directory's files on the disk.
func syncDir(path string) error {
	if runtime.GOOS == "windows" {
		return nil // which has no such call
	}
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// A memory is the store of an authority that ends with the process.
type memory struct {
	mu     sync.Mutex
	state  *state
	held   map[string][]byte
	joined tokenMemory
}

func newMemory() *memory { return &memory{held: map[string][]byte{}} }

func (m *memory) newest() (uint64, error) {
	s, _ := m.load()
	if s == nil {
		return 0, nil
	}
	return s.Number, nil
}

func (m *memory) load() (*state, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state, nil
}

func (m *memory) commit(s *state) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.state != nil && m.state.Number+1 != s.Number {
		return errOutdated
	}
	m.state = s
	return nil
}

func (m *memory) key(name string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if text, ok := m.held[name]; ok {
		return text, nil
	}
	return nil, fs.ErrNotExist
}

func (m *memory) putKey(name string, text []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held[name] = text
	return nil
}

func (m *memory) sweep(s, _ *state) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	maps.DeleteFunc(m.held, func(name string, _ []byte) bool { return !slices.Contains(s.keys(), name) })
	return nil
}

func (m *memory) tokens() tokenStore { return &m.joined }
