package main

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"time"

	"github.com/weftmesh/weft/controlserver/ca"
	"github.com/weftmesh/weft/examples/stage"
)

// apply puts a file of steps/ into the configuration.
func (d *director) apply(step, as string) func(context.Context) error {
	return func(context.Context) error {
		text, err := steps.ReadFile("steps/" + step)
		if err != nil {
			return err
		}
		return stage.Save(filepath.Join(d.dir, as), text)
	}
}

// permit lets members speak mutual TLS. What lasts long they have to begin anew, as a stream stays on the connection on
// which it began.
func (d *director) permit(ctx context.Context) error {
	members := []string{"branch", "audit"}
	if err := d.reach(ctx, "permissive.yaml", func(s span) string { return s.encrypted("PERMISSIVE", members...) }); err != nil {
		return err
	}
	for _, name := range members {
		if err := d.Tell(name, "again"); err != nil {
			return err
		}
	}
	return nil
}

// reach takes a step of how servers are called, and waits until nothing is missing.
func (d *director) reach(ctx context.Context, step string, missing func(span) string) error {
	if err := d.apply(step, "peers.yaml")(ctx); err != nil {
		return err
	}
	_, err := d.until(ctx, missing)
	return err
}

// back goes from STRICT to plaintext by the way it came.
func (d *director) back(ctx context.Context) error {
	if err := d.reach(ctx, "permissive.yaml", func(s span) string { return s.encrypted("PERMISSIVE", everybody...) }); err != nil {
		return err
	}
	return d.apply("disable.yaml", "peers.yaml")(ctx)
}

// forth goes to STRICT once more.
func (d *director) forth(ctx context.Context) error {
	if err := d.reach(ctx, "permissive.yaml", func(s span) string { return s.encrypted("PERMISSIVE", everybody...) }); err != nil {
		return err
	}
	return d.apply("strict.yaml", "peers.yaml")(ctx)
}

// replaceTill lets the old till finish its calls, and starts another one that has an identity.
func (d *director) replaceTill(ctx context.Context) error {
	was, err := d.look(ctx)
	if err != nil {
		return err
	}
	if err := d.Tell("old-till", "hush"); err != nil {
		return err
	}
	s, err := d.until(ctx, func(s span) string {
		if !s.now.callers["old-till"].Silent {
			return "the old till still calls"
		}
		return ""
	})
	if err != nil {
		return err
	}
	a, b := was.callers["old-till"], s.now.callers["old-till"]
	if b.HTTP.Failed > a.HTTP.Failed || b.GRPC.Failed > a.GRPC.Failed {
		return fmt.Errorf("calls of the old till failed as it ended: %s", b.Error)
	}
	d.Kill("old-till")
	d.names = slices.DeleteFunc(d.names, func(name string) bool { return name == "old-till" })
	return d.begin(ctx, "member", "till")
}

// knock has those come who do not belong to the bank.
func (d *director) knock(ctx context.Context) error {
	if err := d.begin(ctx, "plain", "stranger"); err != nil {
		return err
	}
	return d.begin(ctx, "impostor", "impostor")
}

// rotateWhenDue takes a step as soon as the authority does not say that it would break something.
func (d *director) rotateWhenDue(step ca.Step) func(context.Context) error {
	return func(ctx context.Context) error {
		due, err := d.due()
		if err != nil {
			return err
		}
		d.Say("   it may be done in %.0f s", max(0, time.Until(due).Seconds()))
		if err := d.watch(ctx, time.Until(due)); err != nil {
			return err
		}
		return d.rotate(step)
	}
}
