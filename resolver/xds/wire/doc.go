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
// own rules or gRPC's (gRFC A27, A28, A31, A37, A39, A44, A52) refuse, and any
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
package wire
