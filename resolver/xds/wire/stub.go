package wire

import (
	"errors"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
)

var errNotYet = errors.New("wire: not written yet")

func DecodeListener(*anypb.Any) (*Listener, error)     { return nil, errNotYet }
func DecodeRouteTable(*anypb.Any) (*RouteTable, error) { return nil, errNotYet }
func DecodeCluster(*anypb.Any) (*Cluster, error)       { return nil, errNotYet }
func DecodeEndpoints(*anypb.Any) (*Endpoints, error)   { return nil, errNotYet }
func EncodeListener(Listener) proto.Message            { return nil }
func EncodeRouteTable(RouteTable) proto.Message        { return nil }
func EncodeCluster(Cluster) proto.Message              { return nil }
func EncodeEndpoints(Endpoints) proto.Message          { return nil }
func Unwrap(*anypb.Any) (*anypb.Any, error)            { return nil, errNotYet }
func Name(*anypb.Any) string                           { return "" }
