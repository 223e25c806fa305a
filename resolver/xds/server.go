package xds

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/credentials/jwt"
	"google.golang.org/grpc/keepalive"

	"github.com/weftmesh/weft/identity"
)

// A server is one control server of the bootstrap.
type server struct {
	uri      string
	creds    channelCreds
	plain    bool   // without an identity it is spoken to in plaintext
	token    string // path of a file with a JWT that goes with each call (gRFC A97); empty means none
	features features
	identity identity.Source // of this process; nil if it has none
}

const (
	// Of the connection to a control server (gRFC A57).
	keepaliveTime    = 5 * time.Minute
	keepaliveTimeout = 20 * time.Second
	connectTimeout   = 10 * time.Second
	// mostResponse bounds one response, in bytes.
	mostResponse = 16 << 20
)

// dial makes a connection to the server, which begins when it is used.
func (s server) dial(more []grpc.DialOption) (*grpc.ClientConn, error) {
	creds, err := s.credentials()
	if err != nil {
		return nil, err
	}
	options := append([]grpc.DialOption{
		grpc.WithTransportCredentials(creds),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: keepaliveTime, Timeout: keepaliveTimeout}),
		grpc.WithConnectParams(grpc.ConnectParams{Backoff: backoff.DefaultConfig, MinConnectTimeout: connectTimeout}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(mostResponse)),
		grpc.WithDisableServiceConfig(),
		grpc.WithDisableRetry(),
	}, more...)
	if s.token != "" {
		token, err := jwt.NewTokenFileCallCredentials(s.token)
		if err != nil {
			return nil, fmt.Errorf("bootstrap: call_creds: %w", err)
		}
		options = append(options, grpc.WithPerRPCCredentials(token))
	}
	return grpc.NewClient(s.uri, options...)
}

func (s server) credentials() (credentials.TransportCredentials, error) {
	if s.creds.kind == credsMesh && s.identity != nil {
		config, err := meshTLS(s.identity)
		if err != nil {
			return nil, err
		}
		return credentials.NewTLS(config), nil
	}
	creds, ferr := s.creds.transport(s.identity)
	if ferr != nil {
		return nil, fmt.Errorf("bootstrap: channel_creds.%s %s", ferr.field, ferr.text)
	}
	return creds, nil
}

// features are the server features that are known; others are ignored.
type features struct {
	ignoreDeletion   bool // gRFC A53
	failOnDataErrors bool // gRFC A88
	timerTransient   bool // gRFC A88
	sotw             bool // ours: speak state-of-the-world at once
}

func (f *features) add(name string) {
	switch name {
	case "ignore_resource_deletion":
		f.ignoreDeletion = true
	case "fail_on_data_errors":
		f.failOnDataErrors = true
	case "resource_timer_is_transient_error":
		f.timerTransient = true
	case "ads_sotw":
		f.sotw = true
	}
}

const (
	credsInsecure = "insecure"
	credsTLS      = "tls"
	credsMesh     = "weft" // mTLS of the mesh; plaintext for a process without an identity
)

// channelCreds are the credentials of the connection to a control server (gRFC A27, A65).
type channelCreds struct {
	kind                  string // empty means none
	caFile                string // empty means the system's roots
	certFile, privateFile string // both or neither
}

type fieldError struct{ field, text string }

// parseCreds reads one entry of channel_creds; ok says whether its type is
// supported. An entry that is supported but wrong is an error, not skipped.
func parseCreds(kind string, config json.RawMessage) (c channelCreds, ok bool, err *fieldError) {
	switch kind {
	case credsInsecure, credsMesh:
		return channelCreds{kind: kind}, true, nil
	case credsTLS:
	default:
		return channelCreds{}, false, nil
	}
	var d struct {
		CA          string `json:"ca_certificate_file"`
		Certificate string `json:"certificate_file"`
		PrivateKey  string `json:"private_key_file"`
	}
	c.kind = kind
	if len(config) > 0 {
		if err := json.Unmarshal(config, &d); err != nil {
			return c, true, &fieldError{"config", fmt.Sprintf("is wrong (%v): write it as in gRFC A65", err)}
		}
	}
	c.caFile, c.certFile, c.privateFile = d.CA, d.Certificate, d.PrivateKey
	if (c.certFile == "") != (c.privateFile == "") {
		return c, true, &fieldError{"config", "has only one of certificate_file and private_key_file: set both or neither"}
	}
	if _, err := c.transport(nil); err != nil {
		return c, true, &fieldError{"config." + err.field, err.text}
	}
	return c, true, nil
}

// transport reads the files anew, so that each connection uses the newest. Where they hold no certificate for this process, that of
// its identity is shown.
func (c channelCreds) transport(from identity.Source) (credentials.TransportCredentials, *fieldError) {
	if c.kind != credsTLS {
		return insecure.NewCredentials(), nil
	}
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if c.caFile != "" {
		pem, err := os.ReadFile(c.caFile)
		if err != nil {
			return nil, &fieldError{"ca_certificate_file", fmt.Sprintf("cannot be used (%v): set it to a readable PEM file", err)}
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, &fieldError{"ca_certificate_file", fmt.Sprintf("names %s, which holds no PEM certificate: set it to one that does", c.caFile)}
		}
	}
	if c.certFile != "" {
		pair, err := tls.LoadX509KeyPair(c.certFile, c.privateFile)
		if err != nil {
			return nil, &fieldError{"certificate_file", fmt.Sprintf("cannot be used with private_key_file (%v): set both to PEM files that belong together", err)}
		}
		config.Certificates = []tls.Certificate{pair}
	} else if from != nil {
		config.GetClientCertificate = tlsconfig.GetClientCertificate(from)
	}
	return credentials.NewTLS(config), nil
}
