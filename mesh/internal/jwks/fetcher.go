// Package jwks fetches the keys of who issues tokens: from a service of the mesh, or from where a URI says.
package jwks

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"
)

// A Fetcher fetches. It is safe for concurrent use, and is to be closed.
type Fetcher struct {
	mesh   http.RoundTripper
	direct http.Client
	own    *http.Transport
}

const (
	patience    = 5 * time.Second
	mostKeys    = 1 << 20 // bytes
	mostHeader  = 64 << 10
	mostDetours = 3
)

// New returns a Fetcher. mesh carries requests to the service that is the host of their URL, whatever their Host says, and to nobody else: it
// must refuse what is for a service that the mesh does not know. What is fetched from elsewhere goes by a client of the Fetcher's own, which
// verifies servers by the system's roots.
func New(mesh http.RoundTripper) *Fetcher {
	f := &Fetcher{mesh: mesh, own: &http.Transport{
		Proxy:                  http.ProxyFromEnvironment,
		DialContext:            (&net.Dialer{Timeout: patience}).DialContext,
		TLSClientConfig:        &tls.Config{MinVersion: tls.VersionTLS12},
		TLSHandshakeTimeout:    patience,
		MaxResponseHeaderBytes: mostHeader,
		ForceAttemptHTTP2:      true,
		MaxIdleConnsPerHost:    1,
		IdleConnTimeout:        time.Minute,
	}}
	f.direct = http.Client{Transport: f.own, CheckRedirect: stay}
	return f
}

// Fetch gets what is at uri, from the mesh's service of that name if service is not empty. It takes no more than 1 MiB, and without a time
// of ctx's no longer than 5 s. A server may send us to another place of its own, but nowhere else; a service of the mesh may not at all.
func (f *Fetcher) Fetch(ctx context.Context, service, uri string) ([]byte, error) {
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, patience)
		defer cancel()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, nil)
	if err != nil || req.URL.Host == "" || req.URL.Scheme != "http" && req.URL.Scheme != "https" || req.URL.User != nil {
		return nil, errors.New("keys: the URI is none of http or https, or has a password in it")
	}
	req.Header.Set("Accept", "application/json")
	resp, err := f.send(req, service)
	if err != nil {
		return nil, fmt.Errorf("keys: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("keys: the server answers %d", resp.StatusCode)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, mostKeys+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("keys: %w", err)
	case len(data) > mostKeys:
		return nil, fmt.Errorf("keys: the answer has more than %d bytes", mostKeys)
	}
	return data, nil
}

func (f *Fetcher) send(req *http.Request, service string) (*http.Response, error) {
	if service == "" {
		return f.direct.Do(req)
	}
	if f.mesh == nil {
		return nil, errors.New("there is no mesh to fetch them by")
	}
	req.Host, req.URL.Host = req.URL.Host, service
	return f.mesh.RoundTrip(req)
}

// Close closes connections that are not in use.
func (f *Fetcher) Close() error {
	f.own.CloseIdleConnections()
	return nil
}

// stay follows a server to other places of its own.
func stay(req *http.Request, via []*http.Request) error {
	was := via[0].URL
	switch {
	case len(via) > mostDetours:
		return errors.New("too many redirects")
	case !sameHost(req.URL, was):
		return errors.New("redirected to another host")
	}
	return nil
}

func sameHost(a, b *url.URL) bool { return a.Scheme == b.Scheme && a.Host == b.Host }
