package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// isolated is set in the environment of the program within its own network namespace.
const isolated = "WEFT_LOAD_ISOLATED"

// isolate runs the program once more in a network namespace of its own, so that what it does to
// packets concerns nobody else. It is not done where that is not permitted: then no packets are lost.
func isolate() (code int, done bool) {
	if os.Getenv(isolated) != "" {
		if err := exec.CommandContext(context.Background(), "ip", "link", "set", "lo", "up").Run(); err != nil {
			fmt.Fprintln(os.Stderr, "load: ip link set lo up:", err)
			return 1, true
		}
		return 0, false
	}
	if _, err := exec.LookPath("nft"); err != nil || os.Getuid() != 0 {
		return 0, false
	}
	cmd := exec.CommandContext(context.Background(), os.Args[0], os.Args[1:]...) //nolint:gosec // this program again
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), isolated+"=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, true
	case errors.As(err, &exit):
		return exit.ExitCode(), true
	}
	fmt.Fprintln(os.Stderr, "load: no network namespace:", err)
	return 0, false
}

// lossy reports whether packets can be lost.
func lossy() bool { return os.Getenv(isolated) != "" }

// lose loses so many of a hundred packets from and to an address; 0 loses none any more.
func lose(ctx context.Context, ip string, percent int) error {
	rules := "table ip weft\nflush table ip weft\n"
	if percent > 0 {
		rules += fmt.Sprintf(`table ip weft { chain in { type filter hook input priority 0;
			ip daddr %[1]s numgen random mod 100 < %[2]d drop
			ip saddr %[1]s numgen random mod 100 < %[2]d drop
		}
	}`, ip, percent)
	} else {
		rules = "table ip weft\ndelete table ip weft\n"
	}
	cmd := exec.CommandContext(ctx, "nft", "-f", "-")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		return err
	}
	if _, err := stdin.Write([]byte(rules)); err != nil {
		return err
	}
	stdin.Close()
	return cmd.Wait()
}
