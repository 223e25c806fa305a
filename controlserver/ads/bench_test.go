package ads

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
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
// acknowledged. Clients are in the same process, so CPU is that of both ends;
// "floor" sends one message made beforehand to the same clients.
func BenchmarkPush(b *testing.B) {
	for _, n := range []int{100, 1000} {
		for _, p := range []Protocol{Delta, StateOfTheWorld} {
			b.Run(fmt.Sprintf("%v/streams=%d", p, n), func(b *testing.B) { benchPush(b, p, n) })
		}
		b.Run(fmt.Sprintf("floor/streams=%d", n), func(b *testing.B) { benchFloor(b, n) })
	}
}

func benchPush(b *testing.B, p Protocol, n int) {
	const count = 100
	s := New(Config{Logger: slog.New(slog.DiscardHandler)})
	addr := benchServe(b, s.Register, func() { _ = s.Close() })
	all := make([]*Resource, 0, 2*count)
	var names []string
	for i := range count {
		name := fmt.Sprintf("outbound|8080||service-%03d.shop.svc.cluster.local", i)
		names = append(names, name)
		all = append(all, benchResource(b, name, &clusterv3.Cluster{Name: name}), benchEndpoints(b, name, 0))
	}
	publish := func(i int) {
		set := NewSet(fmt.Sprint(i), append(all[:len(all):len(all)], benchEndpoints(b, names[i%count], i))...)
		s.Publish(func(*Node) Snapshot { return set })
	}
	publish(1)
	settled := func() {
		if err := s.Settled(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	heap := heapNow()
	var got sync.WaitGroup
	got.Add(2 * n)
	benchClients(b, p, n, addr, names, &got)
	got.Wait()
	settled()
	held := heapNow() - heap

	cpu, i := cpuNow(), 1
	b.ReportAllocs()
	for b.Loop() {
		i += count // always the same cluster, so that each push changes one resource
		got.Add(n)
		publish(i)
		got.Wait()
		settled()
	}
	b.ReportMetric(float64(cpuNow()-cpu)/1e3/float64(b.N)/float64(n), "cpu-µs/push/stream")
	b.ReportMetric(float64(held)/1024/float64(n), "heap-KiB/stream")
}

func benchFloor(b *testing.B, n int) {
	f := &floor{wake: map[chan []byte]bool{}}
	addr := benchServe(b, func(r grpc.ServiceRegistrar) { discoveryv3.RegisterAggregatedDiscoveryServiceServer(r, f) }, func() {})
	var got sync.WaitGroup
	got.Add(2 * n)
	heap := heapNow()
	benchClients(b, Delta, n, addr, []string{"a"}, &got)
	got.Wait()
	held := heapNow() - heap
	r := &response{kind: endpoints, version: "1", sent: []*Resource{benchEndpoints(b, "outbound|8080||service-000.shop.svc.cluster.local", 1)}}
	cpu := cpuNow()
	b.ReportAllocs()
	for b.Loop() {
		got.Add(n)
		f.push(r)
		got.Wait()
	}
	b.ReportMetric(float64(cpuNow()-cpu)/1e3/float64(b.N)/float64(n), "cpu-µs/push/stream")
	b.ReportMetric(float64(held)/1024/float64(n), "heap-KiB/stream")
}

// A floor sends what it is told, keeps nothing, and ignores what it is told.
type floor struct {
	discoveryv3.UnimplementedAggregatedDiscoveryServiceServer
	mu   sync.Mutex
	wake map[chan []byte]bool
	next *response
}

func (f *floor) push(r *response) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.next = r
	for c := range f.wake {
		c <- nil
	}
}

func (f *floor) DeltaAggregatedResources(g discoveryv3.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	c := make(chan []byte, 1)
	f.mu.Lock()
	f.wake[c] = true
	f.mu.Unlock()
	go func() {
		for {
			if _, err := g.Recv(); err != nil {
				return
			}
		}
	}()
	for range 2 {
		m, err := newFrame(&response{kind: clusters}, "0")
		if err != nil {
			return err
		}
		if err := g.SendMsg(m); err != nil {
			return err
		}
	}
	for {
		select {
		case <-c:
			m, err := newFrame(f.next, "1")
			if err != nil {
				return err
			}
			if err := g.SendMsg(m); err != nil {
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

// benchClients connects n clients that acknowledge everything without decoding
// the resources, and count each response down on got.
func benchClients(b *testing.B, p Protocol, n int, addr string, names []string, got *sync.WaitGroup) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	b.Cleanup(func() { cancel(); running.Wait() })
	for i := range n {
		conn, err := grpc.NewClient(addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithStaticStreamWindowSize(1<<20), grpc.WithStaticConnWindowSize(1<<20), grpc.WithSharedWriteBuffer(true), grpc.WithReadBufferSize(4<<10))
		if err != nil {
			b.Fatal(err)
		}
		node := &corev3.Node{Id: fmt.Sprintf("sidecar~10.0.0.1~n%d.shop~shop.svc.cluster.local", i)}
		api := discoveryv3.NewAggregatedDiscoveryServiceClient(conn)
		running.Go(func() {
			defer func() { _ = conn.Close() }()
			if p == Delta {
				benchDelta(ctx, b, api, node, names, got)
			} else {
				benchSotw(ctx, b, api, node, names, got)
			}
		})
	}
}

func benchDelta(ctx context.Context, b *testing.B, api discoveryv3.AggregatedDiscoveryServiceClient, node *corev3.Node, names []string, got *sync.WaitGroup) {
	st, err := api.DeltaAggregatedResources(ctx)
	if err != nil {
		b.Error(err)
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
		got.Done()
	}
}

func benchSotw(ctx context.Context, b *testing.B, api discoveryv3.AggregatedDiscoveryServiceClient, node *corev3.Node, names []string, got *sync.WaitGroup) {
	st, err := api.StreamAggregatedResources(ctx)
	if err != nil {
		b.Error(err)
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
		got.Done()
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
