package resolver

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/balancer"
	"github.com/weftmesh/weft/resilience"
)

func TestCheckFindsNothingInAGoodService(t *testing.T) {
	s := &Service{
		Name: "payments",
		VirtualHosts: []VirtualHost{{Domains: []string{"payments", "*.shop", "pay.*", "*"}, Routes: []Route{
			{Match: Match{Path: PathMatch{Kind: PathRegex, Value: ".*/x"}}, To: []Target{{"a", 0}}},
			{To: []Target{{"a", 1}, {"b", 0}}, Policy: resilience.Policy{Timeout: time.Second, Retry: resilience.Retry{Base: 1}}},
			{Unsupported: "redirect"},
		}}},
		Clusters: map[string]Cluster{"a": {Name: "a", Endpoints: []balancer.Endpoint{{Addr: "h:1"}, {Addr: "h:2"}}}, "b": {Name: "b"}},
	}
	if found := Check(s); len(found) > 0 {
		t.Error(errors.Join(found...))
	}
}

func TestCheckFindsAll(t *testing.T) {
	s := &Service{
		VirtualHosts: []VirtualHost{
			{Name: "v", Domains: []string{"a", "A", "", "x*y", "*z*"}, Routes: []Route{
				{Name: "r", Match: Match{
					Path:     PathMatch{Kind: PathExact, Value: "x"},
					Headers:  []HeaderMatch{{Name: "n", Is: StringMatch{Kind: StringRange, Low: 2, High: 2}}},
					Query:    []QueryMatch{{Is: StringMatch{Kind: StringRegex, Value: "("}}, {Name: "q", Is: StringMatch{Kind: StringRange}}},
					Fraction: new(uint32(1_000_001)),
				}, Policy: resilience.Policy{Timeout: -1, Retry: resilience.Retry{Base: 2, Max: 1}}},
				{To: []Target{{"gone", 0}, {"c", 0}}, Match: Match{Path: PathMatch{Kind: PathExact}}},
				{To: []Target{{"c", 1<<32 - 1}, {"c", 1}}, Policy: resilience.Policy{Retry: resilience.Retry{Max: -1}}},
			}},
			{Name: "w"},
		},
		Clusters: map[string]Cluster{
			"c": {Name: "d", ConnectTimeout: -1, Endpoints: []balancer.Endpoint{{Addr: "h:1"}, {Addr: "h:1"}, {}}},
		},
	}
	want := []string{
		`virtual host "v": domains: "A" belongs to virtual host "v" already`,
		`virtual host "v": domains: "": empty`,
		`virtual host "v": domains: "x*y": one star, at the beginning or at the end`,
		`virtual host "v": domains: "*z*": one star, at the beginning or at the end`,
		`virtual host "v": route 0 "r": match.query[0] "": regex: error parsing regexp: missing closing ): ` + "`(`",
		`virtual host "v": route 0 "r": match.path: "x" matches nothing: paths begin with /`,
		`virtual host "v": route 0 "r": match.headers[0] "n": range [2, 2) is empty`,
		`virtual host "v": route 0 "r": match.query[0]: no name`,
		`virtual host "v": route 0 "r": match.query[1] "q": range [0, 0) is empty`,
		`virtual host "v": route 0 "r": match.fraction: 1000001 is more than a million`,
		`virtual host "v": route 0 "r": to: leads to no cluster`,
		`virtual host "v": route 0 "r": policy.timeout: -1ns is negative`,
		`virtual host "v": route 0 "r": policy.retry: max 1ns is less than base 2ns`,
		`virtual host "v": route 1 "": match.path: the empty path matches nothing`,
		`virtual host "v": route 1 "": to[0]: cluster "gone" is not known`,
		`virtual host "v": route 1 "": to: all weights are 0`,
		`virtual host "v": route 2 "": to: the weights' sum 4294967296 is more than 4294967295`,
		`virtual host "v": route 2 "": policy.retry: negative pause`,
		`virtual host "w": domains: none`,
		`cluster "c": name: is "d"`,
		`cluster "c": connect timeout: -1ns is negative`,
		`cluster "c": endpoints[1]: "h:1" is there already`,
		`cluster "c": endpoints[2]: no address`,
	}
	var got []string
	for _, err := range Check(s) {
		got = append(got, err.Error())
	}
	if !slices.Equal(got, want) {
		t.Errorf("found\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
