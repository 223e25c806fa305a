package xds

import (
	"crypto/rand"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// userAgent is the name by which control servers know this client.
const userAgent = "weft"

// clientFeatures are what control servers may rely on (gRFC A27, Envoy client features).
var clientFeatures = []string{"envoy.lb.does_not_support_overprovisioning", "xds.config.resource-in-sotw"}

// newNode describes this process the way Istio expects it of a proxyless client;
// what the bootstrap says wins, key by key in the metadata.
func newNode(config Config, from *corev3.Node) *corev3.Node {
	service, namespace, _ := strings.Cut(config.Service, ".")
	namespace, _, _ = strings.Cut(namespace, ".")
	if namespace == "" {
		namespace = "default"
	}
	name := service
	if name == "" {
		name = filepath.Base(os.Args[0])
	}
	ip := ownIP()
	labels := make(map[string]*structpb.Value, len(config.Labels))
	for k, v := range config.Labels {
		labels[k] = structpb.NewStringValue(v)
	}
	metadata := map[string]*structpb.Value{
		"NAMESPACE":       structpb.NewStringValue(namespace),
		"LABELS":          structpb.NewStructValue(&structpb.Struct{Fields: labels}),
		"SERVICE_ACCOUNT": structpb.NewStringValue("default"),
		"CLUSTER_ID":      structpb.NewStringValue("Kubernetes"), // Istio's name of its first cluster
		"INSTANCE_IPS":    structpb.NewStringValue(ip),
		"GENERATOR":       structpb.NewStringValue("grpc"), // asks istiod for the proxyless dialect
	}
	if config.Service != "" {
		metadata["WEFT_SERVICE"] = structpb.NewStringValue(config.Service)
	}
	n := new(corev3.Node)
	if from != nil {
		n = proto.Clone(from).(*corev3.Node)
	}
	maps.Copy(metadata, n.GetMetadata().GetFields())
	n.Metadata = &structpb.Struct{Fields: metadata}
	if n.Id == "" {
		n.Id = fmt.Sprintf("sidecar~%s~%s-%s.%s~%s.svc.cluster.local", ip, name, strings.ToLower(rand.Text()[:8]), namespace, namespace)
	}
	if n.Locality == nil && config.Locality != (Config{}).Locality {
		n.Locality = &corev3.Locality{Region: config.Locality.Region, Zone: config.Locality.Zone, SubZone: config.Locality.SubZone}
	}
	n.UserAgentName = userAgent
	n.UserAgentVersionType = &corev3.Node_UserAgentVersion{UserAgentVersion: version()}
	n.ClientFeatures = append(n.ClientFeatures, clientFeatures...)
	return n
}

// ownIP is the address other machines reach this one by; on a machine without a network, loopback.
func ownIP() string {
	addrs, _ := net.InterfaceAddrs() // without any, loopback is all there is
	for _, a := range addrs {
		if n, ok := a.(*net.IPNet); ok && n.IP.To4() != nil && n.IP.IsGlobalUnicast() {
			return n.IP.String()
		}
	}
	return "127.0.0.1"
}

// version is that of this module in the running program.
func version() string {
	const module = "github.com/weftmesh/weft"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if info.Main.Path == module && info.Main.Version != "" {
		return info.Main.Version
	}
	for _, d := range info.Deps {
		if d.Path == module {
			return d.Version
		}
	}
	return "devel"
}
