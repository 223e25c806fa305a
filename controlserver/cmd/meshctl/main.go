// Command meshctl runs a control server and answers questions about its configuration.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/spf13/cobra"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}

// run executes a command line and returns its exit code: 1 for findings and
// failures, 2 for a line that cannot be understood.
func run(ctx context.Context, args []string) int {
	root := &cobra.Command{
		Use:           "meshctl",
		Short:         "Run a weft control server, check its configuration and ask what it does.",
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.AddCommand(serveCommand(), checkCommand(), explainCommand(), statusCommand())
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	var usage usageError
	switch {
	case err == nil:
		return 0
	case errors.Is(err, errFindings): // they are printed
		return 1
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "meshctl: %v (see meshctl --help)\n", err)
		return 2
	default:
		fmt.Fprintln(os.Stderr, "meshctl:", err)
		return 1
	}
}

// errFindings says that the configuration has errors.
var errFindings = errors.New("the configuration has errors")

// A usageError is a command line that cannot be understood.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }
