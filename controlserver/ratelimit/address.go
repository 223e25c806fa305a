package ratelimit

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/valkey-io/valkey-go"
)

var errAddress = errors.New(`rate limit store: it is not an address: write "redis://[user][:password]@host[:port][/db]", or "rediss://..." for TLS, with signs such as /, # and ? in a password escaped as %2F`)

// parse reads the address of a store. What it says of a wrong one repeats nothing of it: any
// part may be that of a password.
func parse(address string) (valkey.ClientOption, error) {
	var o valkey.ClientOption
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" || u.Opaque != "" || u.Fragment != "" {
		return o, errAddress
	}
	port := u.Port()
	if port == "" {
		port = "6379"
	}
	o.InitAddress = []string{net.JoinHostPort(u.Hostname(), port)}
	o.Username = u.User.Username()
	o.Password, _ = u.User.Password()
	if db := strings.Trim(u.Path, "/"); db != "" {
		if o.SelectDB, err = strconv.Atoi(db); err != nil || o.SelectDB < 0 {
			return o, errAddress
		}
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || len(query) > 1 || len(query) == 1 && !query.Has("ca") {
		return o, errAddress
	}
	switch u.Scheme {
	case "redis":
		if query.Has("ca") {
			return o, errors.New("rate limit store: ca is for rediss:// alone")
		}
		return o, nil
	case "rediss":
	default:
		return o, errAddress
	}
	o.TLSConfig = &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}
	if file := query.Get("ca"); file != "" {
		pem, err := os.ReadFile(file)
		if err != nil {
			return o, fmt.Errorf("rate limit store: ca: %w", err)
		}
		o.TLSConfig.RootCAs = x509.NewCertPool()
		if !o.TLSConfig.RootCAs.AppendCertsFromPEM(pem) {
			return o, fmt.Errorf("rate limit store: ca: %s holds no PEM certificate", file)
		}
	}
	return o, nil
}
