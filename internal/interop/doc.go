// Package interop holds the tests that put weft beside the peers it must get
// along with: grpc-go's own xds client, a go-control-plane server, recorded
// answers of istiod, a real Envoy, a real Redis, and gRPC in other languages; and,
// of identity, an authority that answers as istiod's does, a client that asks ours as
// Istio's agent does, an agent of the SPIFFE Workload API, and another trust domain.
//
// It is a module of its own, so that what the peers need is not inherited by
// those who import weft. A test whose peer is not installed skips and says what
// to install; CI installs all of them and fails when a test skipped.
//
// The peers are found by the environment, as `make interop` and CI set it:
//
//	WEFT_ENVOY     path of an envoy binary
//	WEFT_GRPC_JS   folder whose node_modules has @grpc/grpc-js and @grpc/grpc-js-xds
//	WEFT_REDIS     path of a redis-server binary
package interop
