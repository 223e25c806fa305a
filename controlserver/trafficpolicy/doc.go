// Package trafficpolicy is the kind TrafficPolicy (apiVersion weft.dev/v1), which says of traffic
// what Istio's kinds have no words for.
//
// A [Spec] is read from YAML by the catalog, checked by [Spec.Check], and turned into what
// decides about calls by [Spec.Calls] and [Spec.Serving]. The comments of the
// types are the kind's reference: docs/reference/trafficpolicy.md and the JSON
// schema beside it are made of them.
package trafficpolicy
