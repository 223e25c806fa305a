// Package stage lets an example play on several processes of one program, and shows
// on the terminal what happens. It holds nothing of the mesh: read the examples for that.
package stage

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// A Cast is the processes of an example: this program, started again in other roles. It is
// used by one goroutine.
type Cast struct {
	program string
	last    string // who leaves last
	parts   map[string]*process
}

// A process is one running part.
type process struct {
	*exec.Cmd
	first string // line that it printed
	stdin io.WriteCloser
	done  chan struct{}
}

// NewCast returns an empty cast. The part called last is stopped after all others.
func NewCast(last string) (*Cast, error) {
	program, err := os.Executable()
	return &Cast{program: program, last: last, parts: map[string]*process{}}, err
}

// Start runs a part and returns the first line it prints, which says where it listens. Within the process, [Play] is to
// end it when this one is gone.
func (c *Cast) Start(ctx context.Context, name string, args ...string) (line string, err error) {
	return c.StartWith(ctx, nil, name, args...)
}

// StartWith is Start for a part that has the variables ("NAME=value") in its environment besides, where other users can't read them.
func (c *Cast) StartWith(ctx context.Context, variables []string, name string, args ...string) (line string, err error) {
	cmd := exec.Command(c.program, args...)
	cmd.Env = append(cmd.Environ(), variables...)
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
		return "", fmt.Errorf("%s: %w", name, err)
	}
	p := &process{Cmd: cmd, stdin: stdin, done: make(chan struct{})}
	c.parts[name] = p
	first := make(chan string, 1)
	go func() {
		defer close(p.done)
		line, _ := bufio.NewReader(stdout).ReadString('\n') // empty if it ended before
		first <- strings.TrimSpace(line)
		cmd.Wait() // how it ended is seen by what no longer works
	}()
	select {
	case p.first = <-first:
	case <-time.After(20 * time.Second):
	case <-ctx.Done():
		return "", ctx.Err()
	}
	if p.first == "" {
		return "", fmt.Errorf("%s did not start", name)
	}
	return p.first, nil
}

// Parts is how many processes run.
func (c *Cast) Parts() int { return len(c.parts) }

// Line is the first line that a part printed; empty if there is no such part.
func (c *Cast) Line(name string) string {
	if p := c.parts[name]; p != nil {
		return p.first
	}
	return ""
}

// Tell writes a line to a part's standard input, which [Play] hands to it.
func (c *Cast) Tell(name, line string) error {
	p := c.parts[name]
	if p == nil {
		return fmt.Errorf("%s does not run", name)
	}
	_, err := io.WriteString(p.stdin, line+"\n")
	return err
}

// Signal sends a part a signal.
func (c *Cast) Signal(name string, s syscall.Signal) error {
	p := c.parts[name]
	if p == nil {
		return fmt.Errorf("%s does not run", name)
	}
	return p.Process.Signal(s)
}

// Kill ends a part at once, as a crash would.
func (c *Cast) Kill(name string) {
	if p := c.parts[name]; p != nil {
		p.Process.Kill() // fails only if it is dead already
		<-p.done
		delete(c.parts, name)
	}
}

// Stop lets all parts finish what they do; those that take too long are killed.
func (c *Cast) Stop() {
	for _, last := range []bool{false, true} {
		var stopping []*process
		for name, p := range c.parts {
			if (name == c.last) == last {
				p.Process.Signal(syscall.SIGCONT) // one that was stopped would not hear the next
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

// Interrupted makes a Ctrl-C no error of its own.
func Interrupted(ctx context.Context, err error) error {
	if err != nil && ctx.Err() != nil {
		return errors.New("interrupted")
	}
	return err
}
