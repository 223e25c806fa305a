package resilience

// A Fraction is a share of calls: Numerator in Per (Envoy FractionalPercent). The
// zero Fraction is none of them. More than all is all.
type Fraction struct {
	Numerator uint32
	// Per is 100, 10,000 or a million; 0 means 100.
	Per uint32
}

// Percent is n in a hundred.
func Percent(n uint32) Fraction { return Fraction{Numerator: n} }

// million is what chances are rolled in.
const million = 1_000_000

// Holds reports whether a call that rolled a number below a million is among the share.
func (f Fraction) Holds(roll uint32) bool {
	return uint64(roll)*uint64(f.per()) < uint64(f.Numerator)*million
}

func (f Fraction) per() uint32 {
	if f.Per == 0 {
		return 100
	}
	return f.Per
}
