// Command meshctl runs a control server and answers questions about its configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes a command line and returns its exit code: 1 for findings and
// failures, 2 for a line that cannot be understood.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	root := &cobra.Command{
		Use:           "meshctl",
		Short:         "Run a weft control server, check its configuration and ask what it does.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.CompletionOptions.HiddenDefaultCmd = true
	understood := false
	for _, c := range []*cobra.Command{serveCommand(), checkCommand(), explainCommand(), statusCommand(), tokenCommand(), caCommand()} {
		root.AddCommand(c)
		for _, c := range append(c.Commands(), c) {
			execute := c.RunE
			if execute == nil {
				continue
			}
			c.RunE = func(cmd *cobra.Command, args []string) error {
				understood = true
				return execute(cmd, args)
			}
		}
	}
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errFindings): // they are printed
		return 1
	case !understood || errors.As(err, &usage):
		fmt.Fprintf(stderr, "meshctl: %v (see %s --help)\n", err, cmd.CommandPath())
		return 2
	default:
		fmt.Fprintln(stderr, "meshctl:", err)
		return 1
	}
}

// errFindings says that the configuration has errors.
var errFindings = errors.New("the configuration has errors")

// A usageError is a command line that cannot be understood.
type usageError struct{ error }
