package wire

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"reflect"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
)

// testRoot is a certificate of a root, testKey its private key, testKeys a set of one public key.
var testRoot, testKey, testKeys = func() (root, private, keys string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true, DNSNames: []string{"root.test"}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		panic(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		panic(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		panic(err)
	}
	encode := base64.RawURLEncoding.EncodeToString
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})),
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8})),
		fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","kid":"k","x":%q,"y":%q}]}`, encode(point[1:33]), encode(point[33:]))
}()

func marshal(t testing.TB, m proto.Message) *anypb.Any {
	t.Helper()
	a, err := Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// mirrored checks that what encode writes decode reads, and that it is the same bytes each time.
func mirrored[T any](t testing.TB, v T, encode func(T) proto.Message, decode func(*anypb.Any) (*T, error)) {
	t.Helper()
	a := marshal(t, encode(v))
	if b := marshal(t, encode(v)); !bytes.Equal(a.GetValue(), b.GetValue()) {
		t.Fatalf("encoded twice, differently: %+v", v)
	}
	got, err := decode(a)
	if err != nil {
		t.Fatalf("%v\nof %+v", err, v)
	}
	if !reflect.DeepEqual(*got, v) {
		t.Fatal(difference(*got, v))
	}
}

// difference shows where two values begin to differ.
func difference(got, want any) string {
	a, err := json.Marshal(got)
	if err != nil {
		return err.Error()
	}
	b, err := json.Marshal(want)
	if err != nil {
		return err.Error()
	}
	i := 0
	for i < len(a) && i < len(b) && a[i] == b[i] {
		i++
	}
	around := func(b []byte) []byte { return b[max(0, min(i-200, len(b))):min(i+200, len(b))] }
	return fmt.Sprintf("got  %s\nwant %s", around(a), around(b))
}

func TestDecodeIsTheReverseOfEncode(t *testing.T) {
	for seed := range uint64(300) {
		g := newGen(seed)
		mirrored(t, g.listener(), EncodeListener, DecodeListener)
		mirrored(t, g.table(), EncodeRouteTable, DecodeRouteTable)
		mirrored(t, g.cluster(), EncodeCluster, DecodeCluster)
		e := g.assignment()
		mirrored(t, e, EncodeEndpoints, DecodeEndpoints)
	}
}

func TestResourcesAreUnwrappedAndNamed(t *testing.T) {
	c := newGen(3).cluster()
	a := marshal(t, EncodeCluster(c))
	if got := Name(a); got != c.Name {
		t.Errorf("Name is %q, want %q", got, c.Name)
	}
	w := marshal(t, &discoveryv3.Resource{Resource: a})
	if got := Name(w); got != c.Name {
		t.Errorf("Name of the wrapped resource is %q, want %q", got, c.Name)
	}
	got, err := DecodeCluster(w)
	if err != nil || !reflect.DeepEqual(*got, c) {
		t.Errorf("got %+v, %v", got, err)
	}
	w = marshal(t, &discoveryv3.Resource{Name: "outer", Resource: a})
	if got := Name(w); got != "outer" {
		t.Errorf("Name is %q, want the wrapper's", got)
	}
	a.Value = append(a.Value, 0xff) // no longer decodes
	if got := Name(a); got != c.Name {
		t.Errorf("Name of the broken resource is %q, want %q", got, c.Name)
	}
	if got := Name(nil); got != "" {
		t.Errorf("Name of nothing is %q", got)
	}
}

// TestEnvoysRulesHoldForWhatIsEncoded: the rules are those that Envoy's protos carry.
func TestEnvoysRulesHoldForWhatIsEncoded(t *testing.T) {
	for i := range uint64(150) {
		g := newGen(i)
		for _, m := range []proto.Message{EncodeListener(g.listener()), EncodeRouteTable(g.table()), EncodeCluster(g.cluster()), EncodeEndpoints(g.assignment())} {
			valid(t, m.ProtoReflect())
		}
	}
}

// valid looks into every Any below m too.
func valid(t *testing.T, m protoreflect.Message) {
	t.Helper()
	if v, ok := m.Interface().(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			t.Fatalf("%v\nin %v", err, m.Interface())
		}
	}
	if a, ok := m.Interface().(*anypb.Any); ok {
		inner, err := a.UnmarshalNew()
		if err != nil {
			t.Fatal(err)
		}
		valid(t, inner.ProtoReflect())
	}
	for _, below := range messages(m) {
		valid(t, below)
	}
}
