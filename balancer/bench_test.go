package balancer

import (
	"fmt"
	"testing"
)

func BenchmarkPick(b *testing.B) {
	for _, k := range []Kind{RoundRobin, Random, LeastRequest} {
		for _, n := range []int{10, 1000, 10000} {
			for _, weights := range []string{"equal", "weighted"} {
				es := make([]Endpoint, n)
				for i := range es {
					es[i].Addr = fmt.Sprint(i)
					if weights == "weighted" {
						es[i].Weight = uint32(i%7 + 1)
					}
				}
				var g Group
				g.Update(Policy{Kind: k}, es)
				b.Run(fmt.Sprintf("%v/%d/%s", k, n, weights), func(b *testing.B) {
					b.ReportAllocs()
					b.RunParallel(func(pb *testing.PB) {
						for pb.Next() {
							if h, err := g.Pick(Want{}); err != nil || h == nil {
								b.Fatal(err)
							}
						}
					})
				})
			}
		}
	}
}

func BenchmarkUpdate(b *testing.B) {
	es := [2][]Endpoint{make([]Endpoint, 1000), make([]Endpoint, 1000)}
	for i := range es[0] {
		es[0][i].Addr = fmt.Sprint(i)
		es[1][i].Addr = fmt.Sprint(i)
	}
	es[1][7].Addr = "another"
	var g Group
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		g.Update(Policy{}, es[i%2])
	}
}

// An attempt, from Pick to Finish, by what watches it.
func BenchmarkAttempt(b *testing.B) {
	for name, o := range map[string]*Outlier{
		"off":      nil,
		"in a row": {},
		"rates":    {SuccessRate: &SuccessRate{}},
	} {
		for result, r := range map[string]Result{"answered": Answered, "mixed": Failed} {
			b.Run(name+"/"+result, func(b *testing.B) {
				var g Group
				g.Update(Policy{}, numbered(10))
				g.Detect(o)
				b.ReportAllocs()
				for i := 0; b.Loop(); i++ {
					h, err := g.Pick(Want{})
					if err != nil {
						b.Fatal(err)
					}
					h.Begin()
					if i%2 == 0 {
						h.Finish(Answered, 0)
					} else {
						h.Finish(r, 0)
					}
				}
			})
		}
	}
}
