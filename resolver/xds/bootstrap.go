package xds

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/weftmesh/weft/identity"
)

// The environment variables of the gRPC xDS bootstrap. The file wins.
const (
	EnvBootstrap       = "GRPC_XDS_BOOTSTRAP"        // path of a file
	EnvBootstrapConfig = "GRPC_XDS_BOOTSTRAP_CONFIG" // the JSON itself
)

const (
	listenerTemplate       = "%s"
	serverListenerTemplate = "xds.istio.io/grpc/lds/inbound/%s"
)

// A Bootstrap says where the control servers are and who we are to them, in the
// standard gRPC format (gRFC A27, A36, A65, A88). It is a value, made by
// [BootstrapFromEnv], [ParseBootstrap] or [BootstrapFor].
type Bootstrap struct {
	servers []server
	node    *corev3.Node // what the bootstrap says; it wins over what the client would say
	// listener and serverListener are the templates of listener names.
	listener, serverListener string
	// certificateProviders are the names of the instances that resources may refer to.
	certificateProviders []string
}

// BootstrapFromEnv reads the bootstrap that the environment names, now.
func BootstrapFromEnv() (*Bootstrap, error) {
	if path := os.Getenv(EnvBootstrap); path != "" {
		return readBootstrap(path, EnvBootstrap+"="+path, "set "+EnvBootstrap+" to a readable file, or unset it")
	}
	if text := os.Getenv(EnvBootstrapConfig); text != "" {
		return parseBootstrap([]byte(text), EnvBootstrapConfig)
	}
	return nil, fmt.Errorf("bootstrap: no control server is configured: set %s to the path of a bootstrap file or %s to its JSON, or name the control server in code",
		EnvBootstrap, EnvBootstrapConfig)
}

// ParseBootstrap reads a bootstrap from its JSON or, if that does not begin with "{", from the file of that path.
func ParseBootstrap(pathOrJSON string) (*Bootstrap, error) {
	if strings.HasPrefix(strings.TrimSpace(pathOrJSON), "{") {
		return parseBootstrap([]byte(pathOrJSON), "JSON")
	}
	return readBootstrap(pathOrJSON, pathOrJSON, "name a readable file, or give the JSON itself")
}

// BootstrapFor is the bootstrap of control servers ("host:port", or any target that
// gRPC can dial); the later ones are fallbacks. They are spoken to by the mesh's mTLS if the
// client has an identity, else in plaintext.
func BootstrapFor(addr ...string) (*Bootstrap, error) {
	if len(addr) == 0 {
		return nil, errors.New(`bootstrap: no address of a control server: name one, such as "127.0.0.1:18000"`)
	}
	b := &Bootstrap{listener: listenerTemplate, serverListener: serverListenerTemplate}
	for i, a := range addr {
		if strings.TrimSpace(a) == "" {
			return nil, fmt.Errorf(`bootstrap: address %d of the control servers is empty: set it to "host:port"`, i+1)
		}
		if !strings.Contains(a, ":") {
			return nil, fmt.Errorf(`bootstrap: address %q of a control server has no port: write "host:port"`, a)
		}
		b.servers = append(b.servers, server{uri: a, creds: channelCreds{kind: credsMesh}, plain: true})
	}
	return b, nil
}

// as is the bootstrap of a process of that identity, which may be nil.
func (b *Bootstrap) as(own identity.Source) (*Bootstrap, error) {
	out := *b
	out.servers = slices.Clone(b.servers)
	for i := range out.servers {
		s := &out.servers[i]
		if s.creds.kind == credsMesh && own == nil && !s.plain {
			return nil, fmt.Errorf(`bootstrap: xds_servers[%d].channel_creds: type "weft" needs an identity of this process: give it one, or use type "tls"`, i)
		}
		s.identity = own
	}
	return &out, nil
}

func readBootstrap(path, source, fix string) (*Bootstrap, error) {
	text, err := os.ReadFile(path) //nolint:gosec // the user names the file
	if err != nil {
		return nil, fmt.Errorf("bootstrap %s: cannot be read: %w: %s", source, errors.Unwrap(err), fix)
	}
	return parseBootstrap(text, source)
}

// A document is the JSON as far as it is used; what is unknown is ignored.
type document struct {
	Servers []struct {
		URI   string `json:"server_uri"`
		Creds []struct {
			Type   string          `json:"type"`
			Config json.RawMessage `json:"config"`
		} `json:"channel_creds"`
		CallCreds []struct {
			Type   string          `json:"type"`
			Config json.RawMessage `json:"config"`
		} `json:"call_creds"`
		Features []json.RawMessage `json:"server_features"`
	} `json:"xds_servers"`
	Node                 json.RawMessage `json:"node"`
	Listener             *string         `json:"client_default_listener_resource_name_template"`
	ServerListener       *string         `json:"server_listener_resource_name_template"`
	CertificateProviders map[string]struct {
		Plugin string `json:"plugin_name"`
	} `json:"certificate_providers"`
}

func parseBootstrap(text []byte, source string) (*Bootstrap, error) {
	fail := func(err error) (*Bootstrap, error) { return nil, fmt.Errorf("bootstrap %s: %w", source, err) }
	if len(bytes.TrimSpace(text)) == 0 {
		return fail(errors.New("it is empty: write the gRPC xDS bootstrap JSON there, with at least xds_servers"))
	}
	var d document
	if err := json.Unmarshal(text, &d); err != nil {
		return fail(jsonError(text, err))
	}
	b := &Bootstrap{listener: listenerTemplate, serverListener: serverListenerTemplate, node: new(corev3.Node)}
	var errs []string
	find := func(field, format string, args ...any) {
		errs = append(errs, "field "+field+" "+fmt.Sprintf(format, args...))
	}
	if len(d.Servers) == 0 {
		find("xds_servers", `is missing or empty: list at least one control server, such as [{"server_uri": "127.0.0.1:18000", "channel_creds": [{"type": "insecure"}]}]`)
	}
	for i, s := range d.Servers {
		at := fmt.Sprintf("xds_servers[%d]", i)
		if s.URI == "" {
			find(at+".server_uri", `is missing or empty: set it to the control server's "host:port"`)
		}
		out := server{uri: s.URI}
		var unsupported []string
		for j, c := range s.Creds {
			creds, ok, err := parseCreds(c.Type, c.Config)
			if err != nil {
				find(fmt.Sprintf("%s.channel_creds[%d].%s", at, j, err.field), "%s", err.text)
			}
			if ok {
				out.creds = creds
				break
			}
			unsupported = append(unsupported, fmt.Sprintf("%q", c.Type))
		}
		switch {
		case len(s.Creds) == 0:
			find(at+".channel_creds", `is missing or empty: set it to [{"type": "insecure"}] or [{"type": "tls"}]`)
		case out.creds.kind == "":
			find(at+".channel_creds", `has only types that are not supported (%s): add one of type "tls" or "insecure"`, strings.Join(unsupported, ", "))
		}
		for j, c := range s.CallCreds {
			if c.Type != "jwt_token_file" { // others are of a newer bootstrap
				continue
			}
			var d struct {
				File string `json:"jwt_token_file"`
			}
			switch err := json.Unmarshal(c.Config, &d); {
			case err != nil || d.File == "":
				find(fmt.Sprintf("%s.call_creds[%d].config.jwt_token_file", at, j), "is missing or wrong: set it to the path of a file with a JWT")
			case out.creds.kind == credsInsecure:
				find(fmt.Sprintf("%s.call_creds[%d]", at, j), `would send a token in plaintext: set channel_creds to type "tls"`)
			case out.token == "":
				out.token = d.File
			}
		}
		for _, f := range s.Features {
			var name string
			if json.Unmarshal(f, &name) == nil { // others are of a newer bootstrap
				out.features.add(name)
			}
		}
		b.servers = append(b.servers, out)
	}
	if len(d.Node) > 0 && string(d.Node) != "null" {
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(d.Node, b.node); err != nil {
			find("node", "is not an xDS node (%v): write it as in the gRPC xDS bootstrap", trimProto(err))
		}
	}
	if d.Listener != nil && *d.Listener != "" {
		b.listener = *d.Listener
	}
	if d.ServerListener != nil && *d.ServerListener != "" {
		b.serverListener = *d.ServerListener
	}
	for _, t := range []struct{ field, value string }{
		{"client_default_listener_resource_name_template", b.listener},
		{"server_listener_resource_name_template", b.serverListener},
	} {
		if !strings.Contains(t.value, "%s") {
			find(t.field, `is %q, without "%%s": put "%%s" where the name is to stand`, t.value)
		}
	}
	for name, p := range d.CertificateProviders {
		if p.Plugin == "" {
			find("certificate_providers."+name+".plugin_name", `is missing or empty: set it, for instance to "file_watcher"`)
		}
		b.certificateProviders = append(b.certificateProviders, name)
	}
	slices.Sort(b.certificateProviders)
	if len(errs) > 0 {
		slices.Sort(errs)
		return fail(errors.New(strings.Join(errs, "; ")))
	}
	return b, nil
}

// jsonError says where the JSON is wrong.
func jsonError(text []byte, err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		before := text[:min(int(syntax.Offset), len(text))]
		line := 1 + bytes.Count(before, []byte("\n"))
		column := len(before) - (bytes.LastIndexByte(before, '\n') + 1)
		return fmt.Errorf("it is not JSON (line %d, column %d: %w): correct it there", line, column, err)
	case errors.As(err, &kind):
		field := kind.Field
		if field == "" {
			field = "(the whole)"
		}
		return fmt.Errorf("field %s is a JSON %s: make it a %s", field, kind.Value, kind.Type.Kind())
	}
	return fmt.Errorf("it is not JSON (%w): correct it", err)
}

// trimProto drops the marker that protobuf puts before its errors.
func trimProto(err error) string {
	s := err.Error()
	if _, after, ok := strings.Cut(s, "proto:"); ok {
		s = after
	}
	return strings.TrimSpace(strings.ReplaceAll(s, "\u00a0", " "))
}

// provides refuses instances of certificate providers that the bootstrap does not have (gRFC A29).
func (b *Bootstrap) provides(instances []string) error {
	for _, name := range instances {
		if !slices.Contains(b.certificateProviders, name) {
			return fmt.Errorf("field instance_name: there is no certificate provider %q in the bootstrap", name)
		}
	}
	return nil
}

// listenerName is the name of the listener that carries a service's routes.
func (b *Bootstrap) listenerName(service string) string { return fill(b.listener, service) }

// serverListenerName is the name of the listener of an address this process serves.
func (b *Bootstrap) serverListenerName(addr string) string { return fill(b.serverListener, addr) }

func fill(template, name string) string {
	if strings.HasPrefix(template, "xdstp:") {
		name = percentEncode(name)
	}
	return strings.ReplaceAll(template, "%s", name)
}

// percentEncode escapes what may not stand in the path of an xdstp name (gRFC A47).
func percentEncode(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', strings.IndexByte("-._~!$&'()*+,;=:@/", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
