package ca

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

func openTestLog(t *testing.T, dir string) (*issueLog, *strings.Builder) {
	t.Helper()
	var told strings.Builder
	l, err := openLog(dir, func(s string) { told.WriteString(s) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l, &told
}

// brokenLog is on a disk that is full.
func brokenLog(t *testing.T) *issueLog {
	t.Helper()
	l, _ := openTestLog(t, t.TempDir())
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip("there is no /dev/full here")
	}
	l.file.Close()
	l.file = full
	return l
}

func fill(t *testing.T, l *issueLog, n int) {
	t.Helper()
	for i := range n {
		if err := l.append(Entry{Time: time.Now().UTC(), Serial: fmt.Sprint(i), Identity: payments.String(), By: "self", NotAfter: time.Now().UTC()}); err != nil {
			t.Fatal(err)
		}
	}
}

func TestLog(t *testing.T) {
	dir := t.TempDir()
	l, _ := openTestLog(t, dir)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { fill(t, l, 5) })
	}
	wg.Wait()
	l.close()
	if err := l.append(Entry{}); err == nil {
		t.Error("it is closed")
	}
	l, _ = openTestLog(t, dir)
	fill(t, l, 10)
	l.close()
	n, last, err := VerifyLog(dir)
	if err != nil || n != 110 || last.Number != 110 {
		t.Fatal(n, last.Number, err)
	}
	path := filepath.Join(dir, logName)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	cat := func(parts ...[][]byte) (out []byte) {
		for _, p := range parts {
			out = append(out, bytes.Join(p, nil)...)
		}
		return out
	}
	for name, forged := range map[string][]byte{
		"a changed identity":  bytes.Replace(text, []byte("sa/payments"), []byte("sa/cart"), 1),
		"a line taken out":    cat(lines[:50], lines[51:]),
		"the first taken out": cat(lines[1:]),
		"two lines swapped":   cat(lines[:50], lines[51:52], lines[50:51], lines[52:]),
		"a line twice":        cat(lines[:50], lines[49:]),
		"a torn end":          text[:len(text)-5],
		"something added":     bytes.Replace(text, []byte(`{"n":7,`), []byte(`{"n":7,"note":"x",`), 1),
		"no JSON":             append([]byte("x\n"), text...),
	} {
		file := filepath.Join(t.TempDir(), logName)
		if err := os.WriteFile(file, forged, 0o600); err != nil {
			t.Fatal(err)
		}
		if n, _, err := VerifyLog(file); err == nil && name != "the first taken out" {
			t.Errorf("%s: verified, %d entries", name, n)
		}
	}
	if _, _, err := VerifyLog(filepath.Join(dir, "nowhere")); err == nil {
		t.Error("a file that is not there")
	}
}

// A process that died in the middle of a line has handed out no certificate for it.
func TestLogTorn(t *testing.T) {
	dir := t.TempDir()
	l, _ := openTestLog(t, dir)
	fill(t, l, 3)
	l.close()
	path := filepath.Join(dir, logName)
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(f, `{"n":4,"time":"20`)
	f.Close()
	l, told := openTestLog(t, dir)
	if !strings.Contains(told.String(), "not whole") {
		t.Errorf("told: %q", told)
	}
	fill(t, l, 1)
	l.close()
	if n, _, err := VerifyLog(path); n != 4 || err != nil {
		t.Error(n, err)
	}
}

func TestLogTurns(t *testing.T) {
	dir := t.TempDir()
	l, _ := openTestLog(t, dir)
	fill(t, l, 3)
	l.size, l.last.Time = segment, time.Time{} // as if it was long enough
	// The file is read up to its size to find its first entry.
	fill(t, l, 2)
	l.close()
	l, _ = openTestLog(t, dir)
	fill(t, l, 1)
	l.close()
	if paths, err := setAside(dir); err != nil || len(paths) != 1 || !strings.HasSuffix(paths[0], "01.log") {
		t.Fatal(paths, err)
	}
	if n, last, err := VerifyLog(dir); n != 6 || last.Number != 6 || err != nil {
		t.Error(n, last.Number, err)
	}
}

func TestLogDiskFull(t *testing.T) {
	l := brokenLog(t)
	for range 2 {
		if err := l.append(Entry{}); err == nil || !strings.Contains(err.Error(), "no ") {
			t.Errorf("%v", err)
		}
	}
}
