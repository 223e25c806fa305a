package main

import (
	"cmp"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/controlserver"
	"github.com/weftmesh/weft/identity"
)

// storeVariable keeps the store's password out of the list of processes.
const storeVariable = "WEFT_RATELIMIT_STORE"

func serveCommand() *cobra.Command {
	cfg := controlserver.Config{}
	var authority authorityFlags
	var logJSON bool
	cmd := &cobra.Command{
		Use:   "serve --config DIR",
		Short: "Run a control server over a directory of YAML",
		Long: `Run a control server over a directory tree of YAML: Istio's ServiceEntry, WorkloadEntry, VirtualService,
DestinationRule, PeerAuthentication, RequestAuthentication and AuthorizationPolicy, and TrafficPolicy, MeshConfig
and Revocation of weft.dev/v1. Changes are in use within a second. What is wrong is logged and shown by meshctl
status; the last good version of it stays in use.

With --trust-domain the server is the authority of that domain: clients prove who they are by mTLS, get
their certificates here (meshctl token create makes the first one possible), and speak mTLS with each other.
Without it nobody is authenticated: listen on addresses that only your own processes can reach.

The environment's WEFT_CA_PASSPHRASE encrypts the keys in --state.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var handler slog.Handler = slog.NewTextHandler(cmd.ErrOrStderr(), nil)
			if logJSON {
				handler = slog.NewJSONHandler(cmd.ErrOrStderr(), nil)
			}
			cfg.Logger = slog.New(handler)
			cfg.RateLimitStore = cmp.Or(cfg.RateLimitStore, os.Getenv(storeVariable))
			var err error
			if cfg.CA, err = authority.config(); err != nil {
				return err
			}
			switch authority.mtls {
			case "strict":
			case "permissive":
				cfg.DefaultMTLS = identity.Permissive
			default:
				return usageError{fmt.Errorf("--default-mtls %q is neither strict nor permissive", authority.mtls)}
			}
			s, err := controlserver.New(cfg)
			if err != nil {
				return err
			}
			return s.Run(cmd.Context())
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&cfg.Dir, "config", "", "directory with the configuration")
	flags.StringVar(&cfg.Listen, "listen", ":18000", "address for xDS clients")
	flags.StringVar(&cfg.Web, "web", "127.0.0.1:18080", `address of the status page; "" for none`)
	flags.StringVar(&cfg.Advertise, "advertise", "", `"host:port" where proxies reach --listen; default: an address of this machine`)
	flags.StringVar(&cfg.RateLimitStore, "ratelimit-store", "", "where limits of all processes together are counted: redis:// or rediss://[user][:password]@host[:port][/db]; "+
		"default: what the environment's "+storeVariable+" says, which other users of the machine cannot read, or else this process's memory")
	flags.StringVar(&authority.trustDomain, "trust-domain", "", `trust domain of the mesh, such as "shop.example", whose authority the server is; "" authenticates nobody`)
	flags.StringVar(&authority.state, "state", "", "state directory of the authority: its keys and its log; default: one of the trust domain in this user's configuration directory")
	flags.StringVar(&authority.mtls, "default-mtls", "strict", "how servers take connections where no PeerAuthentication says it: strict or permissive")
	flags.DurationVar(&authority.leaf, "certificate-ttl", time.Hour, "how long certificates live; they are renewed at half of it")
	flags.StringArrayVar(&authority.issuers, "jwt-issuer", nil, "whose tokens prove identities: issuer=URL,audience=NAME[,jwks-file=FILE|jwks-uri=URI][,root-ca=FILE][,token-file=FILE][,subject=SUB>/ns/N/sa/A] "+
		"(may be repeated; without subject they are Kubernetes service accounts)")
	flags.StringArrayVar(&authority.federation, "federate", nil, "another trust domain that is believed: trust-domain=NAME,url=https://...[,endpoint-id=spiffe://...][,bundle-file=FILE][,root-ca=FILE] (may be repeated)")
	flags.StringVar(&cfg.BundleEndpoint, "bundle-endpoint", "", `address where other trust domains fetch the bundle of this one (SPIFFE bundle endpoint, https_spiffe); "" for none`)
	flags.DurationVar(&cfg.Grace, "grace", 10*time.Second, "how long a process stays registered whose stream broke; for as long after the start, clients that come back keep what they have")
	flags.BoolVar(&logJSON, "log-json", false, "log as JSON")
	_ = cmd.MarkFlagRequired("config") // there is such a flag
	return cmd
}
