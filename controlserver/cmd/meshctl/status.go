package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

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
			print(cmd.OutOrStdout(), s)
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
	resp, err := http.DefaultClient.Do(req)
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

func print(out io.Writer, s web.Status) {
	fmt.Fprintf(out, "configuration %d, changed %s ago, serving on %s\n", s.Generation, time.Since(s.Changed).Round(time.Second), s.Listen)
	for _, f := range s.Findings {
		fmt.Fprintf(out, "%s: %s\n", f.Severity, f.Text)
	}
	fmt.Fprintln(out)
	w := tabwriter.NewWriter(out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "SERVICE\tPORTS\tENDPOINTS")
	for _, svc := range s.Services {
		healthy := 0
		for _, e := range svc.Endpoints {
			if e.Health == "HEALTHY" || e.Health == "UNKNOWN" {
				healthy++
			}
		}
		fmt.Fprintf(w, "%s\t%s\t%d of %d serve\n", svc.Host, strings.Join(svc.Ports, " "), healthy, len(svc.Endpoints))
	}
	fmt.Fprintln(w)
	fmt.Fprintln(w, "CLIENT\tADDRESS\tPROTOCOL\tLISTENER\tROUTE\tCLUSTER\tENDPOINTS")
	for _, c := range s.Clients {
		state := map[string]string{}
		for _, r := range c.Resources {
			switch {
			case r.Refused != "":
				state[r.Type] = "REFUSED"
			case r.Sent != r.Acked:
				state[r.Type] = fmt.Sprintf("%d (sent)", r.Subscribed)
			default:
				state[r.Type] = fmt.Sprint(r.Subscribed)
			}
		}
		name := c.Service
		if name == "" {
			name = c.ID
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, c.Peer, c.Protocol,
			dash(state["Listener"]), dash(state["RouteConfiguration"]), dash(state["Cluster"]), dash(state["ClusterLoadAssignment"]))
	}
	w.Flush() // to a terminal or buffer; a failure shows there
	for _, c := range s.Clients {
		for _, r := range c.Resources {
			if r.Refused != "" {
				fmt.Fprintf(out, "%s refused %s: %s\n", c.ID, r.Type, r.Refused)
			}
		}
	}
}

func dash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}
