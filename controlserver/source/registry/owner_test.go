package registry

import (
	"testing"
	"time"
)

const other = "shop/pay 10.0.0.2:8080 UNKNOWN"

func (k *kit) openAs(stream uint64, service, addr, identity string) {
	k.Open(stream, Process{ID: "n" + identity, Service: service, Namespace: "shop", Addresses: []string{addr}, Identity: identity})
}

func TestAServiceBelongsToTheIdentityThatCameFirst(t *testing.T) {
	in(t, func(k *kit) {
		k.openAs(1, "pay", "10.0.0.1", "pay")
		k.listen(1, "10.0.0.1:8080")
		k.openAs(2, "pay", "10.0.0.2", "thief")
		k.listen(2, "10.0.0.2:8080")
		k.openAs(3, "pay", "10.0.0.2", "pay")
		k.settle()
		k.expect(up)
		k.listen(3, "10.0.0.2:8080") // one of its own may
		k.settle()
		k.expect(up, other)
		k.StreamClosed(1, true)
		k.StreamClosed(3, true)
		k.listen(2, "10.0.0.2:8080") // it is nobody's any more
		k.settle()
		k.expect(other)
	})
}

func TestAPortBelongsToTheIdentityThatHoldsIt(t *testing.T) {
	in(t, func(k *kit) {
		k.openAs(1, "pay", "10.0.0.1", "pay")
		k.listen(1, "10.0.0.1:8080")
		k.openAs(2, "till", "10.0.0.1", "thief")
		k.listen(2, "10.0.0.1:8080")
		k.settle()
		k.expect(up)
		// Whose stream has broken may be gone, and its address another's.
		k.StreamClosed(1, false)
		k.listen(2, "10.0.0.1:8080")
		time.Sleep(time.Minute)
		k.expect("shop/till 10.0.0.1:8080 UNKNOWN")
	})
}
