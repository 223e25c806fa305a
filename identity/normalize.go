package identity

import "errors"

// NormalizePath is the one form of a request's path by which rules, routes and handlers know it (RFC 3986 section 6, and what
// Istio's DECODE_AND_MERGE_SLASHES does, but for escaped slashes, which it refuses). raw is as it came, without query. The error
// says why a path has no such form; the request is to be answered with 400.
func NormalizePath(raw string) (string, error) { return "", errors.New("not there yet") }

// NormalizeAuthority is the one form of the host of a request: in lower case, without port, without a trailing dot. The error says why
// raw is none.
func NormalizeAuthority(raw string) (string, error) { return "", errors.New("not there yet") }
