package ratelimit

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	for _, tc := range []struct {
		address, host, user, password string
		db                            int
		tls                           string
	}{
		{"redis://cache", "cache:6379", "", "", 0, ""},
		{"redis://cache:7000/3", "cache:7000", "", "", 3, ""},
		{"redis://:secret@cache:7000/", "cache:7000", "", "secret", 0, ""},
		{"redis://weft:a%2Fb%40c@[::1]:7000/12", "[::1]:7000", "weft", "a/b@c", 12, ""},
		{"rediss://weft:secret@cache.example:7001/1", "cache.example:7001", "weft", "secret", 1, "cache.example"},
	} {
		o, err := parse(tc.address)
		if err != nil {
			t.Errorf("%s: %v", tc.address, err)
			continue
		}
		name := ""
		if o.TLSConfig != nil {
			name = o.TLSConfig.ServerName
		}
		if o.InitAddress[0] != tc.host || o.Username != tc.user || o.Password != tc.password || o.SelectDB != tc.db || name != tc.tls {
			t.Errorf("%s is %v %q %q %d %q", tc.address, o.InitAddress, o.Username, o.Password, o.SelectDB, name)
		}
	}
}

// Nothing of a wrong address is repeated: any part may be one of a password.
func TestParseRefuses(t *testing.T) {
	junk := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(junk, []byte("not a certificate"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{
		"hushhush", "redis:hushhush", "redis://", "redis://:hushhush@", "redis:///hushhush", "http://hushhush@host",
		"redis://:hush/hush@host:6379/0", "redis://:1/hush@host", "redis://:hush%hush@host", "redis://:hush#hush@host", "redis://:1#hush@host",
		"redis://:hush?hush@host", "redis://hush?hush", "redis://host?hush=hush", "redis://host/hush", "redis://host/-1",
		"redis://host?ca=/hush", "rediss://host?ca=" + junk + "&x=hush", "redis://host:hush", "redis://ho st/hush",
	} {
		_, err := newRedis(address, 1)
		if err == nil {
			t.Errorf("%s is taken", address)
		} else if strings.Contains(err.Error(), "hush") {
			t.Errorf("%s: %v", address, err)
		}
	}
	for _, address := range []string{"rediss://host?ca=" + junk, "rediss://host?ca=" + junk + ".not"} {
		if _, err := New(Config{Store: address}); err == nil || !strings.Contains(err.Error(), junk) {
			t.Errorf("%s: %v", address, err)
		}
	}
}

func TestErrorsHoldNoPassword(t *testing.T) {
	r := &redis{secret: "hushhush"}
	if err := r.clean(errors.New("ERR unknown command HELLO, with args 3 AUTH default hushhush")); strings.Contains(err.Error(), "hush") {
		t.Error(err)
	}
	if err := errors.New("another"); r.clean(err) != err {
		t.Error("it is not the same")
	}
}
