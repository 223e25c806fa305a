package identity

import (
	"crypto/tls"
	"io"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/weftmesh/weft/identity/identitytest"
)

// Whoever has the certificates that are valid now is let through while all that is changed, and no connection that stands is disturbed
// (reliability F22, F29).
func TestRotationUnderHandshakes(t *testing.T) {
	const rotations, callers = 200, 4
	ca := identitytest.New(t, "td")
	client, server := ca.Source("/ns/shop/sa/a"), ca.Source("/ns/shop/sa/b")
	demand := mutual(t, ClientTLS{SubjectAltNames: ExactNames("spiffe://td/ns/shop/sa/b")}, client)
	l := serve(t, (&ServerTLS{SubjectAltNames: ExactNames("spiffe://td/ns/shop/sa/a")}).Config(server, func() *Revoked { return &Revoked{Serials: []string{"1"}} }))

	stands, err := tls.Dial("tcp", l, demand)
	if err != nil {
		t.Fatal(err)
	}
	defer stands.Close()

	var calling sync.WaitGroup
	var mu sync.Mutex
	made, over, changed := make([]int, callers), false, sync.NewCond(&mu)
	for i := range callers {
		calling.Go(func() {
			for {
				err := call(l, demand)
				mu.Lock()
				if made[i]++; err != nil {
					t.Errorf("a call failed: %v", err)
					over = true
				}
				changed.Broadcast()
				if over {
					mu.Unlock()
					return
				}
				mu.Unlock()
			}
		})
	}
	// settle waits until everybody has ended the call that may have begun before what was changed, and made another.
	settle := func() {
		mu.Lock()
		defer mu.Unlock()
		from := slices.Clone(made)
		for i := range made {
			for !over && made[i] < from[i]+2 {
				changed.Wait()
			}
		}
	}
	for i := range rotations {
		switch i % 10 {
		case 3: // old -> old and new
			ca.Rotate()
			server.SetBundles(ca.Bundle())
			client.SetBundles(ca.Bundle())
		case 9: // -> new, once all have certificates of it
			settle()
			ca.Retire()
			client.SetBundles(ca.Bundle())
			server.SetBundles(ca.Bundle())
			settle()
		default:
			client.SetSVID(ca.Issue("/ns/shop/sa/a"))
			server.SetSVID(ca.Intermediate().Issue("/ns/shop/sa/b"))
		}
	}
	mu.Lock()
	over = true
	mu.Unlock()
	calling.Wait()
	if err := echo(stands); err != nil {
		t.Errorf("the connection that stood was disturbed: %v", err)
	}
	t.Logf("%d rotations, handshakes %v", rotations, made)

	// What is not believed any more is refused at the next handshake.
	before, err := client.GetX509SVID()
	if err != nil {
		t.Fatal(err)
	}
	ca.Rotate()
	ca.Retire()
	server.SetSVID(ca.Issue("/ns/shop/sa/b"))
	server.SetBundles(ca.Bundle())
	client.SetBundles(ca.Bundle())
	if err := call(l, demand); err == nil {
		t.Errorf("%v was believed by a root that was removed", before.ID)
	}
}

// serve echoes a byte at a time until the test ends.
func serve(t *testing.T, conf *tls.Config) (addr string) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", conf)
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		serving.Wait()
	})
	return l.Addr().String()
}

func call(addr string, conf *tls.Config) error {
	c, err := tls.DialWithDialer(&net.Dialer{Timeout: time.Minute}, "tcp", addr, conf)
	if err != nil {
		return err
	}
	defer c.Close()
	return echo(c)
}

func echo(c net.Conn) error {
	c.SetDeadline(time.Now().Add(time.Minute))
	if _, err := c.Write([]byte{1}); err != nil {
		return err
	}
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}
