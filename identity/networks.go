package identity

import (
	"net/netip"
	"slices"
)

// networks lead from an address to what is said of the ranges that it is in. Ranges never cross: of two that share an address, one holds the
// other.
type networks struct {
	ranges []netip.Prefix // sorted, so that a range comes after those that hold it
	within []int32        // the narrowest that holds it, or -1
	lists  [][]int32
}

// newNetworks makes networks of ranges that are masked.
func newNetworks(of map[netip.Prefix][]int32) (n networks) {
	for p := range of {
		n.ranges = append(n.ranges, p)
	}
	slices.SortFunc(n.ranges, netip.Prefix.Compare)
	for i, p := range n.ranges {
		n.within = append(n.within, n.up(int32(i)-1, p.Addr()))
		n.lists = append(n.lists, of[p])
	}
	return n
}

// narrowest is the smallest range that a is in, or -1.
func (n *networks) narrowest(a netip.Addr) int32 {
	low, high := 0, len(n.ranges)
	for low < high {
		if half := (low + high) / 2; n.ranges[half].Addr().Compare(a) <= 0 {
			low = half + 1
		} else {
			high = half
		}
	}
	return n.up(int32(low)-1, a)
}

// up is the narrowest that a is in, of a range and those that hold it.
func (n *networks) up(i int32, a netip.Addr) int32 {
	for i >= 0 && !n.ranges[i].Contains(a) {
		i = n.within[i]
	}
	return i
}

func (n *networks) lead(a netip.Addr, try func([]int32)) {
	for i := n.narrowest(a); i >= 0; i = n.within[i] {
		try(n.lists[i])
	}
}
