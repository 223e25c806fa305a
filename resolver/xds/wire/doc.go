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
// own rules or gRPC's (gRFC A27, A28, A29, A31, A37, A39, A41, A44, A50, A52) refuse, and any
// condition of a match, part of a TLS context, or rule on who is let in that this client does not know, for
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
// What no field of Envoy carries stands in metadata under "weft", and only weft obeys it. Of
// a route: Retry.Unguarded, the Fallback, what is Off, and of the Hedge, the Fault, the Bandwidth
// and the GlobalRate what their fields can't say. Of a cluster: Budget.MinRate, both breakers, what
// is Off, and a fraction of Admission.MinRate. Of a server's listener: MaxRequests, Shedding, Late,
// HealthPaths, what is Off, Guard.Trusted and Revoked, a Mode that is Unset, or Permissive without a Proxy, and of the filters what
// their fields can't say; Guard.Connections, if they are not the Steps, stand there typed. Values that mean nothing have no form: a
// Retry without attempts or conditions, a Hedge, Rate, Fault, Fallback, Bandwidth or Trip that does nothing,
// a SuccessRate or FailurePercentage whose Enforcing is 0, and a MaxReset without Resets, which comes
// back with Retry-After among them. Nor has a default of an Adaptive: it comes back as 0.
//
// # Filters
//
// What a route says to a filter is known by its type, be it the route's, its virtual host's or its
// table's, the nearest first; whether the listener has the filter does not matter to weft. A route that
// says there is none of a kind has that kind Off, so that its listener's Default does not
// hold for it. An Envoy obeys only the filters of its listener, and gRPC, of the fault filter, too: who
// encodes for them sets Listener.RateLimits, Faults, Bandwidths and Global where a route may
// have such a policy, and leaves out what is Off.
//
// Envoy tells 20 values of a Rate apart if MaxKeys is 0, its path has the query, and its bandwidth
// is one bucket for both ways. The keys of a Rate's entries are "method", "path" and
// "header:NAME", and of a server's also "remote_address" and "caller"; of a route a descriptor with another key is
// left out. Limits of all processes go by the same keys, and by "generic_key", which names the limit. What gives
// an entry another key in Envoy has no effect here, since the service that keeps the limits would be
// asked by another name; where Envoy can't have an entry, such as the caller's identity, it is not told of the limit.
//
// # Who is let in
//
// A server's Guard is the filters jwt_authn, rbac and ext_authz, in the order of its Steps. Policies and providers come back in the
// order of their names, a server's names of certificates those of a type first, and an ExtAuthz.When is the shadow rules of a filter
// of its own (Istio CUSTOM). Conditions stand where Envoy has them: addresses of the peer and identities among Principals,
// what was connected to among Permissions. A condition on the claims of one provider has its name for a key; rules have either such, or
// those on the claims of all. A Provider has one of Subjects at most. What can't be said so is written so that readers refuse it, and so is
// one of two things of one name, lest it be lost.
package wire
