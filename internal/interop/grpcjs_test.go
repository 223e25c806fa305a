package interop

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A node is a process that calls with gRPC's xDS client for Node.
type node struct {
	in  io.WriteCloser
	out *bufio.Reader
}

// startNode starts a client of the target, which runs until the test ends.
func startNode(t *testing.T, c *control, id, target string) *node {
	t.Helper()
	modules := filepath.Join(peer(t, "WEFT_GRPC_JS", "@grpc/grpc-js and @grpc/grpc-js-xds"), "node_modules")
	ctx, kill := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, "node", "testdata/grpcjs/client.js", target)
	cmd.Env = append(os.Environ(), "NODE_PATH="+modules, "GRPC_XDS_BOOTSTRAP_CONFIG="+bootstrap(c.server.Addr(), id))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close() // its loop ends, and so does it
		if t.Failed() {
			kill()
		}
		err := cmd.Wait()
		kill()
		if err != nil || stderr.Len() > 0 {
			t.Errorf("node: %v\n%s", err, stderr.String())
		}
	})
	return &node{in, bufio.NewReader(out)}
}

// many makes n calls of the request, which must all be answered, and counts who did.
func (n *node) many(calls int, r request) (map[string]int, error) {
	line, err := json.Marshal(map[string]any{"calls": calls, "path": cmp.Or(r.path, "/shop.Payments/Charge"), "header": r.header})
	if err != nil {
		return nil, err
	}
	if _, err := fmt.Fprintf(n.in, "%s\n", line); err != nil {
		return nil, err
	}
	answer, err := n.out.ReadBytes('\n')
	if err != nil {
		return nil, err
	}
	var result struct {
		Answers map[string]int
		Errors  map[string]int
	}
	if err := json.Unmarshal(answer, &result); err != nil {
		return nil, fmt.Errorf("%s: %w", answer, err)
	}
	if len(result.Errors) > 0 {
		return nil, fmt.Errorf("%v", result.Errors)
	}
	return result.Answers, nil
}

// door sends one request at a time.
func (n *node) door(_ context.Context, r request) (string, error) {
	answers, err := n.many(1, r)
	for who := range answers {
		return who, err
	}
	return "", err
}

func TestGRPCJSFollowsOurControlServer(t *testing.T) {
	t.Parallel()
	c, _ := startShop(t, "canary.yaml")
	n := startNode(t, c, "grpc-js", "xds:///payments:9000")
	for _, tc := range []struct {
		calls   int
		request request
		want    map[string]int
	}{
		{1000, request{}, map[string]int{"v1": 80, "v2": 20}},
		{50, request{header: map[string]string{"x-tester": "yes"}}, map[string]int{"v2": 100}},
	} {
		counts, err := n.many(tc.calls, tc.request)
		if err != nil {
			t.Fatalf("%+v: %v", tc.request, err)
		}
		checkSplit(t, counts, tc.want)
	}
	c.put(t, "payments.yaml", strings.NewReplacer("weight: 80", "weight: 0", "weight: 20", "weight: 100").Replace(read(t, "canary.yaml")))
	door(n.door).settles(t, request{}, "v2")
	c.content(t, "grpc-js")
}

func TestGRPCJSTakesWhateverIstioCanSay(t *testing.T) {
	t.Parallel()
	c, _ := startShop(t, "tricky.yaml")
	call := door(startNode(t, c, "grpc-js", "xds:///payments:9000").door)
	for _, tc := range trickyCases {
		if got := call.one(t, tc.request); got != tc.want {
			t.Errorf("%+v is answered by %s, want %s", tc.request, got, tc.want)
		}
	}
	c.content(t, "grpc-js")
}
