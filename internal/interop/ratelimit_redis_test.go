package interop

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// A redisServer is a real Redis on loopback.
type redisServer struct {
	addr   string
	args   []string
	cmd    *exec.Cmd
	exited chan struct{}
}

// startRedis starts a Redis, plain or with TLS, that is stopped when the test ends.
func startRedis(tb testing.TB, tls bool, args ...string) *redisServer {
	tb.Helper()
	peer(tb, "WEFT_REDIS", "redis-server")
	ln, err := net.Listen("tcp", "127.0.0.1:0") // a port that is free now
	if err != nil {
		tb.Fatal(err)
	}
	r := &redisServer{addr: ln.Addr().String()}
	_, port, _ := net.SplitHostPort(r.addr)
	ln.Close()
	r.args = append([]string{"--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", tb.TempDir(), "--port", port}, args...)
	if tls {
		r.args = append(r.args, "--port", "0", "--tls-port", port)
	}
	r.start(tb)
	tb.Cleanup(r.stop)
	return r
}

func (r *redisServer) start(tb testing.TB) {
	tb.Helper()
	out := &strings.Builder{}
	r.cmd = exec.Command(os.Getenv("WEFT_REDIS"), r.args...)
	r.cmd.Stdout, r.cmd.Stderr = out, out
	if err := r.cmd.Start(); err != nil {
		tb.Fatal(err)
	}
	cmd, exited := r.cmd, make(chan struct{})
	r.exited = exited
	go func() {
		defer close(exited)
		cmd.Wait() // it is told to go
	}()
	up := eventually(func() bool {
		c, err := net.DialTimeout("tcp", r.addr, time.Second)
		if err == nil {
			c.Close()
		}
		return err == nil
	})
	if !up {
		r.stop()
		tb.Fatalf("Redis is not up:\n%s", out)
	}
}

// stop ends it, and with it all it knows.
func (r *redisServer) stop() {
	r.cmd.Process.Signal(unix.SIGCONT)
	r.cmd.Process.Kill()
	<-r.exited
}

// hang makes it answer nobody until the returned function is called.
func (r *redisServer) hang(t *testing.T) (resume func()) {
	t.Helper()
	if err := r.cmd.Process.Signal(unix.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	return func() { r.cmd.Process.Signal(unix.SIGCONT) }
}

// certificate writes a self-signed certificate for 127.0.0.1 and its key.
func certificate(t *testing.T) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	certFile, keyFile = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for file, block := range map[string]*pem.Block{
		certFile: {Type: "CERTIFICATE", Bytes: der},
		keyFile:  {Type: "PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certFile, keyFile
}

// ask sends an inline command and returns what comes first of the answer.
func (r *redisServer) ask(t *testing.T, command string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", r.addr, patience)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	if _, err := c.Write([]byte(command + "\r\n")); err != nil {
		t.Fatal(err)
	}
	b := make([]byte, 4096)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}
