//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package ca

import (
	"fmt"
	"os"
	"syscall"
)

// lock keeps a second server off a state directory until unlock, or the end of the process.
func lock(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ca: state directory: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		f.Close()
		return nil, fmt.Errorf("ca: another control server runs on the state directory: %s is locked: %w", path, err)
	}
	return func() { f.Close() }, nil
}
