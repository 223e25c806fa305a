package resolver

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/identity"
)

func TestStatic(t *testing.T) {
	named, bare := &Service{Name: "payments.shop"}, &Service{}
	s := Static{"payments": named, "stock": bare}
	watch := func(name string) (got *Service, err error) {
		calls := 0
		stop := s.Watch(name, func(v *Service, e error) { got, err = v, e; calls++ })
		stop()
		if calls != 1 {
			t.Errorf("%s: reported %d times", name, calls)
		}
		return got, err
	}
	if got, err := watch("payments"); got != named || err != nil {
		t.Errorf("payments: %+v, %v", got, err)
	}
	if got, err := watch("stock"); err != nil || got.Name != "stock" || bare.Name != "" {
		t.Errorf("stock: %+v, %v; its value is now %+v", got, err, bare)
	}
	got, err := watch("paymets")
	var unknown *UnknownError
	if got != nil || !errors.As(err, &unknown) || unknown.Name != "paymets" || err.Error() != `no service "paymets"; nearest: payments` {
		t.Errorf("paymets: %+v, %v", got, err)
	}
	var in *Inbound
	s.Serve("127.0.0.1:80", func(v *Inbound, _ error) { in = v })()
	if in == nil || in.Addr != "127.0.0.1:80" {
		t.Errorf("inbound %+v", in)
	}
}

func TestStaticServing(t *testing.T) {
	s := Static{"payments": &Service{}}.Serving(Inbound{TLS: identity.ServerTLS{Mode: identity.Strict}})
	var in *Inbound
	s.Serve("127.0.0.1:80", func(v *Inbound, _ error) { in = v })()
	if in == nil || in.Addr != "127.0.0.1:80" || in.TLS.Mode != identity.Strict {
		t.Errorf("inbound %+v", in)
	}
	s.Watch("payments", func(v *Service, err error) {
		if err != nil || v.Name != "payments" {
			t.Errorf("payments: %+v, %v", v, err)
		}
	})()
}

func TestUnknownErrorWithoutDetail(t *testing.T) {
	if got := (&UnknownError{Name: "x"}).Error(); got != "no service x" {
		t.Error(got)
	}
}

func TestNearest(t *testing.T) {
	names := []string{"payments", "payments-v2", "payouts", "stock", "orders.shop.svc.cluster.local", "orders-db", "a", "ab"}
	for name, want := range map[string]string{
		"paymnets":      "payments",
		"Payments":      "payments",
		"payments:9000": "payments",
		"stok":          "stock",
		"orders":        "orders.shop.svc.cluster.local",
		"b":             "a ab",
		"nothing":       "",
		"":              "a",
	} {
		if got := Nearest(name, slices.Values(names)); strings.Join(got, " ") != want {
			t.Errorf("%q: nearest are %v, want %s", name, got, want)
		}
	}
}
