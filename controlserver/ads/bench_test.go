package ads

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/proto"
)

// BenchmarkPush changes one endpoint of 100 clusters of ten under N streams, each on
// a connection of its own over loopback, that subscribe to the clusters and
// endpoints by name. An iteration is one publication that every client has
// acknowledged. The clients are a process of their own, so CPU and heap are the
// server's. "floor" sends one message made beforehand and keeps nothing.
func BenchmarkPush(b *testing.B) {
	for _, n := range []int{100, 1000} {
		for _, p := range []Protocol{Delta, StateOfTheWorld} {
			b.Run(fmt.Sprintf("%v/streams=%d", p, n), func(b *testing.B) { benchPush(b, p, n) })
		}
		b.Run(fmt.Sprintf("floor/streams=%d", n), func(b *testing.B) { benchFloor(b, n) })
	}
}

const benchClusters = 100

func benchName(i int) string {
	return fmt.Sprintf("outbound|8080||service-%03d.shop.svc.cluster.local", i)
}

func benchPush(b *testing.B, p Protocol, n int) {
	s := New(Config{Logger: slog.New(slog.DiscardHandler)})
	addr := benchServe(b, s.Register, func() { _ = s.Close() })
	all := make([]*Resource, 0, 2*benchClusters)
	for i := range benchClusters {
		all = append(all, benchResource(b, benchName(i), &clusterv3.Cluster{Name: benchName(i)}), benchEndpoints(b, benchName(i), 0))
	}
	publish := func(i int) {
		set := NewSet(fmt.Sprint(i), append(slices.Clip(all), benchEndpoints(b, benchName(0), i))...)
		s.Publish(func(*Node) Snapshot { return set })
	}
	settled := func(ready func(ClientStatus) bool) {
		for {
			if err := s.Settled(b.Context()); err != nil {
				b.Fatal(err)
			}
			all := s.Status()
			if len(all) == n && !slices.ContainsFunc(all, func(c ClientStatus) bool { return !ready(c) }) {
				return
			}
			runtime.Gosched()
		}
	}
	publish(1)
	heap := heapNow()
	benchClients(b, p, n, addr)
	settled(func(c ClientStatus) bool { return c.Settled && len(c.Types) == 2 })
	held := heapNow() - heap

	cpu, i := cpuNow(), 1
	b.ReportAllocs()
	for b.Loop() {
		i++
		publish(i)
		if err := s.Settled(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(cpuNow()-cpu)/1e3/float64(b.N)/float64(n), "cpu-µs/push/stream")
	b.ReportMetric(float64(held)/1024/float64(n), "heap-KiB/stream")
}

func benchFloor(b *testing.B, n int) {
	f := &floor{wake: map[chan struct{}]bool{}}
	addr := benchServe(b, func(r grpc.ServiceRegistrar) { discoveryv3.RegisterAggregatedDiscoveryServiceServer(r, f) }, func() {})
	heap := heapNow()
	f.acks.Add(n)
	benchClients(b, Delta, n, addr)
	f.acks.Wait()
	held := heapNow() - heap
	r := &response{kind: endpoints, version: "1", sent: []*Resource{benchEndpoints(b, benchName(0), 1)}}
	cpu := cpuNow()
	b.ReportAllocs()
	for b.Loop() {
		f.acks.Add(n)
		f.push(r)
		f.acks.Wait()
	}
	b.ReportMetric(float64(cpuNow()-cpu)/1e3/float64(b.N)/float64(n), "cpu-µs/push/stream")
	b.ReportMetric(float64(held)/1024/float64(n), "heap-KiB/stream")
}

// A floor sends what it is told, keeps nothing, and only counts the answers.
type floor struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	acks sync.WaitGroup

	mu   sync.Mutex
	wake map[chan struct{}]bool
	next *response
}

func (f *floor) push(r *response) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = r
	for c := range f.wake {
		c <- struct{}{}
	}
}

func (f *floor) DeltaAggregatedResources(g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	c := make(chan struct{}, 1)
	f.mu.Lock()
	f.wake[c] = true
	f.mu.Unlock()
	go func() {
		for {
			r, err := g.Recv()
			if err != nil {
				return
			}
			if r.GetResponseNonce() != "" {
				f.acks.Done()
			}
		}
	}()
	send := func(r *response) error {
		m, err := newFrame(r, "1")
		if err != nil {
			return err
		}
		return g.SendMsg(m)
	}
	if err := send(&response{kind: clusters}); err != nil {
		return err
	}
	for {
		select {
		case <-c:
			if err := send(f.next); err != nil {
				return err
			}
		case <-g.Context().Done():
			return nil
		}
	}
}

func benchServe(b *testing.B, register func(grpc.ServiceRegistrar), stop func()) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	g := grpc.NewServer(ServerOptions(Limits{})...)
	register(g)
	done := make(chan error, 1)
	go func() { done <- g.Serve(l) }()
	b.Cleanup(func() { stop(); g.Stop(); <-done })
	return l.Addr().String()
}

const benchEnv = "WEFT_ADS_BENCH_CLIENTS" // "ADDR PROTOCOL N"

// benchClients starts a process of n clients.
func benchClients(b *testing.B, p Protocol, n int, addr string) {
	cmd := exec.Command(os.Args[0], "-test.run=^TestBenchClients$")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%s %d %d", benchEnv, addr, p, n))
	in, err := cmd.StdinPipe() // the process lives until it is closed
	if err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = in.Close(); _ = cmd.Wait() })
}

// TestBenchClients is the clients of the benchmark: they acknowledge everything
// without decoding the resources.
func TestBenchClients(t *testing.T) {
	var addr string
	var p Protocol
	var n int
	if _, err := fmt.Sscan(os.Getenv(benchEnv), &addr, &p, &n); err != nil {
		return // it is a test only when BenchmarkPush starts it
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	for i := range n {
		running.Go(func() { benchClient(ctx, t, addr, p, i) })
	}
	_, _ = io.Copy(io.Discard, os.Stdin)
	cancel()
	running.Wait()
}

func benchClient(ctx context.Context, t *testing.T, addr string, p Protocol, i int) {
	conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithStaticStreamWindowSize(1<<20), grpc.WithStaticConnWindowSize(1<<20), grpc.WithReadBufferSize(4<<10))
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = conn.Close() }()
	api := discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
	node := &corev3.Node{Id: fmt.Sprintf("sidecar~10.0.0.1~n%d.shop~shop.svc.cluster.local", i)}
	var names []string
	for i := range benchClusters {
		names = append(names, benchName(i))
	}
	if p == Delta {
		st, err := api.DeltaAggregatedResources(ctx)
		if err != nil {
			t.Error(err)
			return
		}
		for _, url := range []string{ClusterType, EndpointType} {
			_ = st.Send(&discoveryv3.DeltaDiscoveryRequest{Node: node, TypeUrl: url, ResourceNamesSubscribe: names})
		}
		for {
			r, err := st.Recv()
			if err != nil {
				return
			}
			_ = st.Send(&discoveryv3.DeltaDiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce()})
		}
	}
	st, err := api.StreamAggregatedResources(ctx)
	if err != nil {
		t.Error(err)
		return
	}
	for _, url := range []string{ClusterType, EndpointType} {
		_ = st.Send(&discoveryv3.DiscoveryRequest{Node: node, TypeUrl: url, ResourceNames: names})
	}
	for {
		r, err := st.Recv()
		if err != nil {
			return
		}
		_ = st.Send(&discoveryv3.DiscoveryRequest{TypeUrl: r.GetTypeUrl(), ResponseNonce: r.GetNonce(), VersionInfo: r.GetVersionInfo(), ResourceNames: names})
	}
}

func benchResource(b *testing.B, name string, m proto.Message) *Resource {
	r, err := NewResource(name, m)
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// benchEndpoints makes an assignment of ten endpoints, of which one depends on i.
func benchEndpoints(b *testing.B, name string, i int) *Resource {
	g := &endpointv3.LocalityLbEndpoints{}
	for j := range 10 {
		port := uint32(8080)
		if j == 0 {
			port += uint32(i % 1000)
		}
		g.LbEndpoints = append(g.LbEndpoints, &endpointv3.LbEndpoint{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{
			Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: fmt.Sprintf("10.0.0.%d", j), PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: port}}}}}}})
	}
	return benchResource(b, name, &endpointv3.ClusterLoadAssignment{ClusterName: name, Endpoints: []*endpointv3.LocalityLbEndpoints{g}})
}

func cpuNow() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func heapNow() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc + m.StackInuse
}
