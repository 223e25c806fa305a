package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials"
	securityv1alpha1 "istio.io/api/security/v1alpha1"

	"github.com/weftmesh/weft/identity/enroll"
)

// manyIdentities ask at once in the figure csr.
const manyIdentities = 2000

// csr measures how long it takes until all have a certificate who ask at the same time: for their first one, each with a join token and over a
// connection that is made for it, as processes do that start; and for another one, over connections that are there.
func (b *bench) csr(ctx context.Context) error {
	fmt.Printf("\n## Certificates\n\n%d identities ask for a certificate at once. Their own work is done on the same processors.\n\n", manyIdentities)
	return b.among(func() error {
		d, err := b.authority(ctx, time.Hour)
		if err != nil {
			return err
		}
		all := make([]*applicant, manyIdentities)
		for i := range all {
			all[i] = &applicant{name: fmt.Sprintf("w%d", i)}
			if all[i].token, err = d.token(all[i].name); err != nil {
				return err
			}
		}
		defer func() {
			for _, a := range all {
				a.close()
			}
		}()
		fmt.Println("| ask | signed | failed | all after s | p50 s | p99 s | authority's processor time s | of those who asked s |")
		fmt.Println("|---|---:|---:|---:|---:|---:|---:|---:|")
		d.atOnce("with join tokens, connecting", all, func(a *applicant) error { return a.join(ctx, d) })
		d.atOnce("(they connect)", all, func(a *applicant) error { return a.connect(ctx, d) })
		d.atOnce("with certificates, connected", all, func(a *applicant) error { return a.ask(ctx) })
		return nil
	})
}

// An applicant is one identity that asks.
type applicant struct {
	name, token, csr string

	source *enroll.Source
	conn   *grpc.ClientConn
}

// atOnce has all do the same, and prints how long it took.
func (d *domain) atOnce(what string, all []*applicant, do func(*applicant) error) {
	before, own := processorTime(d.pid), processorTime("self")
	took, errs := make([]time.Duration, len(all)), make([]error, len(all))
	var wg sync.WaitGroup
	began := time.Now()
	for i, a := range all {
		wg.Go(func() {
			errs[i] = do(a)
			took[i] = time.Since(began)
		})
	}
	wg.Wait()
	bad := map[string]int{}
	failed := 0
	for _, err := range errs {
		if err != nil {
			failed++
			bad[err.Error()]++
		}
	}
	slices.Sort(took)
	fmt.Printf("| %s | %d | %d | %.2f | %.2f | %.2f | %.2f | %.2f |\n", what, len(all)-failed, failed, took[len(took)-1].Seconds(),
		took[len(took)/2].Seconds(), took[len(took)*99/100].Seconds(), (processorTime(d.pid) - before).Seconds(), (processorTime("self") - own).Seconds())
	for text, n := range bad {
		fmt.Fprintf(os.Stderr, "  %d x %s\n", n, text)
	}
}

// join waits for the first certificate.
func (a *applicant) join(ctx context.Context, d *domain) (err error) {
	if a.source, err = d.source(a.name, a.token); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return a.source.Ready(ctx)
}

// connect connects with the certificate, and makes the next request ready.
func (a *applicant) connect(ctx context.Context, d *domain) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, key)
	if err != nil {
		return err
	}
	a.csr = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	server, err := spiffeid.FromString("spiffe://" + loadDomain + "/ns/weft-system/sa/control-server")
	if err != nil {
		return err
	}
	conf := tlsconfig.MTLSClientConfig(a.source, a.source, tlsconfig.AuthorizeID(server))
	conf.MinVersion = tls.VersionTLS13
	if a.conn, err = grpc.NewClient(d.control, grpc.WithTransportCredentials(credentials.NewTLS(conf))); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for s := a.conn.GetState(); s != connectivity.Ready; s = a.conn.GetState() {
		a.conn.Connect()
		if !a.conn.WaitForStateChange(ctx, s) {
			return ctx.Err()
		}
	}
	return nil
}

// ask asks for another certificate.
func (a *applicant) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err := securityv1alpha1.NewIstioCertificateServiceClient(a.conn).CreateCertificate(ctx, &securityv1alpha1.IstioCertificateRequest{Csr: a.csr})
	return err
}

func (a *applicant) close() {
	if a.conn != nil {
		a.conn.Close()
	}
	if a.source != nil {
		a.source.Close() //nolint:errcheck // measured it has
	}
}

// processorTime is what a process has used so far, as Linux counts it; 0 where there is no such count.
func processorTime(pid string) time.Duration {
	text, err := os.ReadFile("/proc/" + pid + "/stat")
	if err != nil {
		return 0
	}
	_, rest, _ := strings.Cut(string(text), ") ")
	fields := strings.Fields(rest)
	if len(fields) < 13 {
		return 0
	}
	var ticks int
	for _, f := range fields[11:13] { // in user mode, and in the kernel
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0
		}
		ticks += n
	}
	return time.Duration(ticks) * (time.Second / 100)
}
