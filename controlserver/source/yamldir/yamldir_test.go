package yamldir

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/controlserver/catalog"
)

func entry(name, address string) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: %s}
spec: {address: %s, labels: {app: a}}
`, name, address)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// names are the names of a fragment's objects, each with its address.
func names(f catalog.Fragment) string {
	var out []string
	for _, o := range f.Objects {
		type addressed interface{ GetAddress() string }
		out = append(out, o.Name+"="+o.Spec.(addressed).GetAddress())
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// follow runs a source and returns a function that waits for a report of just these objects.
func follow(t *testing.T, s *Source) (await func(want string) catalog.Fragment) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	reports := make(chan catalog.Fragment, 1000)
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, func(f catalog.Fragment) { reports <- f }) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	return func(want string) catalog.Fragment {
		t.Helper()
		limit := time.After(20 * time.Second)
		last := "no report"
		for {
			select {
			case f := <-reports:
				if last = names(f); last == want {
					return f
				}
			case <-limit:
				t.Fatalf("no report of %q; the last is %q", want, last)
			}
		}
	}
}

func TestTreeIsFollowed(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a.yaml", entry("a", "10.0.0.1"))
	write(t, dir+"/deep/er/b.yml", entry("b", "10.0.0.2")+"---\n"+entry("c", "10.0.0.3"))
	write(t, dir+"/README.md", "not configuration")
	write(t, dir+"/.git/x.yaml", entry("hidden", "10.9.9.9"))
	write(t, dir+"/.a.yaml.swp.yaml", entry("hidden", "10.9.9.9"))
	// The re-scan is out of the way: events alone must do.
	await := follow(t, New(dir, WithRescan(time.Hour)))
	await("a=10.0.0.1 b=10.0.0.2 c=10.0.0.3")

	write(t, dir+"/a.yaml", entry("a", "10.0.1.1"))
	await("a=10.0.1.1 b=10.0.0.2 c=10.0.0.3")

	// An editor writes aside and renames.
	write(t, dir+"/a.yaml~", entry("a", "10.0.2.1"))
	if err := os.Rename(dir+"/a.yaml~", dir+"/a.yaml"); err != nil {
		t.Fatal(err)
	}
	await("a=10.0.2.1 b=10.0.0.2 c=10.0.0.3")

	write(t, dir+"/new/below/d.json", `{"apiVersion":"networking.istio.io/v1","kind":"WorkloadEntry",
	"metadata":{"name":"d"},"spec":{"address":"10.0.0.4"}}`)
	await("a=10.0.2.1 b=10.0.0.2 c=10.0.0.3 d=10.0.0.4")
	write(t, dir+"/new/below/e.yaml", entry("e", "10.0.0.5"))
	await("a=10.0.2.1 b=10.0.0.2 c=10.0.0.3 d=10.0.0.4 e=10.0.0.5")

	if err := os.RemoveAll(dir + "/deep"); err != nil {
		t.Fatal(err)
	}
	await("a=10.0.2.1 d=10.0.0.4 e=10.0.0.5")
}

func TestConfigMapSwapIsOneChange(t *testing.T) {
	dir := t.TempDir()
	version := func(n int) {
		name := fmt.Sprintf("..2026_%d", n)
		write(t, filepath.Join(dir, name, "a.yaml"), entry("a", fmt.Sprintf("10.0.0.%d", n)))
		write(t, filepath.Join(dir, name, "b.yaml"), entry("b", fmt.Sprintf("10.0.1.%d", n)))
		if err := os.Symlink(name, dir+"/..data_tmp"); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(dir+"/..data_tmp", dir+"/..data"); err != nil {
			t.Fatal(err)
		}
	}
	version(1)
	for _, f := range []string{"a.yaml", "b.yaml"} {
		if err := os.Symlink("..data/"+f, filepath.Join(dir, f)); err != nil {
			t.Fatal(err)
		}
	}
	await := follow(t, New(dir, WithRescan(time.Hour)))
	await("a=10.0.0.1 b=10.0.1.1")
	for n := 2; n < 5; n++ {
		version(n)
		if err := os.RemoveAll(filepath.Join(dir, fmt.Sprintf("..2026_%d", n-1))); err != nil {
			t.Fatal(err)
		}
		await(fmt.Sprintf("a=10.0.0.%d b=10.0.1.%d", n, n))
	}
}

func TestDirectoryReplacedUnderItsName(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/sub/a.yaml", entry("a", "10.0.0.1"))
	await := follow(t, New(dir, WithRescan(time.Hour)))
	await("a=10.0.0.1")
	write(t, dir+"/aside/a.txt", "")
	if err := os.Rename(dir+"/sub", dir+"/.old"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"/aside", dir+"/sub"); err != nil {
		t.Fatal(err)
	}
	await("")
	write(t, dir+"/sub/b.yaml", entry("b", "10.0.0.2"))
	await("b=10.0.0.2")
}

func TestLinkedFileElsewhereIsFollowed(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	write(t, elsewhere+"/real.yaml", entry("a", "10.0.0.1"))
	if err := os.Symlink(elsewhere+"/real.yaml", dir+"/a.yaml"); err != nil {
		t.Fatal(err)
	}
	await := follow(t, New(dir, WithRescan(time.Hour)))
	await("a=10.0.0.1")
	write(t, elsewhere+"/real.yaml", entry("a", "10.0.0.2"))
	await("a=10.0.0.2")
}

func TestRescanHealsLostEvents(t *testing.T) {
	dir := t.TempDir()
	s := New(dir)
	deaf := &watch{}
	s.look(deaf)
	write(t, dir+"/a.yaml", entry("a", "10.0.0.1"))
	if !s.look(deaf) || names(s.tree.fragment()) != "a=10.0.0.1" {
		t.Errorf("a new file is not found without events: %q", names(s.tree.fragment()))
	}
	if s.look(deaf) {
		t.Error("nothing changed, and a change is told")
	}
}

func TestOneFileIsFollowed(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a.yaml", entry("a", "10.0.0.1"))
	write(t, dir+"/b.yaml", entry("b", "10.0.0.1"))
	await := follow(t, New(dir+"/a.yaml", WithRescan(time.Hour)))
	await("a=10.0.0.1")
	write(t, dir+"/a.yaml", entry("a", "10.0.0.2"))
	await("a=10.0.0.2")
}

func TestDirectoryThatIsNotThere(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "no")
	if err := New(missing).Run(t.Context(), func(catalog.Fragment) {}); err == nil || !strings.Contains(err.Error(), missing) {
		t.Errorf("Run: %v, want an error that names the directory", err)
	}
	if _, err := Read(missing); err == nil {
		t.Error("Read of a directory that is not there: no error")
	}
}

func TestUnchangedFilesAreNotParsedAgain(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a.yaml", entry("a", "10.0.0.1"))
	write(t, dir+"/b.yaml", entry("b", "10.0.0.2"))
	tr := tree{root: dir}
	now := time.Now()
	tr.scan(now)
	spec := tr.fragment().Objects[0].Spec
	// Touched, not changed.
	if err := os.Chtimes(dir+"/a.yaml", now.Add(time.Hour), now.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if tr.scan(now) {
		t.Error("a touched file counts as changed")
	}
	write(t, dir+"/b.yaml", entry("b", "10.0.0.3"))
	if !tr.scan(now) {
		t.Error("a changed file does not count as changed")
	}
	if tr.fragment().Objects[0].Spec != spec {
		t.Error("a touched file was parsed again")
	}
}

// A file of the same size, changed within the resolution of the file system's
// clock, looks unchanged by its times.
func TestChangeWithinOneTickIsSeen(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a.yaml", entry("a", "10.0.0.1"))
	info, err := os.Stat(dir + "/a.yaml")
	if err != nil {
		t.Fatal(err)
	}
	tr := tree{root: dir}
	tr.scan(info.ModTime())
	write(t, dir+"/a.yaml", entry("a", "10.0.0.2"))
	if err := os.Chtimes(dir+"/a.yaml", info.ModTime(), info.ModTime()); err != nil {
		t.Fatal(err)
	}
	if !tr.scan(info.ModTime()) || names(tr.fragment()) != "a=10.0.0.2" {
		t.Errorf("got %q", names(tr.fragment()))
	}
}

func TestHalfWrittenFileIsWaitedFor(t *testing.T) {
	for name, half := range map[string]string{
		"emptied":  "",
		"cut":      "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: a",
		"no UTF-8": "apiVersion: \xff\xfe",
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir+"/a.yaml", entry("a", "10.0.0.1"))
			tr := tree{root: dir}
			tr.scan(time.Now())
			write(t, dir+"/a.yaml", half)
			written := time.Now()
			if tr.scan(written) || !tr.unsettled || names(tr.fragment()) != "a=10.0.0.1" {
				t.Errorf("at once: unsettled %v, %q", tr.unsettled, names(tr.fragment()))
			}
			if !tr.scan(written.Add(time.Second)) || tr.unsettled || len(tr.fragment().Findings) == 0 {
				t.Errorf("a second later: unsettled %v, findings %v", tr.unsettled, tr.fragment().Findings)
			}
			write(t, dir+"/a.yaml", entry("a", "10.0.0.2"))
			if !tr.scan(time.Now()) || names(tr.fragment()) != "a=10.0.0.2" || len(tr.fragment().Findings) != 0 {
				t.Errorf("whole again: %q, %v", names(tr.fragment()), tr.fragment().Findings)
			}
		})
	}
}

func TestWhatCannotBeReadIsAFinding(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/good.yaml", entry("a", "10.0.0.1"))
	if err := os.Symlink("nowhere", dir+"/dangling.yaml"); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mkfifo(dir+"/pipe.yaml", 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(".", dir+"/loop"); err != nil {
		t.Fatal(err)
	}
	f, err := Read(dir)
	if err != nil {
		t.Fatal(err)
	}
	if names(f) != "a=10.0.0.1" {
		t.Errorf("objects %q", names(f))
	}
	want := []string{
		dir + "/dangling.yaml: file cannot be read: no such file or directory",
		dir + "/pipe.yaml: not a regular file",
	}
	var got []string
	for _, x := range f.Findings {
		got = append(got, x.String())
	}
	if !slices.Equal(got, want) {
		t.Errorf("findings %q, want %q", got, want)
	}
}

// The whole way of a bad edit: what was good stays in use, and comes to an end
// when its file is removed.
func TestBadEditKeepsLastGood(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/a.yaml", entry("a", "10.0.0.1")+"---\n"+entry("b", "10.0.0.2"))
	tr := tree{root: dir}
	var last catalog.LastGood
	look := func() string {
		tr.scan(time.Now().Add(time.Minute))
		c, _ := last.Merge(tr.fragment())
		var f catalog.Fragment
		for _, o := range c.Objects() {
			f.Objects = append(f.Objects, *o)
		}
		return names(f)
	}
	steps := []struct{ does, text, want string }{
		{"read", entry("a", "10.0.0.1") + "---\n" + entry("b", "10.0.0.2"), "a=10.0.0.1 b=10.0.0.2"},
		{"one bad, one changed", entry("a", "not_an address") + "---\n" + entry("b", "10.0.0.3"), "a=10.0.0.1 b=10.0.0.3"},
		{"cut in two", entry("a", "10.0.0.9") + "---\napiVersion: [", "a=10.0.0.9 b=10.0.0.3"},
		{"emptied", "", "a=10.0.0.9 b=10.0.0.3"},
		{"one taken out", entry("b", "10.0.0.4"), "b=10.0.0.4"},
	}
	for _, s := range steps {
		write(t, dir+"/a.yaml", s.text)
		if got := look(); got != s.want {
			t.Errorf("%s: %q, want %q", s.does, got, s.want)
		}
	}
	if err := os.Remove(dir + "/a.yaml"); err != nil {
		t.Fatal(err)
	}
	if got := look(); got != "" {
		t.Errorf("removed: %q", got)
	}
}

func TestDirectoryThatGoesAwayKeepsLastGood(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/conf/a.yaml", entry("a", "10.0.0.1"))
	tr := tree{root: dir + "/conf"}
	var last catalog.LastGood
	tr.scan(time.Now())
	last.Merge(tr.fragment())
	if err := os.Rename(dir+"/conf", dir+"/aside"); err != nil {
		t.Fatal(err)
	}
	if !tr.scan(time.Now()) {
		t.Error("the directory went away, and no change is told")
	}
	c, findings := last.Merge(tr.fragment())
	if len(c.Objects()) != 1 {
		t.Errorf("%d objects are left of 1", len(c.Objects()))
	}
	want := dir + "/conf: directory cannot be read: no such file or directory"
	if !slices.ContainsFunc(findings, func(f catalog.Finding) bool { return f.String() == want }) {
		t.Errorf("findings %v, want %q", findings, want)
	}
}
