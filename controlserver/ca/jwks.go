package ca

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

const (
	// keysFresh is how long fetched keys are used before they are fetched again, keysStale how long if they can't be.
	keysFresh = 5 * time.Minute
	keysStale = time.Hour
	// keysPause is how often they are fetched at most, whatever the tokens claim: one who makes up key IDs must not have us flood the issuer.
	keysPause = 30 * time.Second
	fetchTime = 10 * time.Second
	// mostJWKS bounds a set of keys in bytes, mostKeys in keys.
	mostJWKS = 1 << 20
	mostKeys = 100
)

// A keySet has the keys of an issuer. It is safe for concurrent use.
type keySet struct {
	from   Issuer
	fixed  bool
	client *http.Client // nil unless fetched
	log    *slog.Logger

	mu      sync.Mutex
	keys    []jose.JSONWebKey
	read    time.Time // when keys were; or the file's time of change
	tried   time.Time
	fetched chan struct{} // closed when the fetch that is under way ends; nil if none is
}

func newKeySet(i Issuer, log *slog.Logger) (*keySet, error) {
	k := &keySet{from: i, log: log}
	given := 0
	for _, s := range []string{i.JWKS, i.JWKSFile, i.JWKSURI} {
		if s != "" {
			given++
		}
	}
	if given > 1 {
		return k, errors.New("keys: more than one of JWKS, JWKSFile and JWKSURI")
	}
	var err error
	switch {
	case i.JWKS != "":
		k.fixed = true
		if k.keys, err = parseKeys([]byte(i.JWKS)); err != nil {
			return k, fmt.Errorf("JWKS: %w", err)
		}
	case i.JWKSFile != "":
		if err := k.reread(); err != nil {
			return k, fmt.Errorf("JWKSFile: %w", err)
		}
	default:
		at := i.JWKSURI
		if at == "" {
			at = i.Issuer
		}
		if u, err := url.Parse(at); err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" {
			return k, fmt.Errorf("keys: %q is no URL, and there is neither JWKS nor JWKSFile", at)
		}
		if k.client, err = newClient(i.RootCAFile); err != nil {
			return k, err
		}
	}
	return k, nil
}

// newClient fetches with bounds, follows no redirect, and keeps no connection.
func newClient(rootCAs string) (*http.Client, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12}
	if rootCAs != "" {
		text, err := os.ReadFile(rootCAs)
		if err != nil {
			return nil, fmt.Errorf("RootCAFile: %w", err)
		}
		if conf.RootCAs = x509.NewCertPool(); !conf.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("RootCAFile: %s holds no PEM certificate", rootCAs)
		}
	}
	return boundedClient(conf), nil
}

func boundedClient(conf *tls.Config) *http.Client {
	return &http.Client{
		Timeout:   fetchTime,
		Transport: &http.Transport{Proxy: http.ProxyFromEnvironment, TLSClientConfig: conf, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		// A redirect could lead out of TLS, or into a network that only we can reach.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
}

// fetch is the body of a good answer.
func fetch(ctx context.Context, client *http.Client, uri, token string) ([]byte, error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, uri, http.NoBody)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Accept", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	answer, err := client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s", uri, answer.Status)
	}
	body, err := io.ReadAll(io.LimitReader(answer.Body, mostJWKS+1))
	if err == nil && len(body) > mostJWKS {
		err = fmt.Errorf("%s: more than %d bytes", uri, mostJWKS)
	}
	return body, err
}

// parseKeys keeps the public keys of a set that sign; one that can't be read is as if it was not there (RFC 7517 section 5).
func parseKeys(text []byte) ([]jose.JSONWebKey, error) {
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(text, &set); err != nil || set.Keys == nil {
		return nil, errors.New("it is no JSON Web Key Set")
	}
	if len(set.Keys) > mostKeys {
		return nil, fmt.Errorf("there are %d keys in it, more than the limit of %d", len(set.Keys), mostKeys)
	}
	var keys []jose.JSONWebKey
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		if key.UnmarshalJSON(raw) == nil && key.Valid() && key.IsPublic() && (key.Use == "" || key.Use == "sig") {
			keys = append(keys, key)
		}
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no public key for signatures in it")
	}
	return keys, nil
}

// ready sees to it that the keys are there, and the one of that ID, as far as a file or the issuer has them. It may wait for the
// network; verify does not.
func (k *keySet) ready(ctx context.Context, kid string) {
	switch {
	case k.fixed:
	case k.client == nil:
		if err := k.reread(); err != nil {
			k.log.Warn("keys of an issuer can't be read, those of before stay in use", "issuer", k.from.Issuer, "err", err)
		}
	default:
		k.mu.Lock()
		age := time.Since(k.read)
		has := age < keysStale && slices.ContainsFunc(k.keys, func(key jose.JSONWebKey) bool { return kid == "" || key.KeyID == "" || key.KeyID == kid })
		k.mu.Unlock()
		if !has || age >= keysFresh {
			k.renew(ctx, !has)
		}
	}
}

// verify checks the signature of a token by the keys that are there, and reads its claims.
func (k *keySet) verify(t *jwt.JSONWebToken, claims *jwt.Claims) error {
	k.mu.Lock()
	keys, stale := k.keys, k.client != nil && time.Since(k.read) >= keysStale
	k.mu.Unlock()
	if len(keys) == 0 || stale {
		return errors.New("there are no keys of the issuer: they can't be fetched")
	}
	header := t.Headers[0]
	for _, key := range keys {
		if header.KeyID != "" && key.KeyID != "" && key.KeyID != header.KeyID || key.Algorithm != "" && key.Algorithm != header.Algorithm {
			continue
		}
		if t.Claims(key.Key, claims) == nil {
			return nil
		}
	}
	return errors.New("its signature is of none of the issuer's keys")
}

// reread reads the file if it has changed.
func (k *keySet) reread() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	info, err := os.Stat(k.from.JWKSFile)
	if err != nil {
		return err
	}
	if info.ModTime().Equal(k.read) {
		return nil
	}
	text, err := os.ReadFile(k.from.JWKSFile)
	if err != nil {
		return err
	}
	keys, err := parseKeys(text)
	if err != nil {
		return fmt.Errorf("%s: %w", k.from.JWKSFile, err)
	}
	k.keys, k.read = keys, info.ModTime()
	return nil
}

// renew fetches the keys, unless that was done a moment ago. Callers that come at once share one fetch, for which they may wait.
func (k *keySet) renew(ctx context.Context, wait bool) {
	k.mu.Lock()
	if under := k.fetched; under != nil {
		k.mu.Unlock()
		if wait {
			select {
			case <-under:
			case <-ctx.Done():
			}
		}
		return
	}
	if !k.tried.IsZero() && time.Since(k.tried) < keysPause {
		k.mu.Unlock()
		return
	}
	k.tried = time.Now()
	under := make(chan struct{})
	k.fetched = under
	k.mu.Unlock()

	// The caller that fetches for all may go away; the client's time limit ends it.
	keys, err := k.ask(context.WithoutCancel(ctx))
	if err != nil {
		k.log.Warn("keys of an issuer can't be fetched, those of before stay in use for an hour", "issuer", k.from.Issuer, "err", err)
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	defer close(under)
	k.fetched = nil
	if err == nil {
		k.keys, k.read = keys, time.Now()
	}
}

func (k *keySet) ask(ctx context.Context) ([]jose.JSONWebKey, error) {
	token := ""
	if k.from.TokenFile != "" {
		text, err := os.ReadFile(k.from.TokenFile)
		if err != nil {
			return nil, fmt.Errorf("TokenFile: %w", err)
		}
		token = strings.TrimSpace(string(text))
	}
	uri := k.from.JWKSURI
	if uri == "" {
		text, err := fetch(ctx, k.client, strings.TrimSuffix(k.from.Issuer, "/")+"/.well-known/openid-configuration", token)
		if err != nil {
			return nil, err
		}
		var about struct {
			Issuer string `json:"issuer"`
			URI    string `json:"jwks_uri"`
		}
		if err := json.Unmarshal(text, &about); err != nil || about.URI == "" {
			return nil, errors.New("its discovery document has no jwks_uri")
		}
		if about.Issuer != k.from.Issuer {
			return nil, fmt.Errorf("its discovery document is of issuer %q", about.Issuer)
		}
		if strings.HasPrefix(k.from.Issuer, "https://") && !strings.HasPrefix(about.URI, "https://") {
			return nil, errors.New("its discovery document leads out of TLS")
		}
		uri = about.URI
	}
	text, err := fetch(ctx, k.client, uri, token)
	if err != nil {
		return nil, err
	}
	return parseKeys(text)
}
