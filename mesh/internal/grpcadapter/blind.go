package grpcadapter

import (
	"reflect"

	"google.golang.org/grpc"
)

// Whether calls of a ClientConn may have something of their caller's that its interceptor can't see.
const (
	unlooked uint32 = iota
	seeing
	blind
)

// blind reports whether what is added to calls of cc after the mesh's interceptor may tell their callers apart: credentials
// that the ClientConn asks for each call, and whatever interceptors do that stand after the mesh's.
// gRPC tells nobody of its options, so they are looked at where it keeps them; where they are not there it is
// blind. Tests hold the names to the gRPC in use.
func (ch *channel) blind(cc *grpc.ClientConn) bool {
	if v := ch.sight.Load(); v != unlooked {
		return v == blind
	}
	v := blind
	if ch.client.sees(reflect.ValueOf(cc)) {
		v = seeing
	}
	ch.sight.Store(v)
	return v == blind
}

func (c *client) sees(cc reflect.Value) bool {
	options := field(cc.Elem(), "dopts")
	connect := field(options, "copts")
	creds, bundle := field(connect, "PerRPCCredentials"), field(connect, "CredsBundle")
	if creds.Kind() != reflect.Slice || creds.Len() > 0 || bundle.Kind() != reflect.Interface || !bundle.IsNil() {
		return false
	}
	chain := field(options, "chainUnaryInts")
	if chain.Kind() != reflect.Slice || chain.Len() == 0 {
		return false
	}
	last := chain.Index(chain.Len() - 1)
	return last.Kind() == reflect.Func && last.Pointer() == reflect.ValueOf(c.unary).Pointer()
}

// field is a field of v; no Value if it has none of that name.
func field(v reflect.Value, name string) reflect.Value {
	if v.Kind() != reflect.Struct {
		return reflect.Value{}
	}
	return v.FieldByName(name)
}
