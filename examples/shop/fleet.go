package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A fleet is the processes of the shop.
type fleet struct {
	program string
	control string // address, once the control server has told it
	config  string
	parts   map[string]*process // by instance
}

// A process is one running part.
type process struct {
	*exec.Cmd
	addr  string // what it printed first
	stdin io.Closer
	done  chan struct{}
}

func newFleet(config string) (*fleet, error) {
	program, err := os.Executable()
	return &fleet{program: program, config: config, control: "127.0.0.1:0", parts: map[string]*process{}}, err
}

// start runs a part and waits until it says where it listens.
func (f *fleet) start(ctx context.Context, role, version, instance string) (addr string, err error) {
	cmd := exec.Command(f.program, "--role", role, "--version", version, "--instance", instance, "--control", f.control, "--config", f.config)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return "", err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return "", err
	}
	if err := cmd.Start(); err != nil {
		return "", fmt.Errorf("%s: %w", instance, err)
	}
	p := &process{Cmd: cmd, stdin: stdin, done: make(chan struct{})}
	f.parts[instance] = p
	line := make(chan string, 1)
	go func() {
		defer close(p.done)
		first, _ := bufio.NewReader(stdout).ReadString('\n') // empty if it ended before
		line <- strings.TrimSpace(first)
		cmd.Wait() // how it ended is seen by what no longer works
	}()
	select {
	case p.addr = <-line:
	case <-time.After(20 * time.Second):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if p.addr == "" {
		return "", fmt.Errorf("%s did not start", instance)
	}
	return p.addr, nil
}

// kill ends a part at once, as a crash would.
func (f *fleet) kill(instance string) {
	if p := f.parts[instance]; p != nil {
		p.Process.Kill() // fails only if it is dead already
		<-p.done
		delete(f.parts, instance)
	}
}

// stop lets all parts finish what they do; those that take too long are killed.
// The control server goes last, so that the others can say goodbye.
func (f *fleet) stop() {
	for _, last := range []bool{false, true} {
		var stopping []*process
		for name, p := range f.parts {
			if (name == "control") == last {
				p.Process.Signal(syscall.SIGTERM) // fails only if it is dead already
				p.stdin.Close()
				stopping = append(stopping, p)
			}
		}
		patience := time.After(6 * time.Second)
		for _, p := range stopping {
			select {
			case <-p.done:
			case <-patience:
				p.Process.Kill()
				<-p.done
			}
		}
	}
}
