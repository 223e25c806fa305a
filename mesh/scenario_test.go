package mesh_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"math"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/weftmesh/weft/mesh"
	"github.com/weftmesh/weft/mesh/meshtest"
)

var update = flag.Bool("update", false, "rewrite the expected lines of scenarios")

// TestScenarios plays each file of testdata/scenarios over HTTP and over gRPC:
// the same policy must mean the same. A file is an archive of
//
//	*.yaml       configurations
//	script       commands, each followed by the lines it must print, indented by a tab
//
// The commands:
//
//	apply FILE...                        makes the files the whole configuration
//	backend NAME SERVICE [label=value]   starts an instance that answers with its name
//	stop NAME                            shuts an instance down in good order
//	fail NAME CODE                       makes an instance answer with an HTTP status (gRPC: UNAVAILABLE); 200 heals it
//	slow NAME DURATION                   makes an instance wait before it answers
//	hold NAME                            makes an instance keep its calls waiting
//	release NAME                         lets them go, and all that come
//	begin NAME SERVICE PATH N            begins N calls, which reach the instance that holds them
//	end                                  prints who answered the calls that were begun
//	warm SERVICE PATH NAME...            calls until each of these has answered: connections are made
//	call SERVICE PATH N [name=value]     calls N times with these headers and prints who answered
//	share SERVICE PATH N [name=value]    the same, as shares rounded to tens of percent
func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatal("no scenarios", err)
	}
	for _, file := range files {
		archive, err := txtar.ParseFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, protocol := range []string{"http", "grpc"} {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar")+"/"+protocol, func(t *testing.T) {
				s := &stage{t: t, archive: archive, protocol: protocol, backends: map[string]*backend{}}
				s.play(file)
			})
		}
	}
}

// A stage is one playing of a scenario.
type stage struct {
	t        *testing.T
	archive  *txtar.Archive
	protocol string
	kit      *meshtest.Kit
	client   *mesh.Mesh
	backends map[string]*backend
	conns    map[string]*grpc.ClientConn
	begun    []chan string // who answers each
}

func (s *stage) play(file string) {
	s.kit = meshtest.New(s.t)
	s.client = s.kit.Mesh(mesh.WithService("caller", map[string]string{"app": "caller"}), mesh.WithOutbound(mesh.RegistryOnly))
	s.conns = map[string]*grpc.ClientConn{}
	s.t.Cleanup(func() {
		for _, c := range s.conns {
			c.Close()
		}
	})
	script := s.file("script")
	var got strings.Builder
	for line := range strings.Lines(string(script.Data)) {
		switch {
		case strings.HasPrefix(line, "\t"): // what a command must print
		case strings.TrimSpace(line) == "" || strings.HasPrefix(line, "#"):
			got.WriteString(line)
		default:
			got.WriteString(line)
			for out := range strings.Lines(s.command(strings.Fields(line))) {
				got.WriteString("\t" + strings.TrimRight(out, "\n") + "\n")
			}
		}
	}
	if got.String() == string(script.Data) {
		return
	}
	if *update {
		script.Data = []byte(got.String())
		if err := os.WriteFile(file, txtar.Format(s.archive), 0o644); err != nil {
			s.t.Fatal(err)
		}
		return
	}
	s.t.Errorf("%s says\n%s\nbut over %s it is\n%s", file, script.Data, s.protocol, got.String())
}

func (s *stage) file(name string) *txtar.File {
	for i := range s.archive.Files {
		if s.archive.Files[i].Name == name {
			return &s.archive.Files[i]
		}
	}
	s.t.Fatalf("no file %q", name)
	return nil
}

func (s *stage) command(words []string) string {
	s.t.Helper()
	switch verb, args := words[0], words[1:]; {
	case verb == "apply":
		var docs []string
		for _, name := range args {
			docs = append(docs, string(s.file(name).Data))
		}
		s.kit.Apply(strings.Join(docs, "\n---\n"))
	case verb == "backend" && len(args) >= 2:
		s.backend(args[0], args[1], pairs(args[2:]))
	case verb == "stop" && len(args) == 1:
		s.backends[args[0]].stop()
	case verb == "fail" && len(args) == 2:
		code, err := strconv.Atoi(args[1])
		if err != nil {
			s.t.Fatal(err)
		}
		s.backends[args[0]].code.Store(int64(code))
	case verb == "slow" && len(args) == 2:
		d, err := time.ParseDuration(args[1])
		if err != nil {
			s.t.Fatal(err)
		}
		s.backends[args[0]].delay.Store(int64(d))
	case verb == "hold" && len(args) == 1:
		s.backends[args[0]].hold()
	case verb == "release" && len(args) == 1:
		s.backends[args[0]].release()
	case verb == "begin" && len(args) == 4:
		s.begin(s.backends[args[0]], args[1], args[2], args[3])
	case verb == "end" && len(args) == 0:
		counts, n := map[string]int{}, len(s.begun)
		for _, who := range s.begun {
			counts[<-who]++
		}
		s.begun = nil
		return lines(counts, n, false)
	case verb == "warm" && len(args) >= 3:
		waiting := args[2:]
		for range 5000 {
			who := s.call(args[0], args[1], nil)
			if waiting = slices.DeleteFunc(waiting, func(n string) bool { return n == who }); len(waiting) == 0 {
				return ""
			}
		}
		s.t.Errorf("%q never answered", waiting)
	case (verb == "call" || verb == "share") && len(args) >= 3:
		n, err := strconv.Atoi(args[2])
		if err != nil {
			s.t.Fatal(err)
		}
		counts := map[string]int{}
		for range n {
			counts[s.call(args[0], args[1], pairs(args[3:]))]++
		}
		return lines(counts, n, verb == "share")
	default:
		s.t.Fatalf("no such command: %q", words)
	}
	return ""
}

// begin begins calls and waits until b has them.
func (s *stage) begin(b *backend, service, path, count string) {
	n, err := strconv.Atoi(count)
	if err != nil {
		s.t.Fatal(err)
	}
	for range n {
		who := make(chan string, 1)
		s.begun = append(s.begun, who)
		go func() { who <- s.call(service, path, nil) }()
		select {
		case <-b.came:
		case done := <-who:
			s.t.Fatalf("a call that was to be held ended: %s", done)
		}
	}
}

func pairs(words []string) map[string]string {
	out := map[string]string{}
	for _, w := range words {
		k, v, _ := strings.Cut(w, "=")
		out[k] = v
	}
	return out
}

func lines(counts map[string]int, n int, share bool) string {
	var b strings.Builder
	for _, who := range slices.Sorted(maps.Keys(counts)) {
		if share {
			fmt.Fprintf(&b, "%s %d%%\n", who, int(math.Round(float64(counts[who])*10/float64(n)))*10)
		} else {
			fmt.Fprintf(&b, "%s %d\n", who, counts[who])
		}
	}
	return b.String()
}

// call makes one call and says who answered it, or why nobody did.
func (s *stage) call(service, path string, headers map[string]string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	var who string
	var err error
	if s.protocol == "grpc" {
		who, err = s.callGRPC(ctx, service, path, headers)
	} else {
		who, err = s.callHTTP(ctx, service, path, headers)
	}
	var e *mesh.Error
	switch {
	case errors.As(err, &e):
		return "mesh: " + e.Kind.String()
	case err != nil:
		return err.Error()
	}
	return who
}

func (s *stage) callHTTP(ctx context.Context, service, path string, headers map[string]string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+service+path, nil)
	if err != nil {
		return "", err
	}
	for k, v := range headers {
		req.Header.Set(k, v)
	}
	resp, err := (&http.Client{Transport: s.client.RoundTripper()}).Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if resp.StatusCode >= 500 {
		return "unavailable", err
	}
	return string(body), err
}

func (s *stage) callGRPC(ctx context.Context, service, path string, headers map[string]string) (string, error) {
	conn := s.conns[service]
	if conn == nil {
		var err error
		if conn, err = grpc.NewClient("mesh:///"+service, s.client.DialOptions()...); err != nil {
			return "", err
		}
		s.conns[service] = conn
	}
	for k, v := range headers {
		ctx = metadata.AppendToOutgoingContext(ctx, k, v)
	}
	var reply wrapperspb.StringValue
	err := conn.Invoke(ctx, path, &emptypb.Empty{}, &reply)
	var e *mesh.Error
	if err != nil && !errors.As(err, &e) && status.Code(err) == codes.Unavailable {
		return "unavailable", nil
	}
	return reply.GetValue(), err
}
