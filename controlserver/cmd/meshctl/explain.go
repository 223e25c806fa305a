package main

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/controlserver/explain"
	"github.com/weftmesh/weft/controlserver/publish"
	"github.com/weftmesh/weft/identity"
)

func explainCommand() *cobra.Command {
	var (
		config, from, method, trustDomain string
		headers, labels                   []string
		who                               prover
	)
	cmd := &cobra.Command{
		Use:   "explain --config DIR --from SERVICE [flags] URL",
		Short: "Say which route, cluster, policy and endpoints a request gets, whether the servers take it, and why",
		Long: `Say which route, cluster, policy and endpoints a request gets, why the other
routes do not take it, whether the servers take it from this caller, and why each
policy holds or does not. For a gRPC call write mesh:///payments/shop.Payments/Charge.
Processes that registered themselves are not in the files and so not among the endpoints.
The caller's service account is that of the calling service's endpoints, or else its name.`,
		Example: `  meshctl explain --config mesh --from orders --header x-tester=yes http://payments/charge
  meshctl explain --config mesh --trust-domain example.org --from orders --claim groups=admins http://payments/charge`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			client, err := caller(from, labels)
			if err != nil {
				return err
			}
			req, err := request(args[0], method, headers)
			if err != nil {
				return err
			}
			f, err := read([]string{config})
			if err != nil {
				return err
			}
			c := catalog.Merge(f)
			pc := publish.Config{TrustDomain: cmp.Or(trustDomain, c.Mesh().TrustDomain)}
			if pc.TrustDomain != "" {
				pc.DefaultMode = identity.Strict // as the control server does
			}
			view := publish.New(c, pc).View(client)
			if req.Caller, err = who.caller(view, from); err != nil {
				return err
			}
			a, err := explain.Explain(view, req)
			if err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "%s calls %s %s\n", from, req.Method, args[0])
			a.Print(w)
			for _, finding := range c.Check() {
				if finding.Severity == catalog.Error {
					fmt.Fprintf(w, "the configuration has errors (see meshctl check %s); a running server may still use an older version of what they refuse\n", config)
					break
				}
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&config, "config", "", "directory or file with the configuration")
	flags.StringVar(&from, "from", "", "the calling service, as NAME or NAME.NAMESPACE")
	flags.StringVar(&method, "method", "", `HTTP method (default "GET"; "POST" for gRPC)`)
	flags.StringArrayVar(&headers, "header", nil, "a request header, as name=value (may be repeated)")
	flags.StringArrayVar(&labels, "label", nil, "a label of the calling workload, as name=value (default app=NAME)")
	flags.StringVar(&trustDomain, "trust-domain", "", "trust domain of the mesh's identities (default: the MeshConfig's, or none: plaintext)")
	flags.StringVar(&who.principal, "principal", "", "identity of the caller, as in a policy: TRUSTDOMAIN/ns/NAMESPACE/sa/NAME")
	flags.BoolVar(&who.plaintext, "plaintext", false, "the caller does not use its identity")
	flags.StringArrayVar(&who.claims, "claim", nil, "a claim of the caller's token, as name=value, or [outer][inner]=value; of one given several times a list (may be repeated)")
	flags.StringVar(&who.address, "ip", "", "IP address of the caller")
	_ = cmd.MarkFlagRequired("config") // there is such a flag
	_ = cmd.MarkFlagRequired("from")   // there is such a flag
	return cmd
}

func caller(from string, labels []string) (publish.Client, error) {
	name, ns, _ := strings.Cut(from, ".")
	c := publish.Client{Namespace: ns, Labels: map[string]string{"app": name}}
	if c.Namespace == "" {
		c.Namespace = catalog.DefaultNamespace
	}
	for _, l := range labels {
		k, v, ok := strings.Cut(l, "=")
		if !ok {
			return c, usageError{fmt.Errorf("--label %q is not name=value", l)}
		}
		c.Labels[k] = v
	}
	return c, nil
}

func request(text, method string, headers []string) (explain.Request, error) {
	u, err := url.Parse(text)
	if err != nil {
		return explain.Request{}, usageError{err}
	}
	r := explain.Request{Method: method, URL: u, Header: http.Header{}}
	if u.Scheme == "mesh" {
		host, path, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
		u.Host, u.Path = host, "/"+path
		if r.Method == "" {
			r.Method = http.MethodPost
		}
		r.Header.Set("Content-Type", "application/grpc")
	}
	if r.Method == "" {
		r.Method = http.MethodGet
	}
	if u.Host == "" {
		return r, usageError{fmt.Errorf("%q names no service: write http://SERVICE/PATH or mesh:///SERVICE/METHOD", text)}
	}
	for _, h := range headers {
		k, v, ok := strings.Cut(h, "=")
		if !ok {
			return r, usageError{fmt.Errorf("--header %q is not name=value", h)}
		}
		r.Header.Add(k, v)
	}
	return r, nil
}
