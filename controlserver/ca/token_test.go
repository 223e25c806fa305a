package ca

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc/codes"
)

// kinds are authorities of each store.
func kinds(t *testing.T, f func(t *testing.T, c *CA)) {
	t.Helper()
	t.Run("memory", func(t *testing.T) { f(t, newCA(t)) })
	t.Run("directory", func(t *testing.T) { f(t, newCA(t, in(t.TempDir()+"/ca"))) })
}

func TestJoinTokenOnce(t *testing.T) {
	kinds(t, func(t *testing.T, c *CA) {
		token, err := c.CreateToken(payments, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		if len(token) < len(tokenPrefix)+43 {
			t.Errorf("%d characters", len(token))
		}
		_, err = c.Authenticate(call(t, token))
		wantCode(t, "a join token for another service", err, codes.Unauthenticated)
		_, err = create(call(t, token), c, "no CSR", 0)
		wantCode(t, "a bad request", err, codes.InvalidArgument) // and the token is still good
		csr, _ := request(t)
		var won atomic.Int32
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				chain, err := create(call(t, token), c, csr, 0)
				if err != nil {
					wantCode(t, "used", err, codes.Unauthenticated)
					return
				}
				won.Add(1)
				if id, err := x509svid.IDFromCert(chain[0]); err != nil || id != payments {
					t.Error(id, err)
				}
			})
		}
		wg.Wait()
		if n := won.Load(); n != 1 {
			t.Errorf("%d certificates for one join token", n)
		}
	})
}

// Two processes on one directory: this test runs itself as the others.
func TestJoinTokenOfTwoProcesses(t *testing.T) {
	if dir := os.Getenv("CA_TEST_TOKENS"); dir != "" {
		for hash := range strings.FieldsSeq(os.Getenv("CA_TEST_HASHES")) {
			if tokenFiles(dir).take(hash) == nil {
				fmt.Println("took", hash)
			}
		}
		return
	}
	dir := t.TempDir()
	var hashes []string
	for range 200 {
		token, err := createToken(tokenFiles(dir), td, payments, 0)
		if err != nil {
			t.Fatal(err)
		}
		hashes = append(hashes, hashToken(token))
	}
	var mu sync.Mutex
	taken := map[string]int{}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^TestJoinTokenOfTwoProcesses$")
			cmd.Env = append(os.Environ(), "CA_TEST_TOKENS="+dir, "CA_TEST_HASHES="+strings.Join(hashes, " "))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Errorf("%v\n%s", err, out)
			}
			mu.Lock()
			defer mu.Unlock()
			for line := range strings.Lines(string(out)) {
				if hash, ok := strings.CutPrefix(line, "took "); ok {
					taken[strings.TrimSpace(hash)]++
				}
			}
		})
	}
	wg.Wait()
	for _, hash := range hashes {
		if taken[hash] != 1 {
			t.Errorf("a token was taken %d times", taken[hash])
		}
	}
}

func TestJoinTokenOnDisk(t *testing.T) {
	dir := t.TempDir() + "/ca"
	c := newCA(t, in(dir))
	token, err := CreateToken(dir, payments, 0) // as a command does beside the server
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files(t, dir) {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o600 || strings.Contains(string(text), strings.TrimPrefix(token, tokenPrefix)) {
			t.Errorf("%s: mode %v, or the token is in it", path, info.Mode())
		}
	}
	csr, _ := request(t)
	if _, err := create(call(t, token), c, csr, 0); err != nil {
		t.Fatal(err)
	}
	if left, _ := os.ReadDir(filepath.Join(dir, "tokens")); len(left) != 0 {
		t.Errorf("%d files are left", len(left))
	}
	for name, f := range map[string]func() error{
		"another trust domain": func() error {
			_, err := CreateToken(dir, spiffeid.RequireFromString("spiffe://other/x"), 0)
			return err
		},
		"no workload":        func() error { _, err := CreateToken(dir, td.ID(), 0); return err },
		"the control server": func() error { _, err := CreateToken(dir, serverID, 0); return err },
		"too long":           func() error { _, err := CreateToken(dir, payments, 25*time.Hour); return err },
		"negative":           func() error { _, err := CreateToken(dir, payments, -1); return err },
		"no state":           func() error { _, err := CreateToken(t.TempDir(), payments, 0); return err },
	} {
		if f() == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

func TestJoinTokenExpires(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCA(t)
		token, err := c.CreateToken(payments, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		csr, _ := request(t)
		time.Sleep(time.Minute)
		_, err = create(call(t, token), c, csr, 0)
		wantCode(t, "expired", err, codes.Unauthenticated)
		time.Sleep(2 * time.Minute)
		m := c.store.(*memory)
		m.joined.mu.Lock()
		defer m.joined.mu.Unlock()
		if len(m.joined.free) != 0 {
			t.Error("expired tokens are kept")
		}
	})
	// Files: what has expired, and what a process that died had taken.
	dir := t.TempDir()
	for hash, expires := range map[string]time.Duration{strings.Repeat("a", 64): -time.Second, strings.Repeat("b", 64): time.Hour} {
		text, err := json.Marshal(joinToken{ID: payments, Expires: time.Now().Add(expires)})
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, hash), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	old := filepath.Join(dir, strings.Repeat("c", 64)+usedSuffix)
	if err := os.WriteFile(old, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(old, time.Time{}, time.Now().Add(-25*time.Hour)); err != nil {
		t.Fatal(err)
	}
	tokenFiles(dir).sweep(time.Now())
	if left := files(t, dir); len(left) != 1 || !strings.HasSuffix(left[0], "b") {
		t.Errorf("left: %v", left)
	}
}

// A certificate that could not be handed out has not cost the token.
func TestJoinTokenGivenBack(t *testing.T) {
	dir := t.TempDir() + "/ca"
	c := newCA(t, in(dir))
	token, err := c.CreateToken(payments, 0)
	if err != nil {
		t.Fatal(err)
	}
	csr, _ := request(t)
	whole := c.issuance
	c.issuance = brokenLog(t)
	_, err = create(call(t, token), c, csr, 0)
	wantCode(t, "no log, no certificate", err, codes.Unavailable)
	c.issuance.close()
	c.issuance = whole
	if _, err := create(call(t, token), c, csr, 0); err != nil {
		t.Error(err)
	}
}

// files are all below a directory but the lock and the log.
func files(t *testing.T, dir string) (out []string) {
	t.Helper()
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			out = append(out, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
