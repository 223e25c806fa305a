package yamldir

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weftmesh/weft/controlserver/catalog"
)

const (
	maxFiles = 20_000
	maxDepth = 32
	// racy is how old a file must be before equal times are taken for equal
	// contents, and young how long a file that makes no sense may still be being written.
	racy  = time.Second
	young = 300 * time.Millisecond
)

// A tree is what was read of the files under a root. A file that did not change
// is neither read nor parsed again.
type tree struct {
	root string
	// dirs are the directories that hold the files, links resolved.
	dirs map[string]bool
	// unsettled says that a file seems to be being written: look again soon.
	unsettled bool

	files    map[string]*file
	findings []catalog.Finding // about what could not be listed

	// Of the scan under way.
	now     time.Time
	seen    map[string]*file
	found   []catalog.Finding
	visited []fs.FileInfo
	changed bool
}

// A file is what was read of one.
type file struct {
	info     fs.FileInfo
	read     time.Time
	hash     [sha256.Size]byte
	objects  []catalog.Object
	findings []catalog.Finding
}

// fragment returns all that is known, file by file.
func (t *tree) fragment() catalog.Fragment {
	f := catalog.Fragment{Source: t.root, Findings: slices.Clone(t.findings)}
	for _, name := range slices.Sorted(maps.Keys(t.files)) {
		f.Objects = append(f.Objects, t.files[name].objects...)
		f.Findings = append(f.Findings, t.files[name].findings...)
	}
	return f
}

// scan looks through the tree and reports whether it says anything new.
func (t *tree) scan(now time.Time) bool {
	t.now, t.seen, t.found, t.visited = now, map[string]*file{}, nil, nil
	t.dirs, t.changed, t.unsettled = map[string]bool{}, false, false
	if info, err := os.Stat(t.root); err == nil && !info.IsDir() {
		t.dirs[filepath.Dir(t.root)] = true
		t.file(t.root, info)
	} else {
		t.dir(t.root, 0)
	}
	t.changed = t.changed || len(t.seen) != len(t.files) || !slices.EqualFunc(t.found, t.findings, func(a, b catalog.Finding) bool {
		return a.String() == b.String()
	})
	t.files, t.findings = t.seen, t.found
	return t.changed
}

func (t *tree) fail(name string, format string, args ...any) {
	t.found = append(t.found, catalog.Finding{Position: catalog.Position{File: name}, Message: fmt.Sprintf(format, args...)})
}

func (t *tree) dir(name string, depth int) {
	info, err := os.Stat(name)
	if err != nil {
		t.fail(name, "directory cannot be read: %s", cause(err))
		return
	}
	if slices.ContainsFunc(t.visited, func(v fs.FileInfo) bool { return os.SameFile(v, info) }) {
		return
	}
	t.visited = append(t.visited, info)
	if depth > maxDepth {
		t.fail(name, "directory is more than %d levels down", maxDepth)
		return
	}
	t.dirs[name] = true
	entries, err := os.ReadDir(name)
	if err != nil {
		t.fail(name, "directory cannot be read: %s", cause(err))
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") {
			continue
		}
		t.entry(filepath.Join(name, e.Name()), e, depth)
	}
}

func (t *tree) entry(path string, e fs.DirEntry, depth int) {
	link := e.Type()&fs.ModeSymlink != 0
	wanted := isConfig(path)
	if !wanted && !link && !e.IsDir() {
		return
	}
	info, err := os.Stat(path)
	switch {
	case err != nil && !wanted:
		return
	case err != nil:
		if _, gone := os.Lstat(path); !errors.Is(gone, fs.ErrNotExist) {
			t.fail(path, "file cannot be read: %s", cause(err))
		}
		return
	case info.IsDir():
		t.dir(path, depth+1)
		return
	case !wanted:
		return
	}
	if link {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			t.dirs[filepath.Dir(target)] = true
		}
	}
	t.file(path, info)
}

func (t *tree) file(path string, info fs.FileInfo) {
	if len(t.seen) >= maxFiles {
		t.fail(path, "left out: there are more than %d files", maxFiles)
		return
	}
	if !info.Mode().IsRegular() {
		t.fail(path, "not a regular file")
		return
	}
	before := t.files[path]
	if before != nil && os.SameFile(before.info, info) && before.info.Size() == info.Size() &&
		before.info.ModTime().Equal(info.ModTime()) && before.read.Sub(info.ModTime()) > racy {
		t.seen[path] = before
		return
	}
	data, err := read(path)
	if err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return // gone since it was listed
		}
		t.fail(path, "file cannot be read: %s", cause(err))
		return
	}
	f := &file{info: info, read: t.now, hash: sha256.Sum256(data)}
	if before != nil && before.hash == f.hash {
		f.objects, f.findings = before.objects, before.findings
		t.seen[path] = f
		return
	}
	f.objects, f.findings = catalog.Parse(path, data)
	if before != nil && broken(f.findings) && t.now.Sub(info.ModTime()).Abs() < young {
		t.unsettled = true
		t.seen[path] = before
		return
	}
	t.seen[path], t.changed = f, true
}

// read reads a file, not much more of it than may be parsed.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, catalog.MaxFile+1))
}

// broken reports whether a file is not all there: a finding is about no document.
func broken(findings []catalog.Finding) bool {
	return slices.ContainsFunc(findings, func(f catalog.Finding) bool {
		return f.Name == "" && f.Severity == catalog.Error
	})
}

func isConfig(path string) bool {
	switch filepath.Ext(path) {
	case ".yaml", ".yml", ".json":
		return true
	}
	return false
}

// cause is an error without the path, which the finding names already.
func cause(err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		return path.Err
	}
	return err
}
