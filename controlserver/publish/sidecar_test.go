package publish

import (
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
	"github.com/weftmesh/weft/resolver"
)

const echo = "echo.demo.svc.cluster.local"

// What istiod tells a sidecar, as far as policies go.
type (
	sidecarCluster struct {
		Name            string
		ConnectTimeout  duration `json:"connect_timeout"`
		CircuitBreakers struct {
			Thresholds []struct {
				MaxConnections uint32 `json:"max_connections"`
				MaxPending     uint32 `json:"max_pending_requests"`
				MaxRequests    uint32 `json:"max_requests"`
				MaxRetries     uint32 `json:"max_retries"`
			}
		} `json:"circuit_breakers"`
		CommonLB struct {
			Panic struct{ Value uint32 } `json:"healthy_panic_threshold"`
		} `json:"common_lb_config"`
		Outlier *sidecarOutlier `json:"outlier_detection"`
	}
	sidecarOutlier struct {
		Interval             duration
		BaseEjection         duration `json:"base_ejection_time"`
		MaxEjectionPercent   *uint32  `json:"max_ejection_percent"`
		Consecutive5xx       *uint32  `json:"consecutive_5xx"`
		ConsecutiveGateway   *uint32  `json:"consecutive_gateway_failure"`
		ConsecutiveLocal     *uint32  `json:"consecutive_local_origin_failure"`
		SplitLocalOrigin     bool     `json:"split_external_local_origin_errors"`
		Enforcing5xx         *uint32  `json:"enforcing_consecutive_5xx"`
		EnforcingGateway     *uint32  `json:"enforcing_consecutive_gateway_failure"`
		EnforcingLocal       *uint32  `json:"enforcing_consecutive_local_origin_failure"`
		EnforcingSuccessRate *uint32  `json:"enforcing_success_rate"`
	}
	sidecarTable struct {
		Name  string
		Hosts []struct {
			Domains []string
			Routes  []struct {
				Name  string
				Route struct {
					Timeout duration
					Retry   *struct {
						On       string                `json:"retry_on"`
						Attempts uint32                `json:"num_retries"`
						PerTry   duration              `json:"per_try_timeout"`
						Statuses []int                 `json:"retriable_status_codes"`
						Priority struct{ Name string } `json:"retry_priority"`
						BackOff  struct {
							Base duration `json:"base_interval"`
							Max  duration `json:"max_interval"`
						} `json:"retry_back_off"`
					} `json:"retry_policy"`
				}
			}
		} `json:"virtual_hosts"`
	}
)

type duration time.Duration

func (d *duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = duration(v)
	return err
}

func TestPoliciesAreThoseOfIstiodsSidecars(t *testing.T) {
	for _, test := range []string{"03-retries-timeouts", "06-destinationrule"} {
		yaml, err := os.ReadFile(filepath.Join("testdata", "istiod", test+".yaml"))
		if err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(filepath.Join("testdata", "istiod", test+".sidecar.json"))
		if err != nil {
			t.Fatal(err)
		}
		var istiod struct {
			CDS struct{ Resources []sidecarCluster }
			RDS struct{ Resources []sidecarTable }
		}
		if err := json.Unmarshal(text, &istiod); err != nil {
			t.Fatal(err)
		}
		for _, dialect := range []Dialect{Weft, Envoy} {
			t.Run(dialect.String()+"/"+test, func(t *testing.T) {
				v := publisher(t, string(yaml)).View(Client{Dialect: dialect, Namespace: "demo"})
				compareClusters(t, v, istiod.CDS.Resources)
				compareRoutes(t, v, istiod.RDS.Resources)
			})
		}
	}
}

func compareClusters(t *testing.T, v *View, theirs []sidecarCluster) {
	t.Helper()
	compared := 0
	for _, c := range theirs {
		if _, _, host, ok := parseCluster(c.Name); !ok || host != echo {
			continue
		}
		compared++
		l := c.CircuitBreakers.Thresholds[0]
		all := resilience.Thresholds{MaxConnections: l.MaxConnections, MaxPending: l.MaxPending, MaxRequests: l.MaxRequests, MaxRetries: l.MaxRetries}
		want := resolver.Cluster{
			ConnectTimeout: time.Duration(c.ConnectTimeout),
			Thresholds:     &[resilience.Priorities]resilience.Thresholds{all, all},
		}
		if o := c.Outlier; o != nil {
			want.Outlier = &balancer.Outlier{
				Interval: time.Duration(o.Interval), BaseEjection: time.Duration(o.BaseEjection), MaxEjectionPercent: o.MaxEjectionPercent,
				Consecutive5xx: o.Consecutive5xx, Enforcing5xx: o.Enforcing5xx,
				ConsecutiveGateway: o.ConsecutiveGateway, EnforcingGateway: o.EnforcingGateway,
				ConsecutiveLocalOrigin: o.ConsecutiveLocal, EnforcingLocalOrigin: o.EnforcingLocal,
				SplitLocalOrigin: o.SplitLocalOrigin, MinHealthPercent: c.CommonLB.Panic.Value,
			}
			if o.EnforcingSuccessRate == nil || *o.EnforcingSuccessRate != 0 {
				t.Errorf("%s: istiod compares success rates", c.Name)
			}
		}
		got, ok := v.Cluster(c.Name)
		ours := resolver.Cluster{ConnectTimeout: got.ConnectTimeout, Thresholds: got.Thresholds, Budget: got.Budget, Outlier: got.Outlier}
		if !ok || !reflect.DeepEqual(ours, want) {
			t.Errorf("%s:\n%s\nistiod:\n%s", c.Name, printed(ours), printed(want))
		}
	}
	if compared == 0 {
		t.Error("no cluster was compared")
	}
}

func compareRoutes(t *testing.T, v *View, theirs []sidecarTable) {
	t.Helper()
	type policy struct {
		Name string
		resilience.Policy
	}
	compared := 0
	for _, table := range theirs {
		port, err := strconv.ParseUint(table.Name, 10, 16)
		if err != nil {
			continue
		}
		for _, h := range table.Hosts {
			if !slices.Contains(h.Domains, echo) {
				continue
			}
			var ours, want []policy
			for _, r := range h.Routes {
				p := resilience.Policy{Timeout: time.Duration(r.Route.Timeout)}
				if retry := r.Route.Retry; retry != nil {
					on, unknown := resilience.ParseConditions(retry.On)
					p.Retry = resilience.Retry{
						Attempts: retry.Attempts, On: on, TryTimeout: time.Duration(retry.PerTry),
						Base: time.Duration(retry.BackOff.Base), Max: time.Duration(retry.BackOff.Max),
						OtherLocalities: retry.Priority.Name == "envoy.retry_priorities.previous_priorities",
					}
					if len(retry.Statuses) > 0 {
						p.Retry.Answers = &resilience.Answers{Statuses: retry.Statuses}
					}
					if len(unknown) > 0 {
						t.Errorf("conditions %q are not known", unknown)
					}
				}
				want = append(want, policy{r.Name, p})
			}
			s, p := v.find(echo + ":" + table.Name)
			if s == nil || uint64(p.Number) != port {
				t.Fatalf("no port %d", port)
			}
			for _, r := range v.routes(s, p) {
				ours = append(ours, policy{r.Name, r.Policy})
			}
			compared++
			if !reflect.DeepEqual(ours, want) {
				t.Errorf("port %d:\n%s\nistiod:\n%s", port, printed(ours), printed(want))
			}
		}
	}
	if compared == 0 {
		t.Error("no table was compared")
	}
}
