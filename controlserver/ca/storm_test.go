package ca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	securityv1alpha1 "istio.io/api/security/v1alpha1"
)

func pool(c *CA) *x509.CertPool {
	p := x509.NewCertPool()
	for _, a := range c.Bundle().X509Authorities() {
		p.AddCert(a)
	}
	return p
}

// No more calls sign at once than there are cores, those that wait are bounded, and who must go is told when to come again.
func TestAdmission(t *testing.T) {
	a := newAdmission()
	a.longest = 2
	var leave []func()
	for range cap(a.slots) {
		f, err := a.enter(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		leave = append(leave, f)
	}
	var wg sync.WaitGroup
	var in atomic.Int32
	ctx, cancel := context.WithCancel(t.Context())
	for range 2 {
		wg.Go(func() {
			if f, err := a.enter(ctx); err == nil {
				in.Add(1)
				f()
			} else {
				wantCode(t, "its caller has gone", err, codes.Canceled)
			}
		})
	}
	eventually(t, "two wait", func() bool { return a.waiting.Load() == 2 })
	_, err := a.enter(t.Context())
	wantCode(t, "one too many", err, codes.ResourceExhausted)
	cancel()
	wg.Wait()
	for range 2 {
		wg.Go(func() {
			f, err := a.enter(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			in.Add(1)
			f()
		})
	}
	eventually(t, "two more wait", func() bool { return a.waiting.Load() == 2 })
	for _, f := range leave {
		f()
	}
	wg.Wait()
	if in.Load() != 2 || a.waiting.Load() != 0 || len(a.slots) != 0 {
		t.Errorf("%d came in, %d wait, %d are in", in.Load(), a.waiting.Load(), len(a.slots))
	}
}

func TestLimitsAreBounded(t *testing.T) {
	l := newCA(t).limits
	for i := range mostLimits + 100 {
		l.take(spiffeid.RequireFromPathf(td, "/ns/x/sa/w%d", i))
	}
	if n := len(l.of); n > mostLimits {
		t.Errorf("%d identities are remembered", n)
	}
}

// Certificates that come at once, each of an identity of its own with a certificate to renew, over 50 connections and with the log on disk.
// Metrics: from the first request to the last answer for 2,000, and how long one waits. The clients' work (2,000 key pairs are
// made before) is in it, on the same cores.
func BenchmarkStorm(b *testing.B) {
	const clients, conns = 2000, 50
	c := newCA(b, in(b.TempDir()+"/ca"))
	addr := serve(b, c)
	csr, _ := request(b)
	var links []*grpc.ClientConn
	for i := range conns {
		svid := selfSigned(b, c, i)
		cert := tls.Certificate{PrivateKey: svid.PrivateKey}
		for _, one := range svid.Certificates {
			cert.Certificate = append(cert.Certificate, one.Raw)
		}
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
			RootCAs: pool(c), ServerName: "localhost", MinVersion: tls.VersionTLS13, Certificates: []tls.Certificate{cert},
		})))
		if err != nil {
			b.Fatal(err)
		}
		defer conn.Close()
		links = append(links, conn)
	}
	for b.Loop() {
		took := make([]time.Duration, clients)
		var failed atomic.Int32
		var wg sync.WaitGroup
		began := time.Now()
		for i := range clients {
			wg.Go(func() {
				_, err := securityv1alpha1.NewIstioCertificateServiceClient(links[i%conns]).CreateCertificate(b.Context(), &securityv1alpha1.IstioCertificateRequest{Csr: csr})
				if err != nil {
					failed.Add(1)
				}
				took[i] = time.Since(began)
			})
		}
		wg.Wait()
		all := time.Since(began)
		slices.Sort(took)
		b.ReportMetric(float64(failed.Load()), "refused") // to come again, as they are told
		b.ReportMetric(all.Seconds(), "s/2000")
		b.ReportMetric(float64(took[clients/2].Milliseconds()), "p50-ms")
		b.ReportMetric(float64(took[clients*99/100].Milliseconds()), "p99-ms")
		b.ReportMetric(float64(runtime.GOMAXPROCS(0)), "cores")
	}
	if _, _, err := VerifyLog(c.config.Dir); err != nil {
		b.Error(err)
	}
}

// BenchmarkSign is one request as the server works on it: certificate of the caller, CSR, signature, log in memory.
func BenchmarkSign(b *testing.B) {
	c := newCA(b, func(c *Config) { c.Rate, c.Burst = 1e9, 1e9 })
	svid := selfSigned(b, c, 0)
	ctx := call(b, "", svid.Certificates...)
	csr, _ := request(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := (service{ca: c}).CreateCertificate(ctx, &securityv1alpha1.IstioCertificateRequest{Csr: csr}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkForged is one whose CSR has a wrong signature.
func BenchmarkForged(b *testing.B) {
	c := newCA(b, func(c *Config) { c.Rate, c.Burst = 1e9, 1e9 })
	svid := selfSigned(b, c, 0)
	ctx := call(b, "", svid.Certificates...)
	csr, _ := request(b)
	block, _ := pem.Decode([]byte(csr))
	block.Bytes[len(block.Bytes)-3] ^= 1
	forged := string(pem.EncodeToMemory(block))
	for b.Loop() {
		if _, err := (service{ca: c}).CreateCertificate(ctx, &securityv1alpha1.IstioCertificateRequest{Csr: forged}); err == nil {
			b.Fatal("signed")
		}
	}
}

// selfSigned is a certificate without the way over the service.
func selfSigned(t testing.TB, c *CA, i int) *x509svid.SVID {
	t.Helper()
	svid, err := c.Source(spiffeid.RequireFromPath(td, fmt.Sprintf("/ns/x/sa/w%d", i))).GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	return svid
}

// Whatever a request is, there is no panic, and what comes of it is a certificate of who asks, for the key of the request.
func FuzzCreateCertificate(f *testing.F) {
	key := newCA(f)
	svid := selfSigned(f, key, 0)
	csr, _ := request(f)
	block, _ := pem.Decode([]byte(csr))
	f.Add(block.Bytes, csr)
	f.Add([]byte{}, "-----BEGIN CERTIFICATE REQUEST-----\n-----END CERTIFICATE REQUEST-----\n")
	f.Add(block.Bytes[:len(block.Bytes)-1], "x")
	ca := key
	ca.limits.rate, ca.limits.burst = 1e9, 1e9
	f.Fuzz(func(t *testing.T, der []byte, text string) {
		for _, csr := range []string{text, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))} {
			chain, err := create(call(t, "", svid.Certificates...), ca, csr, 0)
			if err != nil {
				continue
			}
			leaf := chain[0]
			id, _, err := x509svid.Verify(chain, ca)
			if err != nil || id != svid.ID || len(leaf.DNSNames)+len(leaf.IPAddresses)+len(leaf.EmailAddresses) > 0 || leaf.IsCA || len(leaf.Subject.Names) > 0 {
				t.Errorf("%v %v %v", id, leaf.Subject, err)
			}
			for _, e := range leaf.Extensions {
				switch e.Id.String() {
				case "2.5.29.15", "2.5.29.37", "2.5.29.19", "2.5.29.14", "2.5.29.35", "2.5.29.17":
				default:
					t.Errorf("an extension that nobody gave it: %v", e.Id)
				}
			}
		}
	})
}
