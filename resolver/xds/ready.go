package xds

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A waiter is one call of Ready.
type waiter struct{ done chan struct{} }

func (c *core) await(w *waiter) { c.waiters = append(c.waiters, w) }

// releaseReady lets the waiters go if there is nothing to wait for.
func (c *core) releaseReady() {
	if len(c.waiters) == 0 || c.unready() != "" {
		return
	}
	for _, w := range c.waiters {
		close(w.done)
	}
	c.waiters = nil
}

// giveUp takes a waiter out and says what it waited for in vain.
func (c *core) giveUp(w *waiter, cause error) error {
	why := c.unready()
	c.waiters = without(c.waiters, w)
	if why == "" {
		return nil
	}
	return fmt.Errorf("%s (%w)", why, cause)
}

// unready is what is missing and what to do about it; empty if nothing is missing.
func (c *core) unready() string {
	l := &c.link
	server := l.server().uri
	if l.stream == nil || !l.stream.up {
		why := fmt.Sprintf("control server %s does not answer the connection", server)
		if l.err != nil {
			why = l.err.Error()
		}
		return why + `; start it with "meshctl serve" or set ` + EnvBootstrap
	}
	for _, name := range slices.SortedFunc(maps.Keys(c.services), cmp.Compare) {
		if s := c.services[name]; !s.answered {
			return fmt.Sprintf("control server %s has not answered for %s, which service %q needs; see its log, and this process there with \"meshctl status\"",
				server, strings.Join(s.waits[:min(3, len(s.waits))], ", "), name)
		}
	}
	for addr, in := range c.inbounds {
		for r := range in.uses {
			if !r.sent {
				return fmt.Sprintf("control server %s does not take the registration of %s; see its log", server, addr)
			}
		}
	}
	return ""
}
