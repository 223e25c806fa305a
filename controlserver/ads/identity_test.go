package ads

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestClientsWithoutProofAreRefused(t *testing.T) {
	refusal := status.Error(codes.Unauthenticated, "who are you?")
	cfg := Config{Identify: func(context.Context) (Identity, error) { return Identity{}, refusal }}
	in(t, cfg, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "RDS r=1"))
		for _, p := range []Protocol{Delta, StateOfTheWorld} {
			c := k.connect(p)
			if err := c.failure(); status.Code(err) != codes.Unauthenticated {
				t.Errorf("%v: %v", p, err)
			}
		}
	})
}

func TestNodesAreWhoTheyProvedToBe(t *testing.T) {
	cfg := Config{
		Identify: func(context.Context) (Identity, error) { return Identity{ID: "spiffe://td/ns/a/sa/b"}, nil },
		Admit: func(n *Node) error {
			if n.Identity != "spiffe://td/ns/a/sa/b" || n.ID != node.Id {
				return nil
			}
			return status.Error(codes.PermissionDenied, "not yours")
		},
	}
	in(t, cfg, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "RDS r=1"))
		for _, p := range []Protocol{Delta, StateOfTheWorld} {
			c := k.connect(p)
			c.ask("RDS", "r")
			if err := c.failure(); status.Code(err) != codes.PermissionDenied {
				t.Errorf("%v: %v", p, err)
			}
		}
	})
}

func TestAStreamEndsWithItsProof(t *testing.T) {
	in(t, Config{Identify: func(context.Context) (Identity, error) {
		return Identity{ID: "spiffe://td/ns/a/sa/b", Until: time.Now().Add(time.Hour)}, nil
	}}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "RDS r=1"))
		c := k.connect(Delta)
		c.ask("RDS", "r")
		c.expect("RDS +r=1")
		time.Sleep(time.Hour - time.Second)
		synctest.Wait()
		if got := k.server.Status(); len(got) != 1 {
			t.Fatalf("%d streams before the certificate ends", len(got))
		}
		time.Sleep(2 * time.Second)
		if err := c.failure(); status.Code(err) != codes.Unauthenticated {
			t.Error(err)
		}
	})
}

func TestEvicted(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "RDS r=1"))
		c := k.connect(Delta)
		c.ask("RDS", "r")
		c.expect("RDS +r=1")
		why := status.Error(codes.PermissionDenied, "revoked")
		if n := k.server.Evict(func(*Node) bool { return false }, why); n != 0 {
			t.Errorf("%d evicted, whom nobody named", n)
		}
		if n := k.server.Evict(func(n *Node) bool { return n.ID == node.Id }, why); n != 1 {
			t.Errorf("%d evicted", n)
		}
		if err := c.failure(); status.Code(err) != codes.PermissionDenied {
			t.Error(err)
		}
	})
}
