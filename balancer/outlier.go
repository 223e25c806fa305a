package balancer

import "time"

// An Outlier says when a host that fails calls is taken out of service for a
// while (Envoy outlier_detection; gRFC A50). The zero value of each field means
// Envoy's default, which stands beside it. What a failure in a row or a call counts
// as is said by its [Result].
type Outlier struct {
	Interval           time.Duration // between two looks at the success rates: 10 s; at least 100 ms
	BaseEjection       time.Duration // times how often the host was ejected is how long it stays out: 30 s
	MaxEjection        time.Duration // the most it stays out: 300 s, or BaseEjection if that is more
	EjectionJitter     time.Duration // added at random, up to this: 0
	MaxEjectionPercent *uint32       // how much of the cluster may be out: 10; one host may always be, unless it is 0

	// How many failures in a row eject; 0 never does.

	Consecutive5xx         *uint32 // 5; errors of all kinds
	ConsecutiveGateway     *uint32 // 5; 502, 503, 504 and what has no answer
	ConsecutiveLocalOrigin *uint32 // 5; with SplitLocalOrigin
	SplitLocalOrigin       bool    // errors that no server answered count apart from those it did, and in rates of their own
	Enforcing5xx           *uint32 // percent of ejections that are carried out: 100
	EnforcingGateway       *uint32 // 0
	EnforcingLocalOrigin   *uint32 // 100

	SuccessRate       *SuccessRate       // nil does not compare success rates
	FailurePercentage *FailurePercentage // nil does not look at failure percentages

	// StayOut keeps an ejected host out for its whole time, though what reports its health says meanwhile that it was unfit and
	// is Healthy again, which else ends the ejection (Envoy successful_active_health_check_uneject_host: false).
	StayOut bool

	// MinHealthPercent of the cluster must be left in service, or ejected hosts are used like the
	// others (Istio minHealthPercent, Envoy healthy_panic_threshold); 0 never ignores ejections.
	MinHealthPercent uint32
}

// A SuccessRate ejects hosts whose success rate is far below the cluster's mean.
type SuccessRate struct {
	Enforcing    *uint32 // percent: 100
	MinimumHosts *uint32 // 5
	RequestCount *uint32 // calls a host must have had in the interval: 100
	StdevFactor  *uint32 // in thousandths of a standard deviation: 1900

	// EnforcingLocalOrigin is Enforcing for the share of calls that a server answered, with SplitLocalOrigin: 100.
	EnforcingLocalOrigin *uint32
}

// A FailurePercentage ejects hosts that fail a share of their calls, or more.
type FailurePercentage struct {
	Threshold    *uint32 // percent: 85
	Enforcing    *uint32 // percent: 0
	MinimumHosts *uint32 // 5
	RequestCount *uint32 // 50

	// EnforcingLocalOrigin is Enforcing for the share of calls that no server answered, with SplitLocalOrigin: 0.
	EnforcingLocalOrigin *uint32
}
