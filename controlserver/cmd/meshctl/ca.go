package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"github.com/weftmesh/weft/controlserver/ca"
)

// unsealVariable keeps the passphrase of the authority's keys out of the list of processes.
const unsealVariable = "WEFT_CA_PASSPHRASE"

// stateDir is where the authority of a trust domain is kept unless it is said otherwise.
func stateDir(trustDomain string) (string, error) {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", fmt.Errorf("there is no directory of this user for the authority's state: name one by --state: %w", err)
	}
	return filepath.Join(dir, "weft", trustDomain), nil
}

func keys() ca.Keys { return ca.Keys{Passphrase: []byte(os.Getenv(unsealVariable))} }

// stateFlags are those by which commands find an authority's state.
type stateFlags struct{ dir, trustDomain string }

func (s *stateFlags) add(cmd *cobra.Command) {
	flags := cmd.PersistentFlags()
	flags.StringVar(&s.dir, "state", "", "state directory of the authority; default: that of --trust-domain in this user's configuration directory")
	flags.StringVar(&s.trustDomain, "trust-domain", "cluster.local", "trust domain whose authority is meant, unless --state says it")
}

func (s *stateFlags) path() (string, error) {
	if s.dir != "" {
		return s.dir, nil
	}
	return stateDir(s.trustDomain)
}

func tokenCommand() *cobra.Command {
	var state stateFlags
	var identity string
	var ttl time.Duration
	create := &cobra.Command{
		Use:   "create --identity spiffe://DOMAIN/ns/NAMESPACE/sa/ACCOUNT",
		Short: "Make a token that is good for one certificate of an identity",
		Long: `Make a token that is good, once and for as long as --ttl says, for a certificate of the
identity. The process that is to have it gets the token as WEFT_JOIN_TOKEN; its later certificates it gets by
the one before. The control server on the same state directory knows the token at once.`,
		Example: `  meshctl token create --identity spiffe://shop.example/ns/shop/sa/payments --ttl 10m`,
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			id, err := spiffeid.FromString(identity)
			if err != nil {
				return usageError{fmt.Errorf("--identity %q: %w", identity, err)}
			}
			if domain := id.TrustDomain().Name(); state.dir == "" {
				if cmd.Flags().Changed("trust-domain") && state.trustDomain != domain {
					return usageError{fmt.Errorf("--trust-domain %s: %s is of another one", state.trustDomain, id)}
				}
				state.trustDomain = domain
			}
			dir, err := state.path()
			if err != nil {
				return err
			}
			token, err := ca.CreateToken(dir, id, ttl)
			if err != nil {
				return err
			}
			fmt.Fprintln(cmd.OutOrStdout(), token)
			return nil
		},
	}
	create.Flags().StringVar(&identity, "identity", "", "SPIFFE ID that the token is for")
	create.Flags().DurationVar(&ttl, "ttl", 10*time.Minute, "how long the token is good")
	_ = create.MarkFlagRequired("identity") // there is such a flag
	cmd := &cobra.Command{Use: "token", Short: "Tokens by which processes join a mesh"}
	state.add(cmd)
	cmd.AddCommand(create)
	return cmd
}

func caCommand() *cobra.Command {
	var state stateFlags
	with := func(f func(w io.Writer, dir string, args []string) error) func(*cobra.Command, []string) error {
		return func(cmd *cobra.Command, args []string) error {
			dir, err := state.path()
			if err != nil {
				return err
			}
			return f(cmd.OutOrStdout(), dir, args)
		}
	}
	var force bool
	rotate := &cobra.Command{
		Use:   "rotate announce|switch|retire",
		Short: "Take a step of replacing the root",
		Long: `Take a step of replacing the root: announce makes a new one that all are told to believe, switch
has it sign, retire ends the belief in the old one. Each step says when the next may be taken; a control
server on the same state directory takes it up within seconds.`,
		Args:      cobra.ExactArgs(1),
		ValidArgs: []string{string(ca.AnnounceRoot), string(ca.SwitchRoot), string(ca.RetireRoot)},
		RunE: with(func(w io.Writer, dir string, args []string) error {
			s, err := ca.RotateRoot(dir, keys(), ca.Step(args[0]), force)
			if err != nil {
				return err
			}
			describe(w, s)
			return nil
		}),
	}
	rotate.Flags().BoolVar(&force, "force", false, "take the step though it is not due, as when a key was stolen: calls may fail between those who know and those who don't")
	cmd := &cobra.Command{Use: "ca", Short: "The authority of a trust domain"}
	state.add(cmd)
	cmd.AddCommand(rotate,
		&cobra.Command{
			Use: "status", Short: "Say how the authority stands", Args: cobra.NoArgs,
			RunE: with(func(w io.Writer, dir string, _ []string) error {
				s, err := ca.ReadStatus(dir)
				if err != nil {
					return err
				}
				describe(w, s)
				return nil
			}),
		},
		&cobra.Command{
			Use: "root", Short: "Print the roots that certificates are verified by, as PEM (WEFT_ROOT_CA is a file of it)", Args: cobra.NoArgs,
			RunE: with(func(w io.Writer, dir string, _ []string) error {
				s, err := ca.ReadStatus(dir)
				for _, r := range s.Roots {
					fmt.Fprint(w, r.CertificatePEM)
				}
				return err
			}),
		},
		&cobra.Command{
			Use: "verify-log", Short: "Check that no line of the log of issued certificates was changed or removed", Args: cobra.NoArgs,
			RunE: with(func(w io.Writer, dir string, _ []string) error {
				n, last, err := ca.VerifyLog(dir)
				if err != nil {
					return err
				}
				fmt.Fprintf(w, "ok: %d entries, the last of %s\n", n, last.Time.Format(time.RFC3339))
				return nil
			}),
		})
	return cmd
}

func describe(w io.Writer, s ca.Status) {
	fmt.Fprintf(w, "trust domain %s, bundle %d, %s\n", s.TrustDomain.Name(), s.Sequence, s.Stage)
	for _, r := range s.Roots {
		signs := ""
		if r.Signs {
			signs = ", signs"
		}
		fmt.Fprintf(w, "root %s, believed since %s, until %s%s\n", r.Serial, r.Since.Format(time.RFC3339), r.NotAfter.Format(time.RFC3339), signs)
	}
	fmt.Fprintf(w, "intermediate until %s\n", s.Intermediate.Format(time.RFC3339))
	if !s.Next.IsZero() {
		fmt.Fprintf(w, "next step from %s on\n", s.Next.Format(time.RFC3339))
	}
}

// authorityFlags are those of a server's authority.
type authorityFlags struct {
	trustDomain, state, mtls string
	issuers, federation      []string
	leaf                     time.Duration
}

// config is nil if there is to be no authority.
func (f *authorityFlags) config() (*ca.Config, error) {
	if f.trustDomain == "" {
		if f.state != "" || len(f.issuers)+len(f.federation) > 0 {
			return nil, usageError{errors.New("--state, --jwt-issuer and --federate are of a trust domain: name it by --trust-domain")}
		}
		return nil, nil
	}
	td, err := spiffeid.TrustDomainFromString(f.trustDomain)
	if err != nil {
		return nil, usageError{fmt.Errorf("--trust-domain %q: %w", f.trustDomain, err)}
	}
	cfg := &ca.Config{TrustDomain: td, Dir: f.state, Keys: keys(), LeafTTL: f.leaf}
	if cfg.Dir == "" {
		if cfg.Dir, err = stateDir(td.Name()); err != nil {
			return nil, err
		}
	}
	for _, text := range f.issuers {
		i, err := parseIssuer(text)
		if err != nil {
			return nil, usageError{fmt.Errorf("--jwt-issuer %q: %w", text, err)}
		}
		cfg.Issuers = append(cfg.Issuers, i)
	}
	for _, text := range f.federation {
		other, err := parseFederation(text)
		if err != nil {
			return nil, usageError{fmt.Errorf("--federate %q: %w", text, err)}
		}
		cfg.Federation = append(cfg.Federation, other)
	}
	return cfg, nil
}
