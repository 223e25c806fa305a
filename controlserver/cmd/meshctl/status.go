package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/controlserver/web"
)

func statusCommand() *cobra.Command {
	var server string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show a control server's findings, connected workloads, and what each has taken or refused",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := status(cmd.Context(), server)
			if err != nil {
				return err
			}
			if asJSON {
				enc := json.NewEncoder(cmd.OutOrStdout())
				enc.SetIndent("", "  ")
				return enc.Encode(s)
			}
			show(cmd.OutOrStdout(), s)
			return nil
		},
	}
	cmd.Flags().StringVar(&server, "server", "http://127.0.0.1:18080", "the control server's web address (serve --web)")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func status(ctx context.Context, server string) (web.Status, error) {
	var s web.Status
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if !strings.Contains(server, "://") {
		server = "http://" + server
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimSuffix(server, "/")+"/status", nil)
	if err != nil {
		return s, usageError{err}
	}
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}} // ctx is its time limit
	resp, err := client.Do(req)
	if err != nil {
		return s, fmt.Errorf("no control server answers at %s (set --server to its --web address): %w", server, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return s, fmt.Errorf("%s answers %s", server, resp.Status)
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, 256<<20)).Decode(&s); err != nil {
		return s, fmt.Errorf("%s: %w", server, err)
	}
	return s, nil
}

// show writes a status for a person.
func show(out io.Writer, s web.Status) {
	fmt.Fprintf(out, "configuration %d, changed %s ago, serving on %s\n", s.Generation, time.Since(s.Changed).Round(time.Second), s.Listen)
	for _, f := range s.Findings {
		fmt.Fprintf(out, "%s: %s\n", f.Severity, f.Text)
	}
	for _, w := range s.Switches {
		fmt.Fprintf(out, "turned off: %s, for %s, by %s\n", strings.Join(w.Kinds, ", "), w.For, w.At)
	}
	for _, l := range s.Lost {
		fmt.Fprintf(out, "beyond %s: %s\n", l.Client, l.Text)
	}
	fmt.Fprintln(out)
	services(out, s.Services)
	fmt.Fprintln(out)
	clients(out, s.Clients)
}

func services(out io.Writer, all []web.Service) {
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tPORTS\tENDPOINTS")
	for _, svc := range all {
		fit := 0
		for _, e := range svc.Endpoints {
			if e.Health == balancer.Healthy.String() || e.Health == balancer.HealthUnknown.String() {
				fit++
			}
		}
		serve := "none"
		if n := len(svc.Endpoints); n > 0 {
			serve = fmt.Sprintf("%d of %d serve", fit, n)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\n", svc.Host, strings.Join(svc.Ports, " "), serve)
	}
	_ = w.Flush() // to a terminal or buffer; a failure shows there
}

func clients(out io.Writer, all []web.Client) {
	types := []string{"Listener", "RouteConfiguration", "Cluster", "ClusterLoadAssignment"}
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "CLIENT\tADDRESS\tPROTOCOL\tLISTENERS\tROUTES\tCLUSTERS\tENDPOINTS")
	for _, c := range all {
		name := c.ID
		if c.Service != "" {
			name = c.Service + "." + c.Namespace
		}
		fmt.Fprintf(w, "%s\t%s\t%s", name, c.Peer, c.Protocol)
		for _, t := range types {
			fmt.Fprint(w, "\t"+subscribed(c, t))
		}
		fmt.Fprintln(w)
	}
	_ = w.Flush()
	for _, c := range all {
		for _, r := range c.Resources {
			if r.Refused != "" {
				fmt.Fprintf(out, "%s refused %s %s\n", c.ID, r.Type, r.Refused)
			}
		}
	}
}

// subscribed says how many resources of a type a client has, and whether it took them.
func subscribed(c web.Client, typ string) string {
	i := slices.IndexFunc(c.Resources, func(r web.Resource) bool { return r.Type == typ })
	if i < 0 {
		return "-"
	}
	switch r := c.Resources[i]; {
	case r.Refused != "":
		return "REFUSED"
	case r.Sent != r.Acked:
		return fmt.Sprintf("%d (not yet taken)", r.Subscribed)
	default:
		return strconv.Itoa(r.Subscribed)
	}
}
