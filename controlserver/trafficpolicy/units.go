package trafficpolicy

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weftmesh/weft/resilience"
)

// A Duration is a time, more than 0, such as "1.5s": numbers with the units h, m, s, ms, us and ns.
type Duration time.Duration

// UnmarshalText reads a duration that is not negative.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	switch {
	case err != nil:
		return fmt.Errorf("%q is not a duration such as \"1.5s\" or \"2m\"", text)
	case v < 0:
		return fmt.Errorf("%s is negative", v)
	}
	*d = Duration(v)
	return nil
}

func (d Duration) String() string { return time.Duration(d).String() }

// Pattern is what a duration looks like.
func (Duration) Pattern() string { return `^([0-9]+(\.[0-9]*)?(h|m|s|ms|us|µs|ns))+$` }

// A Size is a number of bytes such as "64KiB": a number with one of the units B, KiB, MiB, GiB, kB, MB and GB.
type Size uint64

var (
	sizes = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)(B|KiB|MiB|GiB|kB|MB|GB)$`)
	units = map[string]float64{"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "kB": 1e3, "MB": 1e6, "GB": 1e9}
)

// UnmarshalText reads a size of whole bytes.
func (s *Size) UnmarshalText(text []byte) error {
	m := sizes.FindStringSubmatch(string(text))
	if m == nil {
		return fmt.Errorf("%q is not a size such as \"64KiB\" or \"1.5MB\"", text)
	}
	n, err := strconv.ParseFloat(m[1], 64)
	if n *= units[m[2]]; err != nil || n > 1<<50 {
		return fmt.Errorf("%s is more than a PiB", text)
	}
	if n != math.Trunc(n) {
		return fmt.Errorf("%s is not a whole number of bytes", text)
	}
	*s = Size(n)
	return nil
}

// Pattern is what a size looks like.
func (Size) Pattern() string { return `^[0-9]+(\.[0-9]+)?(B|KiB|MiB|GiB|kB|MB|GB)$` }

// A Percent is a percentage: a number from 0 to 100, of shares of calls to a ten-thousandth.
type Percent float64

// A Fact is something about a call that limits may turn on: method (HTTP), path (without the query; of gRPC
// "/package.Service/Method"), or header:NAME; on servers also remote_address (the caller's IP address) and caller
// (its verified identity, or its IP address if it has none).
type Fact string

var facts = regexp.MustCompile(`^(method|path|remote_address|caller|header:[0-9A-Za-z!#$%&'*+.^_|~-]+)$`)

// UnmarshalText reads the name of a fact.
func (f *Fact) UnmarshalText(text []byte) error {
	if !facts.Match(text) {
		return fmt.Errorf("%q is no fact about calls; there are method, path, header:NAME, remote_address and caller", text)
	}
	*f = Fact(text)
	if name, ok := strings.CutPrefix(string(text), "header:"); ok {
		*f = Fact("header:" + strings.ToLower(name))
	}
	return nil
}

// Pattern is what a fact looks like.
func (Fact) Pattern() string { return facts.String() }

// ofServers reports whether only a server knows the fact.
func (f Fact) ofServers() bool { return f == "caller" || f == "remote_address" }

// A Principal is a verified identity, written as in an AuthorizationPolicy: TRUSTDOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT, without
// spiffe://. One "*" may stand for the beginning or the end of it; "*" alone is everybody who has an identity.
type Principal string

var principals = regexp.MustCompile(`^(\*|\*[0-9A-Za-z._/-]+|[0-9a-z._-]+/[0-9A-Za-z._/-]*\*?)$`)

// UnmarshalText reads a principal.
func (p *Principal) UnmarshalText(text []byte) error {
	switch {
	case bytes.HasPrefix(text, []byte("spiffe:")):
		return fmt.Errorf("%q: a principal is written without spiffe://", text)
	case !principals.Match(text):
		return fmt.Errorf("%q is not a principal such as \"example.org/ns/edge/sa/gateway\", \"example.org/ns/edge/*\" or \"*\"", text)
	case !bytes.Contains(text, []byte("*")) && bytes.Count(text, []byte("/")) != 4:
		return fmt.Errorf("%q is nobody's identity, which is TRUSTDOMAIN/ns/NAMESPACE/sa/SERVICEACCOUNT", text)
	}
	*p = Principal(text)
	return nil
}

// Pattern is what a principal looks like.
func (Principal) Pattern() string { return principals.String() }

// A Path is the path of a URL, without a query. It begins with "/".
type Path string

// UnmarshalText reads a path.
func (p *Path) UnmarshalText(text []byte) error {
	if len(text) == 0 || text[0] != '/' || bytes.ContainsAny(text, "?# ") {
		return fmt.Errorf("%q is not a path such as \"/healthz\"", text)
	}
	*p = Path(text)
	return nil
}

// Pattern is what a path looks like.
func (Path) Pattern() string { return `^/[^?# ]*$` }

// A Base64 is bytes, in base64.
type Base64 []byte

// UnmarshalText reads base64 with its padding.
func (b *Base64) UnmarshalText(text []byte) error {
	v, err := base64.StdEncoding.DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("%q is not base64", text)
	}
	*b = v
	return nil
}

// Pattern is what base64 looks like.
func (Base64) Pattern() string { return `^[0-9A-Za-z+/]*={0,2}$` }

// A Common says which calls the common bucket of a RateLimit is for.
type Common string

// Words are the values there are.
func (Common) Words() []string { return []string{"all", "others"} }

// A Break is a way to break a connection.
type Break string

// Words are the values there are, in the order of resilience.BreakKind.
func (Break) Words() []string {
	return []string{"refused", "resetBody", "slowBody", "corruptCertificate"}
}

func (b Break) kind() resilience.BreakKind {
	return resilience.BreakKind(slices.Index(b.Words(), string(b)) + 1)
}

// A GRPCStatus is the name of a gRPC status.
type GRPCStatus string

// Words are the values there are, in the order of their codes.
func (GRPCStatus) Words() []string {
	return []string{
		"OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE",
		"UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED",
	}
}

func (s GRPCStatus) code() uint32 { return uint32(slices.Index(s.Words(), string(s))) }

// A Switch is a kind of policy that can be turned off: deadlines (a server's refusal of late work), retries, budgets (the share
// that retries may have), hedges, breakers, thresholds (bounds of what is in flight to a service), outliers (ejection of
// hosts), rates, global-rates, bandwidths, concurrency, admission, shedding, fallbacks and faults.
type Switch string

// Words are the values there are.
func (Switch) Words() []string { return strings.Split((^resilience.Switches(0)).String(), ",") }

var errPrecise = errors.New("is finer than a ten-thousandth of a percent")

// fraction is the percentage in the coarsest parts that hold it.
func (p Percent) fraction() (resilience.Fraction, error) {
	for _, per := range [...]uint32{100, 10_000, 1_000_000} {
		n := float64(p) * float64(per) / 100
		if whole := math.Round(n); math.Abs(n-whole) < 1e-6 {
			return resilience.Fraction{Numerator: uint32(whole), Per: per}, nil
		}
	}
	return resilience.Fraction{}, errPrecise
}
