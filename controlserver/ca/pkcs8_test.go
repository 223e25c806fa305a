package ca

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestKeys(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		write, read string
		err         error
	}{
		{"", "", nil},
		{"", "not needed", nil},
		{"correct horse", "correct horse", nil},
		{"correct horse", "", errSealed},
		{"correct horse", "wrong horse", errPassphrase},
	} {
		text, err := encodeKey(key, []byte(c.write), 1000)
		if err != nil {
			t.Fatal(err)
		}
		if sealed(text) != (c.write != "") {
			t.Errorf("%q: sealed: %v", c.write, sealed(text))
		}
		back, err := decodeKey(text, []byte(c.read))
		if !errors.Is(err, c.err) || err == nil && !key.Equal(back) {
			t.Errorf("written with %q, read with %q: %v", c.write, c.read, err)
		}
	}
}

// Operators bring keys of openssl's making, and must be able to read ours without us.
func TestKeysAreThoseOfOpenSSL(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		t.Skip("openssl is not installed")
	}
	file := filepath.Join(t.TempDir(), "key.pem")
	run := func(args ...string) string {
		t.Helper()
		out, err := exec.CommandContext(t.Context(), openssl, args...).CombinedOutput()
		if err != nil {
			t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ours, err := encodeKey(key, []byte("pass"), iterationsNow)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, ours, 0o600); err != nil {
		t.Fatal(err)
	}
	theirs := run("pkey", "-in", file, "-passin", "pass:pass")
	if back, err := decodeKey([]byte(theirs), nil); err != nil || !key.Equal(back) {
		t.Errorf("what openssl reads is not our key: %v", err)
	}
	run("genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-aes-256-cbc", "-pass", "pass:other", "-out", file)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := decodeKey(text, []byte("other")); err != nil {
		t.Errorf("openssl's key: %v", err)
	}
}

func FuzzKey(f *testing.F) {
	f.Add([]byte("-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if key, err := decodeKey(text, nil); err == nil && key == nil {
			t.Error("neither key nor error")
		}
	})
}
