// Package catalog holds everything the control server knows, as one value.
//
// Sources report a [Fragment] each, whole: the documents they read ([Parse]),
// the processes that registered, and what they found wrong. [Merge] makes a
// [Catalog] of them: services with their endpoints, and for every client
// namespace the VirtualService and DestinationRule that hold for a host, and for
// every workload the policies of security.istio.io.
// [Catalog.Check] tells all that is wrong with it, by file, line and field.
// [LastGood] stands between the two: it puts the last good version of a refused
// document in its place.
//
// Documents are Istio's kinds in Kubernetes' form, with Istio's semantics, and those of our own: TrafficPolicy (package
// trafficpolicy), [MeshConfig] and [Revocation].
// Nothing here reads files, resolves names or opens connections.
package catalog
