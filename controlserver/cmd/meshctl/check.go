package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/controlserver/catalog"
	"github.com/weftmesh/weft/controlserver/source/yamldir"
)

func checkCommand() *cobra.Command {
	var authority catalog.Authority
	cmd := &cobra.Command{
		Use:   "check PATH...",
		Short: "Validate YAML files and directories",
		Long: `Validate YAML files and directories, together as one configuration.

Prints one line a finding, "file:line: Kind/namespace/name: field: what".
Exits with 0 if the configuration may be used as it is, also with warnings, and with 1 if
something in it is refused. What "meshctl serve" is told of trust domains is not in the
files: say it here too, to be warned of what does not fit it.`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			f, err := read(args)
			if err != nil {
				return err
			}
			c := catalog.Merge(f)
			return report(cmd.OutOrStdout(), append(c.Check(), c.CheckAuthority(authority)...), len(c.Objects()))
		},
	}
	cmd.Flags().StringVar(&authority.TrustDomain, "trust-domain", "", "trust domain of the control server")
	cmd.Flags().StringArrayVar(&authority.Federated, "federate", nil, "another trust domain that the control server believes (may be repeated)")
	return cmd
}

// report prints findings and returns errFindings if one of them is an error.
func report(w io.Writer, findings []catalog.Finding, objects int) error {
	var failed int
	for _, f := range findings {
		text := f.String()
		if f.Severity == catalog.Warning {
			text += " (warning)"
		} else {
			failed++
		}
		fmt.Fprintln(w, text)
	}
	if failed > 0 {
		return errFindings
	}
	fmt.Fprintf(w, "ok: %d objects, %d warnings\n", objects, len(findings))
	return nil
}

// read reads all YAML files of the paths; directories are walked.
func read(paths []string) (catalog.Fragment, error) {
	out := catalog.Fragment{Source: "files"}
	for _, p := range paths {
		if _, err := os.Stat(p); errors.Is(err, fs.ErrNotExist) {
			return out, fmt.Errorf("there is no file or directory %s", p)
		}
		f, err := yamldir.Read(p)
		if err != nil {
			return out, err
		}
		out.Objects = append(out.Objects, f.Objects...)
		out.Findings = append(out.Findings, f.Findings...)
	}
	return out, nil
}
