// Package wire turns xDS resources into the values of package resolver and back.
//
// Decode and Encode stand side by side, one file a resource: what one writes the
// other reads, so that Decode(Encode(v)) == v. The control server encodes, the
// client decodes, and nothing else in weft holds a proto of Envoy's configuration.
//
// # Decoding
//
// A resource that cannot be obeyed is refused as a whole; the error joins all
// findings, each naming the resource and the field. What is refused is what Envoy's
// own rules or gRPC's (gRFC A27, A28, A31, A37, A39, A44, A50, A52) refuse, and any
// condition of a match or part of a TLS context that this client does not know, for
// ignoring it would match too much or trust too much. A route whose action is not
// known is kept and marked Unsupported, so that its calls fail instead of taking
// the next route. Every other field that is set and not obeyed, and that could matter
// to a client, gives a warning: the resource is used without it.
//
// In a few places Envoy and gRPC differ, and the more useful of the two is followed:
// virtual hosts without a name, endpoints without a locality, localities without
// weights where none has one, num_retries 0 (no retries) and STATIC clusters are accepted,
// which gRPC refuses or leaves out; repeated addresses and matches without a
// condition are refused, which Envoy accepts.
//
// # Encoding
//
// Encoding cannot fail. A value that no resource can express is written so that
// readers refuse it. The encoded form suits Envoy, gRPC and weft alike as far as
// the value allows it; which values suit which client is decided before.
//
// What no field of Envoy carries stands in metadata under "weft", and only weft
// obeys it: of a route, Retry.Unguarded and the Hedge, as far as hedge_policy can't say
// it; of a cluster, Budget.MinRate. Values that mean nothing have no form: a
// Retry without attempts or conditions, a Hedge or Rate that does nothing, a SuccessRate or
// FailurePercentage whose Enforcing is 0, and a MaxReset without Resets, which comes
// back with Retry-After among them.
//
// A Rate is in the route, for the filter envoy.filters.http.local_ratelimit. An Envoy obeys
// it only if its listener has that filter: who encodes sets Listener.RateLimits where a route may
// have a Rate. Envoy tells 20 values apart if MaxKeys is 0, and its path has the query. Keys
// of entries are "method", "path" and "header:NAME"; a descriptor with another key is left out.
package wire
