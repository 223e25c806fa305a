package balancer

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

func num(n uint32) *uint32 { return new(n) }

// detecting is a group of n hosts that may all be ejected, if o says nothing else.
func detecting(n int, o Outlier) *Group {
	if o.MaxEjectionPercent == nil {
		o.MaxEjectionPercent = num(100)
	}
	g := new(Group)
	g.Detect(&o)
	g.Update(Policy{}, numbered(n))
	return g
}

func numbered(n int) []Endpoint {
	es := make([]Endpoint, n)
	for i := range es {
		es[i].Addr = fmt.Sprint(i)
	}
	return es
}

func finish(h *Host, n int, r Result) {
	for range n {
		h.Begin()
		h.Finish(r, 0)
	}
}

// picked lists the hosts that a few hundred picks came to.
func picked(t *testing.T, g *Group) (addrs []string) {
	t.Helper()
	for range 300 {
		h, err := g.Pick(Want{})
		if err != nil {
			if !errors.Is(err, ErrNoHost) {
				t.Fatal(err)
			}
			return nil
		}
		if !slices.Contains(addrs, h.Addr()) {
			addrs = append(addrs, h.Addr())
		}
	}
	slices.Sort(addrs)
	return addrs
}

func wantPicked(t *testing.T, g *Group, want ...string) {
	t.Helper()
	if got := picked(t, g); !slices.Equal(got, want) {
		t.Errorf("%v: picked %v, want %v", time.Now().Format("15:04:05.000"), got, want)
	}
}

func TestFailuresInARowEject(t *testing.T) {
	split := Outlier{SplitLocalOrigin: true}
	gateway := Outlier{Consecutive5xx: num(0), EnforcingGateway: num(100), ConsecutiveGateway: num(3)}
	for _, tc := range []struct {
		name    string
		outlier Outlier
		results string // by letter: Answered, Failed, Gateway, Local, Neutral
		want    bool
	}{
		{"five", Outlier{}, "FFFFF", true},
		{"four", Outlier{}, "FFFF", false},
		{"an answer between", Outlier{}, "FFFFAFFFF", false},
		{"neutral is neither", Outlier{}, "FFFNNNNNNNNF", false},
		{"neutral does not interrupt", Outlier{}, "FFFFNF", true},
		{"of all kinds", Outlier{}, "FGLFG", true},
		{"as many as said", Outlier{Consecutive5xx: num(2)}, "FF", true},
		{"none is too many", Outlier{Consecutive5xx: num(0)}, "FFFFFFFFFGGGGGGGGGGLLLLLLLL", false},
		{"not enforced", Outlier{Enforcing5xx: num(0)}, "FFFFFFFFFFFF", false},
		{"gateway errors are not enforced by default", Outlier{Consecutive5xx: num(0)}, "GGGGGGGG", false},
		{"gateway", gateway, "GGG", true},
		{"gateway, no answer", gateway, "GLG", true},
		{"gateway, another failure between", gateway, "GGFGG", false},
		{"gateway, an answer between", gateway, "GGAGG", false},
		{"split: no answer", split, "LLLLL", true},
		{"split: no answer counts apart", split, "FFFFLLLL", false},
		{"split: a failure is an answer", split, "LLLLFL", false},
		{"split: no answer does not interrupt failures", split, "FFFFLF", true},
		{"split: as many as said", Outlier{SplitLocalOrigin: true, ConsecutiveLocalOrigin: num(2)}, "LL", true},
		{"split: not enforced", Outlier{SplitLocalOrigin: true, EnforcingLocalOrigin: num(0)}, "LLLLLLLLL", false},
		{"not split: local rules do not count", Outlier{Consecutive5xx: num(0), ConsecutiveLocalOrigin: num(1)}, "LLL", false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := detecting(3, tc.outlier)
			h := g.Hosts()[1]
			for i, letter := range tc.results {
				if h.Ejected() {
					t.Fatalf("ejected after %s", tc.results[:i])
				}
				finish(h, 1, map[rune]Result{'A': Answered, 'F': Failed, 'G': GatewayFailed, 'L': LocalFailed, 'N': Neutral}[letter])
			}
			if h.Ejected() != tc.want || g.Ejected() != int(h.Ejections()) {
				t.Errorf("ejected %v, %d in the group, %d times", h.Ejected(), g.Ejected(), h.Ejections())
			}
			if tc.want {
				wantPicked(t, g, "0", "2")
			} else {
				wantPicked(t, g, "0", "1", "2")
			}
		})
	}
}

func TestWithoutDetectionNobodyIsEjected(t *testing.T) {
	var g Group
	g.Update(Policy{}, numbered(2))
	finish(g.Hosts()[0], 100, LocalFailed)
	wantPicked(t, &g, "0", "1")
	if _, ok := g.Return(); ok || g.Ejected() != 0 {
		t.Error("somebody is ejected")
	}
}

// Half of the ejections are carried out where half are enforced.
func TestEnforcingIsByChance(t *testing.T) {
	g := detecting(400, Outlier{Enforcing5xx: num(50)})
	for _, h := range g.Hosts() {
		finish(h, 5, Failed)
	}
	if n := g.Ejected(); n < 120 || n > 280 { // eight standard deviations
		t.Errorf("%d of 400 ejected", n)
	}
}

// The n-th ejection is n times as long, up to the most, and what was is forgotten by the interval.
func TestEjectionsGetLongerAndAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := detecting(2, Outlier{Interval: 10 * time.Second, BaseEjection: 30 * time.Second, MaxEjection: 80 * time.Second})
		h := g.Hosts()[0]
		eject := func(seconds int) {
			t.Helper()
			want := time.Duration(seconds) * time.Second
			finish(h, 5, Failed)
			wantPicked(t, g, "1")
			time.Sleep(want - 1)
			wantPicked(t, g, "1")
			if wait, ok := g.Return(); wait != 1 || !ok {
				t.Errorf("returns in %v, %v", wait, ok)
			}
			time.Sleep(time.Nanosecond)
			wantPicked(t, g, "0", "1")
			if h.Ejected() || g.Ejected() != 0 {
				t.Error("in service, but ejected")
			}
		}
		for _, seconds := range []int{30, 60, 80, 80, 80} {
			eject(seconds)
		}
		// At four now: one more than makes a difference. Each interval in service takes one off.
		time.Sleep(9 * time.Second)
		eject(80)
		time.Sleep(30 * time.Second)
		eject(60)
		time.Sleep(19 * time.Second)
		eject(60)
		time.Sleep(time.Hour)
		eject(30)
		if h.Ejections() != 9 {
			t.Errorf("ejected %d times, want 9", h.Ejections())
		}
	})
}

func TestJitterIsAddedToAnEjection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := detecting(200, Outlier{MaxEjection: time.Second, BaseEjection: 30 * time.Second, EjectionJitter: 10 * time.Second})
		for _, h := range g.Hosts()[1:] {
			finish(h, 5, Failed)
		}
		time.Sleep(30*time.Second - 1)
		if g.Ejected() != 199 {
			t.Errorf("%d out before their time is up, want 199", g.Ejected())
		}
		time.Sleep(5 * time.Second)
		if n := g.Ejected(); n < 40 || n > 160 {
			t.Errorf("%d of 199 out after half of the jitter", n)
		}
		time.Sleep(5*time.Second + 1)
		if g.Ejected() != 0 {
			t.Errorf("%d out after all of the jitter", g.Ejected())
		}
	})
}

// What was in flight when a host was ejected says nothing of it once it is back.
func TestFailuresFromBeforeAnEjectionDoNotCountAfterIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := detecting(2, Outlier{})
		h := g.Hosts()[0]
		finish(h, 5, Failed)
		finish(h, 4, Failed) // these were in flight
		time.Sleep(30 * time.Second)
		wantPicked(t, g, "0", "1")
		finish(h, 4, Failed)
		if h.Ejected() {
			t.Error("ejected for what was before")
		}
		finish(h, 1, Failed)
		if !h.Ejected() {
			t.Error("not ejected for what came after")
		}
	})
}

func TestOnlySoManyAreEjected(t *testing.T) {
	for _, tc := range []struct {
		hosts, want int
		percent     *uint32
	}{
		{30, 3, nil},
		{29, 2, nil},
		{3, 1, nil}, // one may always be
		{1, 1, nil},
		{3, 0, num(0)}, // but where none may
		{3, 1, num(1)},
		{3, 1, num(66)},
		{3, 2, num(67)},
		{10, 5, num(50)},
		{10, 10, num(100)},
		{10, 10, num(1000)},
	} {
		g := new(Group)
		g.Detect(&Outlier{MaxEjectionPercent: tc.percent})
		g.Update(Policy{}, numbered(tc.hosts))
		for range 3 {
			for _, h := range g.Hosts() {
				finish(h, 5, Failed)
			}
		}
		if g.Ejected() != tc.want {
			t.Errorf("%d of %d hosts ejected, want %d", g.Ejected(), tc.hosts, tc.want)
		}
	}
}

// Who is back makes room at once, also when nobody picked since.
func TestReturnMakesRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := detecting(10, Outlier{MaxEjectionPercent: num(10)})
		hosts := g.Hosts()
		finish(hosts[0], 5, Failed)
		time.Sleep(30 * time.Second)
		finish(hosts[1], 5, Failed)
		if hosts[0].Ejected() || !hosts[1].Ejected() {
			t.Errorf("ejected: first %v, second %v", hosts[0].Ejected(), hosts[1].Ejected())
		}
	})
}

// Who leaves while ejected makes room, too; if its address comes back it is a new host.
func TestLeavingEndsAnEjection(t *testing.T) {
	g := detecting(10, Outlier{MaxEjectionPercent: num(10)})
	hosts := g.Hosts()
	finish(hosts[0], 5, Failed)
	all := numbered(10)
	g.Update(Policy{}, all[1:])
	if g.Ejected() != 0 || hosts[0].Ejected() {
		t.Errorf("%d ejected after the only one left; itself %v", g.Ejected(), hosts[0].Ejected())
	}
	finish(hosts[0], 20, Failed) // these were in flight
	if g.Ejected() != 0 || hosts[0].Ejected() {
		t.Error("a host that left is ejected")
	}
	finish(hosts[1], 4, Failed)
	g.Update(Policy{}, all)
	if back := g.Hosts()[0]; back.Ejected() || back.Ejections() != 0 {
		t.Error("an address that comes back is still ejected")
	}
	finish(hosts[1], 1, Failed) // it stayed, and so did its failures
	if !hosts[1].Ejected() || g.Ejected() != 1 {
		t.Errorf("no room for another: %d ejected", g.Ejected())
	}
	g.Close()
	if g.Ejected() != 0 {
		t.Error("ejected hosts in a closed group")
	}
}

// An ejection outlives updates of the configuration that keep the host.
func TestUpdateKeepsEjections(t *testing.T) {
	g := detecting(3, Outlier{})
	finish(g.Hosts()[1], 5, Failed)
	g.Update(Policy{Kind: Random}, numbered(4))
	wantPicked(t, g, "0", "2", "3")
}

// Who was unfit and says that it is well again is believed at once, unless the configuration says otherwise.
func TestGettingWellEndsAnEjection(t *testing.T) {
	for _, stay := range []bool{false, true} {
		g := detecting(2, Outlier{StayOut: stay})
		finish(g.Hosts()[1], 5, Failed)
		reports := func(h Health) {
			endpoints := numbered(2)
			endpoints[1].Health = h
			g.Update(Policy{}, endpoints)
		}
		reports(Healthy) // nobody has said that it was not
		wantPicked(t, g, "0")
		reports(Unhealthy)
		reports(Healthy)
		if stay {
			wantPicked(t, g, "0")
			continue
		}
		wantPicked(t, g, "0", "1")
		if g.Ejected() != 0 {
			t.Errorf("%d are ejected", g.Ejected())
		}
		finish(g.Hosts()[1], 4, Failed) // what was before does not count any more
		wantPicked(t, g, "0", "1")
	}
}

func TestEjectionsDoNotCountWhenTooFewAreLeft(t *testing.T) {
	for _, tc := range []struct {
		minHealth uint32
		eject     int
		want      string
	}{
		{50, 1, "[1 2 3]"},
		{50, 2, "[2 3]"},
		{50, 3, "[0 1 2 3]"},
		{50, 4, "[0 1 2 3]"},
		{1, 3, "[3]"},
		{1, 4, "[0 1 2 3]"},
		{100, 1, "[0 1 2 3]"},
		{1000, 0, "[0 1 2 3]"},
		{0, 3, "[3]"},
		{0, 4, "[]"},
	} {
		g := detecting(4, Outlier{MinHealthPercent: tc.minHealth})
		for _, h := range g.Hosts()[:tc.eject] {
			finish(h, 5, Failed)
		}
		if got := fmt.Sprint(picked(t, g)); got != tc.want || g.Ejected() != tc.eject {
			t.Errorf("at least %d%%, %d ejected (%d): picked %s, want %s", tc.minHealth, tc.eject, g.Ejected(), got, tc.want)
		}
	}
}

// The next priority serves when the first has nobody left, or too few.
func TestNextPriorityWhenHostsAreEjected(t *testing.T) {
	for _, tc := range []struct {
		minHealth uint32
		eject     []int
		want      string
	}{
		{0, []int{0}, "[1]"},
		{0, []int{0, 1}, "[2 3]"},
		{0, []int{0, 1, 3}, "[2]"},
		{60, []int{0}, "[2 3]"},
		{60, []int{0, 3}, "[0 1]"},
	} {
		g := detecting(0, Outlier{MinHealthPercent: tc.minHealth})
		es := numbered(4)
		es[2].Priority, es[3].Priority = 1<<32-1, 1<<32-1
		g.Update(Policy{}, es)
		for _, i := range tc.eject {
			finish(g.Hosts()[i], 5, Failed)
		}
		if got := fmt.Sprint(picked(t, g)); got != tc.want {
			t.Errorf("at least %d%%, ejected %v: picked %s, want %s", tc.minHealth, tc.eject, got, tc.want)
		}
	}
}

func TestDetectChangesTheRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := detecting(3, Outlier{})
		hosts := g.Hosts()
		finish(hosts[0], 5, Failed)
		finish(hosts[1], 3, Failed)
		before := g.detection.Load()
		g.Detect(&Outlier{MaxEjectionPercent: num(100), Interval: 10 * time.Second})
		if g.detection.Load() != before {
			t.Error("the same rules, said otherwise, are taken for others")
		}
		time.Sleep(10 * time.Second)
		g.Detect(&Outlier{MaxEjectionPercent: num(100), Consecutive5xx: num(4), BaseEjection: time.Second})
		finish(hosts[1], 1, Failed)
		if !hosts[0].Ejected() || !hosts[1].Ejected() {
			t.Error("new rules do not go on from what was")
		}
		time.Sleep(time.Second)
		wantPicked(t, g, "1", "2")
		time.Sleep(19 * time.Second)
		wantPicked(t, g, "0", "1", "2")

		finish(hosts[0], 4, Failed)
		wantPicked(t, g, "1", "2")
		g.Detect(nil)
		g.Detect(nil)
		wantPicked(t, g, "0", "1", "2")
		time.Sleep(time.Hour)
		g.Detect(&Outlier{})
		finish(hosts[0], 5, Failed)
		if wait, ok := g.Return(); wait != 30*time.Second || !ok {
			t.Errorf("after a new start the first ejection is %v, %v", wait, ok)
		}
	})
}

func TestRulesTakeAnything(t *testing.T) {
	const most = 1<<63 - 1
	synctest.Test(t, func(t *testing.T) {
		g := detecting(3, Outlier{Interval: 1, BaseEjection: most, MaxEjection: 1, EjectionJitter: most})
		h := g.Hosts()[0]
		for range 3 {
			finish(h, 5, Failed)
			wantPicked(t, g, "1", "2")
			wait, ok := g.Return()
			if !ok || wait < longest || wait > 2*longest {
				t.Fatalf("returns in %v", wait)
			}
			time.Sleep(wait)
			wantPicked(t, g, "0", "1", "2")
		}
		r := newRules(&Outlier{Interval: 1, BaseEjection: -1, MaxEjection: 40 * time.Second, Enforcing5xx: num(200)})
		if r.interval != shortest || r.base != 30*time.Second || r.most != 40*time.Second || r.limits[anyError].enforcing != 100 {
			t.Errorf("%+v", r)
		}
	})
}
