package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/controlserver/web"
	"github.com/weftmesh/weft/resolver"
	"github.com/weftmesh/weft/resolver/xds"
)

// serving runs meshctl serve until the test ends, and returns the addresses it
// said it serves on and what it logged by then.
func serving(t *testing.T, args ...string) (xdsAddr, webAddr, said string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	logR, logW := io.Pipe()
	done := make(chan int, 1)
	go func() {
		defer logW.Close()
		done <- run(ctx, append([]string{"serve", "--listen", "127.0.0.1:0", "--web", "127.0.0.1:0"}, args...), io.Discard, logW)
	}()
	var read bytes.Buffer
	lines := bufio.NewScanner(io.TeeReader(logR, &read))
	for webAddr == "" || !strings.Contains(read.String(), "authenticated") {
		if !lines.Scan() {
			t.Fatalf("it ended: %s", &read)
		}
		if m := addresses.FindStringSubmatch(lines.Text()); m != nil {
			xdsAddr, webAddr = m[1], m[2]
		}
	}
	said = read.String()
	drained := make(chan struct{})
	go func() {
		defer close(drained)
		io.Copy(io.Discard, logR)
	}()
	t.Cleanup(func() {
		cancel()
		if code := <-done; code != 0 {
			t.Errorf("exit code %d", code)
		}
		<-drained
		http.DefaultClient.CloseIdleConnections()
	})
	return xdsAddr, webAddr, said
}

var addresses = regexp.MustCompile(`xds=(\S+) web=(\S+)`)

func TestServeSaysThatClientsAreNotAuthenticated(t *testing.T) {
	_, _, said := serving(t, "--config", "testdata/mesh")
	for line := range strings.Lines(said) {
		if strings.Contains(line, "level=WARN") && strings.Contains(line, "NOT authenticated") {
			return
		}
	}
	t.Errorf("no warning in %s", said)
}

func TestStatusShowsClientsAndFindings(t *testing.T) {
	xdsAddr, webAddr, _ := serving(t, "--config", "testdata/broken")
	boot, err := xds.BootstrapFor(xdsAddr)
	if err != nil {
		t.Fatal(err)
	}
	client, err := xds.New(xds.Config{Bootstrap: boot, Service: "orders.shop"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	client.Watch("payments", func(*resolver.Service, error) {})
	client.Serve("127.0.0.1:7001", func(*resolver.Inbound, error) {})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := client.Ready(ctx); err != nil {
		t.Fatal(err)
	}
	patterns := []string{
		`(?m)^configuration \d+, changed \d+s ago, serving on ` + regexp.QuoteMeta(xdsAddr) + `$`,
		`(?m)^error: testdata/broken/a.yaml:16: VirtualService/shop/payments: spec.http\[0\].timeout: `,
		`(?m)^warning: testdata/broken/a.yaml:35: DestinationRule/shop/ledger: spec.host: `,
		`(?m)^SERVICE +PORTS +ENDPOINTS$`,
		`(?m)^orders.shop.svc.cluster.local +80/any 7001/any +1 of 1 serve$`,
		`(?m)^payments.shop.svc.cluster.local +80/HTTP +1 of 1 serve$`,
		`(?m)^CLIENT +ADDRESS +PROTOCOL +LISTENERS +ROUTES +CLUSTERS +ENDPOINTS$`,
		`(?m)^orders.shop +127.0.0.1:\d+ +delta +2 +1 +\d +\d$`,
	}
	var out string
	for ctx.Err() == nil { // acknowledgements are on their way
		var code int
		var stderr string
		if code, out, stderr = ctl(t, "status", "--server", webAddr); code != 0 {
			t.Fatalf("exit code %d: %s", code, stderr)
		}
		if matchAll(out, patterns) == "" {
			break
		}
	}
	if missing := matchAll(out, patterns); missing != "" {
		t.Errorf("no line like %s in\n%s", missing, out)
	}
	code, out, _ := ctl(t, "status", "--json", "--server", "http://"+webAddr+"/")
	var s web.Status
	if err := json.Unmarshal([]byte(out), &s); code != 0 || err != nil || len(s.Clients) != 1 {
		t.Errorf("exit code %d, %v: %s", code, err, out)
	}
}

func matchAll(text string, patterns []string) (missing string) {
	for _, p := range patterns {
		if !regexp.MustCompile(p).MatchString(text) {
			return p
		}
	}
	return ""
}

// What a person sees when clients refuse something; nothing refuses what this
// server makes, so it is written down.
func TestStatusShowsRefusals(t *testing.T) {
	var b bytes.Buffer
	show(&b, web.Status{Clients: []web.Client{
		{ID: "a~1", Service: "orders", Namespace: "shop", Peer: "10.0.0.1:1", Protocol: "delta", Resources: []web.Resource{
			{Type: "Listener", Subscribed: 2, Sent: "3", Acked: "3"},
			{Type: "Cluster", Subscribed: 1, Sent: "3", Acked: "2"},
			{Type: "RouteConfiguration", Subscribed: 1, Sent: "3", Acked: "2", Refused: "outbound|80||x: bad regex"},
		}},
		{ID: "sidecar~10.0.0.2~x.y~y.svc.cluster.local", Peer: "10.0.0.2:1", Protocol: "sotw"},
	}})
	patterns := []string{
		`(?m)^orders.shop +10.0.0.1:1 +delta +2 +REFUSED +1 \(not yet taken\) +-$`,
		`(?m)^sidecar~10.0.0.2~x.y~y.svc.cluster.local +10.0.0.2:1 +sotw +- +- +- +-$`,
		`(?m)^a~1 refused RouteConfiguration outbound\|80\|\|x: bad regex$`,
	}
	if missing := matchAll(b.String(), patterns); missing != "" {
		t.Errorf("no line like %s in\n%s", missing, &b)
	}
}

func TestServeWithoutAStatusPage(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if code := run(ctx, []string{"serve", "--config", "testdata/mesh", "--listen", "127.0.0.1:0", "--web", ""}, os.Stdout, io.Discard); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestServeSaysNoPassword(t *testing.T) {
	t.Setenv(storeVariable, "redis://:hush/hush@127.0.0.1:1")
	code, out, stderr := ctl(t, "serve", "--config", "testdata/mesh", "--listen", "127.0.0.1:0", "--web", "")
	if code == 0 || !strings.Contains(stderr, "rate limit store: it is not an address") || strings.Contains(out+stderr, "hush") {
		t.Errorf("a store that is no address: exit code %d: %s%s", code, out, stderr)
	}
	_, out, stderr = ctl(t, "serve", "--help")
	if !strings.Contains(out, storeVariable) || strings.Contains(out+stderr, "hush") {
		t.Errorf("help: %s%s", out, stderr)
	}
	t.Setenv(storeVariable, "redis://:hushhush@127.0.0.1:1") // nobody listens there
	_, _, said := serving(t, "--config", "testdata/mesh")
	if !strings.Contains(said, "127.0.0.1:1: ") || strings.Contains(said, "hush") {
		t.Errorf("a store that is away: %s", said)
	}
}
