package grpcadapter

import (
	"bufio"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	pb "google.golang.org/grpc/interop/grpc_testing"

	"github.com/weftmesh/weft/mesh/internal/engine"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

// serveEnv makes the test binary a process of servers.
const (
	serveEnv     = "WEFT_GRPCADAPTER_SERVE"
	benchServers = 10
)

// serveForBenchmark runs servers with and without the mesh's options and prints
// their addresses, until its input ends.
func serveForBenchmark() {
	e := engine.New(engine.Config{Resolver: resolver.Static{}, Logger: slog.New(slog.DiscardHandler)})
	for _, opts := range [][]grpc.ServerOption{nil, ServerOptions(e)} {
		for range benchServers {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				panic(err)
			}
			s := grpc.NewServer(opts...)
			pb.RegisterTestServiceServer(s, &backend{})
			go func() { _ = s.Serve(l) }()
			fmt.Println(l.Addr())
		}
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// BenchmarkClientCPU measures what a call over ten backends costs the client's
// process, the servers being in another: the mesh at both ends over plain
// round_robin, in turns within one run. What counts is the ratio. On a machine that
// has other work, pin it to one processor.
func BenchmarkClientCPU(b *testing.B) {
	server := exec.CommandContext(b.Context(), os.Args[0])
	server.Env = append(os.Environ(), serveEnv+"=1")
	in, err := server.StdinPipe()
	if err != nil {
		b.Fatal(err)
	}
	out, err := server.StdoutPipe()
	if err != nil {
		b.Fatal(err)
	}
	if err := server.Start(); err != nil {
		b.Fatal(err)
	}
	defer func() {
		_ = in.Close()
		_ = server.Wait()
	}()
	var addrs []string
	for lines := bufio.NewScanner(out); len(addrs) < 2*benchServers && lines.Scan(); {
		addrs = append(addrs, strings.TrimSpace(lines.Text()))
	}
	if len(addrs) < 2*benchServers {
		b.Fatal("the servers did not start")
	}
	withoutMesh, withMesh := addrs[:benchServers], addrs[benchServers:]
	toPlain, toMesh := &moving{}, &moving{}
	toPlain.endpoints(resilience.Policy{}, withoutMesh...)
	toMesh.endpoints(resilience.Policy{}, withMesh...)
	sides := []struct {
		name string
		cc   *grpc.ClientConn
	}{
		{"plain", roundRobin(b, withoutMesh)},
		{"client", mesh(b, toPlain)},
		{"both", mesh(b, toMesh)},
		{"plain-static-windows", roundRobin(b, withMesh, grpc.WithStaticStreamWindowSize(streamWindow), grpc.WithStaticConnWindowSize(connWindow))},
	}
	for _, callers := range []int{1, 8} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			// Many short rounds, compared one by one: what else the machine does
			// comes and goes.
			const rounds = 41
			var base []float64
			ratios := make([][]float64, len(sides))
			for round := -1; round < rounds; round++ { // the first warms up
				spent := make([]float64, len(sides))
				for i := range sides {
					i = (i + round + 1) % len(sides)
					await(b, sides[i].cc, connectivity.Ready)
					spent[i] = float64(cpu(b, sides[i].cc, callers, max(b.N/rounds, 1)))
				}
				if round < 0 {
					continue
				}
				base = append(base, spent[0])
				for i := range sides {
					ratios[i] = append(ratios[i], spent[i]/spent[0])
				}
			}
			b.ReportMetric(median(base), "plain-cpu-ns/call")
			for i, s := range sides[1:] {
				b.ReportMetric(median(ratios[i+1]), s.name+"/plain")
			}
			b.ReportMetric(0, "ns/op")
		})
	}
}

// cpu is the processor time of this process for one of n calls.
func cpu(b *testing.B, cc *grpc.ClientConn, callers, n int) time.Duration {
	b.Helper()
	c := pb.NewTestServiceClient(cc)
	before := used(b)
	var running sync.WaitGroup
	for range callers {
		running.Go(func() {
			for range max(n/callers, 1) {
				if _, err := c.UnaryCall(b.Context(), &pb.SimpleRequest{}); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	running.Wait()
	return (used(b) - before) / time.Duration(max(n/callers, 1)*callers)
}

func used(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
