package main

import (
	"cmp"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/controlserver"
)

// storeVariable keeps the store's password out of the list of processes.
const storeVariable = "WEFT_RATELIMIT_STORE"

func serveCommand() *cobra.Command {
	cfg := controlserver.Config{}
	var logJSON bool
	cmd := &cobra.Command{
		Use:   "serve --config DIR",
		Short: "Run a control server over a directory of YAML",
		Long: `Run a control server over a directory tree of YAML (ServiceEntry, WorkloadEntry,
VirtualService, DestinationRule). Changes are in use within a second. What is wrong is
logged and shown by meshctl status; the last good version of it stays in use.

Clients are not authenticated: listen on addresses that only they can reach.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var handler slog.Handler = slog.NewTextHandler(cmd.ErrOrStderr(), nil)
			if logJSON {
				handler = slog.NewJSONHandler(cmd.ErrOrStderr(), nil)
			}
			cfg.Logger = slog.New(handler)
			cfg.RateLimitStore = cmp.Or(cfg.RateLimitStore, os.Getenv(storeVariable))
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
	flags.DurationVar(&cfg.Grace, "grace", 10*time.Second, "how long a process stays registered whose stream broke; for as long after the start, clients that come back keep what they have")
	flags.BoolVar(&logJSON, "log-json", false, "log as JSON")
	_ = cmd.MarkFlagRequired("config") // there is such a flag
	return cmd
}
