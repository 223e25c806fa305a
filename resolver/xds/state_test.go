package xds

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/resolver"
)

// stateOf is what Status says of a resource.
func stateOf(t *testing.T, c *Client, k kind, name string) ResourceStatus {
	t.Helper()
	for _, r := range c.Status().Resources {
		if r.Type == k.String() && r.Name == name {
			return r
		}
	}
	t.Fatalf("status has no %s %q", k, name)
	return ResourceStatus{}
}

func TestItem15GoodResourcesOfABadResponseAreUsed(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		a, b := watching(c, "a"), watching(c, "b")
		st := s.accept()
		st.settleMute()
		nonce := st.send(listeners, "1", bad(listeners, "a"), lds("b", "b-r"))
		st.expect(routes, "b-r")
		reply := st.acked(listeners, nonce)
		if m := reply.nack.GetMessage(); !contains(m, `"a"`) || contains(m, `"b"`) {
			t.Errorf("refusal %q, want one of a only", m)
		}
		st.send(routes, "1", rds("b-r"))
		st.settleMute()
		b.value(t)
		a.error(t)
	})
}

func TestItem16BadUpdateKeepsTheCachedCopy(t *testing.T) {
	for _, k := range []kind{listeners, routes, clusters, endpoints} {
		t.Run(k.String(), func(t *testing.T) {
			both(t, func(s *script, f ...string) {
				t := s.t
				var log logbook
				c := s.clientOf(Config{Logger: log.logger()}, f...)
				w := watching(c, "a")
				st := s.accept()
				st.settle(worldOf(shop("a")...))
				w.value(t)
				name := "a" + map[kind]string{routes: "-r", clusters: "-c", endpoints: "-e"}[k]
				st.send(k, "2", bad(k, name))
				st.settleMute()
				err := w.error(t)
				if !contains(err.Error(), name) {
					t.Errorf("error %q does not name %q", err, name)
				}
				if unknown := new(resolver.UnknownError); errors.As(err, &unknown) {
					t.Errorf("error %v takes the service away", err)
				}
				if got := stateOf(t, c, k, name); got.State != Nacked || got.Version != "1" || got.Error == "" {
					t.Errorf("status is %+v, want NACKED with version 1 in use", got)
				}
				if n := log.count("resource not updated"); n != 1 {
					t.Errorf("%d lines in the log, want 1", n)
				}
			})
		})
	}
}

func TestItem17BadFirstUpdateIsTold(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		w := watching(s.client(f...), "a")
		st := s.accept()
		st.settleMute()
		st.send(listeners, "1", bad(listeners, "a"))
		st.settleMute()
		err := w.error(t)
		for _, want := range []string{`"a"`, "domains", "sidecar~10.0.0.1~test.default~default.svc.cluster.local"} {
			if !contains(err.Error(), want) {
				t.Errorf("error %q lacks %q", err, want)
			}
		}
	})
}

func TestItem17BadClusterFailsAloneAndSaysWhy(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		w := watching(s.client(f...), "a")
		st := s.accept()
		st.settleMute()
		st.send(listeners, "1", lds("a", "r"))
		st.settleMute()
		st.send(routes, "1", rds("r", "good", "bad"))
		st.settleMute()
		st.send(clusters, "1", cds("good", "e"), bad(clusters, "bad"))
		st.settleMute()
		st.send(endpoints, "1", eds("e", "10.0.0.1:80"))
		st.settleMute()
		list := w.take()
		if len(list) != 2 || list[0].value == nil || list[1].err == nil {
			t.Fatalf("reports %v, want the service and what is wrong with it", list)
		}
		if got, want := addrs(list[0].value), "good=10.0.0.1:80 bad?"; got != want {
			t.Errorf("service is %q, want %q", got, want)
		}
		for _, why := range []string{list[1].err.Error(), list[0].value.Missing["bad"]} {
			if !contains(why, "connect_timeout") || !contains(why, "[node sidecar~") {
				t.Errorf("%q does not say what is wrong", why)
			}
		}
	})
}

func TestItem18NothingIsToldTwice(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		w := watching(s.client(f...), "a")
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		w.value(t)
		send := func(version string, p piece) { st.send(endpoints, version, p); st.settleMute() }

		send("2", eds("a-e", "10.0.0.1:80")) // the same bytes
		w.nothing(t)
		send("3", bad(endpoints, "a-e"))
		w.error(t)
		send("4", bad(endpoints, "a-e"))
		w.nothing(t)
		send("5", eds("a-e", "10.0.0.1:80")) // good after bad, though nothing changed
		w.value(t)
		send("6", eds("a-e", "10.0.0.2:80"))
		if got, want := addrs(w.value(t)), "a-c=10.0.0.2:80"; got != want {
			t.Errorf("service is %q, want %q", got, want)
		}
	})
}

func TestUnchangedBytesAreNotDecoded(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		n := 0
		decoder := decoders[endpoints]
		decoders[endpoints] = func(a *anypb.Any) (*content, error) { n++; return decoder(a) }
		defer func() { decoders[endpoints] = decoder }()
		c := s.client(f...)
		w := watching(c, "a")
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		w.value(t)
		for _, v := range []string{"2", "3", "1"} { // versions may go back; they mean nothing
			st.send(endpoints, v, eds("a-e", "10.0.0.1:80"))
			st.settleMute()
		}
		if got := stateOf(t, c, endpoints, "a-e").Version; got != "1" {
			t.Errorf("version %q, want the newest", got)
		}
		c.Close()
		if n != 1 {
			t.Errorf("decoded %d times, want once", n)
		}
	})
}

func TestItem19MissingInAStateOfTheWorldResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client("ads_sotw")
		a, b := watching(c, "a"), watching(c, "b")
		st := s.accept()
		st.settle(worldOf(append(shop("a"), shop("b")...)...))
		a.value(t)
		b.value(t)
		st.send(routes, "2", rds("a-r", "a-c")) // routes and endpoints: unchanged
		st.send(endpoints, "2", eds("a-e", "10.0.0.1:80"))
		st.settleMute()
		a.nothing(t)
		b.nothing(t)
		st.send(listeners, "2", lds("a", "a-r")) // listeners and clusters: gone
		st.settleMute()
		a.nothing(t)
		if err := b.error(t); !contains(err.Error(), `listener "b" was removed`) {
			t.Errorf("error %q", err)
		}
		if got := stateOf(t, c, listeners, "b"); got.State != DoesNotExist || got.Version != "1" {
			t.Errorf("status %+v", got)
		}
		st.send(clusters, "2", cds("b-c", "b-e"))
		st.settleMute()
		if err := a.error(t); !contains(err.Error(), `cluster "a-c" was removed`) {
			t.Errorf("error %q", err)
		}
	})
}

// An entry that has no readable name may be any of those that seem missing.
func TestUnreadableEntryDeletesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		w := watching(s.client("ads_sotw"), "a")
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		w.value(t)
		nonce := st.send(listeners, "2", piece{any: &anypb.Any{TypeUrl: listeners.typeURL(), Value: []byte{0xff, 0xff}}})
		if a := st.acked(listeners, nonce); a.nack == nil {
			t.Error("not refused")
		}
		w.nothing(t)
	})
}

func TestItem19RemovedInADeltaResponse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		c := s.client()
		w := watching(c, "a")
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		w.value(t)
		st.send(listeners, "", gone("a"))
		st.settleMute()
		err := w.error(t)
		if unknown := new(resolver.UnknownError); errors.As(err, &unknown) || !contains(err.Error(), `listener "a" was removed`) {
			t.Errorf("error %v", err)
		}
		st.send(listeners, "", gone("a"))
		st.settleMute()
		w.nothing(t)
		st.send(listeners, "1", lds("a", "a-r")) // and it is back
		st.settleMute()
		w.value(t)
	})
}

func TestRemovedBeforeItWasThereIsUnknownAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		w := watching(s.client(), "paymnts")
		st := s.accept()
		began := time.Now()
		st.settle(world{})
		var unknown *resolver.UnknownError
		if err := w.error(t); !errors.As(err, &unknown) || unknown.Name != "paymnts" {
			t.Errorf("error %v, want an UnknownError", err)
		}
		if got := time.Since(began); got > time.Second {
			t.Errorf("took %v", got)
		}
		st.send(listeners, "1", lds("paymnts", "r"))
		st.settleMute()
		st.send(routes, "1", rds("r"))
		st.settleMute()
		w.value(t)
	})
}

func TestItem20NeverReceivedDoesNotExistAfter15s(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		s.breakDown(errors.New("connection refused"))
		c := s.client(f...)
		w := watching(c, "a")
		w.error(t)                   // unreachable
		time.Sleep(30 * time.Second) // no request was sent: no timer
		s.breakDown(nil)
		st := s.accept()
		st.ask()
		w.nothing(t)
		time.Sleep(14 * time.Second)
		w.nothing(t)
		time.Sleep(time.Second)
		var unknown *resolver.UnknownError
		if err := w.error(t); !errors.As(err, &unknown) || !contains(err.Error(), "15s") {
			t.Errorf("error %v, want an UnknownError that tells of 15s", err)
		}
		if got := stateOf(t, c, listeners, "a").State; got != DoesNotExist {
			t.Errorf("state %v", got)
		}
		time.Sleep(time.Minute)
		w.nothing(t)
	})
}

func TestItem20TimerStopsWithTheStream(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		w := watching(s.client(f...), "a")
		st := s.accept()
		st.ask()
		time.Sleep(10 * time.Second)
		st.breaks(errors.New("broken"))
		w.error(t) // broken
		st = s.accept()
		st.ask()
		time.Sleep(14 * time.Second)
		w.nothing(t)
		time.Sleep(time.Second)
		w.error(t)
	})
}

func TestItem21LateArrivalIsTaken(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		w := watching(s.client(f...), "a")
		st := s.accept()
		st.ask()
		time.Sleep(time.Minute)
		w.error(t)
		st.send(listeners, "1", lds("a", "a-r"))
		st.settleMute()
		st.send(routes, "1", rds("a-r"))
		st.settleMute()
		w.value(t)
	})
}

func TestItem22LateWatchersAreToldWhatIsKnown(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		watching(c, "a")
		watching(c, "none")
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		watching(c, "a").value(t)
		st.send(endpoints, "2", bad(endpoints, "a-e"))
		st.settleMute()
		list := watching(c, "a").take()
		if len(list) != 2 || list[0].value == nil || list[1].err == nil {
			t.Errorf("reports %v, want the service and the error", list)
		}
		time.Sleep(timeToAnswer)
		late := watching(c, "none")
		synctest.Wait()
		var unknown *resolver.UnknownError
		if err := late.error(t); !errors.As(err, &unknown) {
			t.Errorf("error %v", err)
		}
		st.settleMute()
	})
}

func TestItem23IgnoredDeletion(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		var log logbook
		w := watching(s.clientOf(Config{Logger: log.logger()}, append(f, "ignore_resource_deletion", "fail_on_data_errors")...), "a")
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		w.value(t)
		st.send(listeners, "2", gone("a"))
		st.send(listeners, "3", gone("a"))
		st.settleMute()
		w.nothing(t)
		if n := log.count("removed"); n != 1 {
			t.Errorf("%d lines in the log, want 1", n)
		}
	})
}

func TestItem24FailOnDataErrors(t *testing.T) {
	for _, test := range []struct {
		name  string
		kind  kind
		word  piece
		taken bool // the service as a whole
	}{
		{"listener removed", listeners, gone("a"), true},
		{"listener not found", listeners, faulty("a", codes.NotFound, "no service a"), true},
		{"route not found", routes, faulty("a-r", codes.NotFound, "no route"), true},
		{"route not permitted", routes, faulty("a-r", codes.PermissionDenied, "not yours"), true},
		{"cluster removed", clusters, gone("a-c"), false},
		{"endpoints not found", endpoints, faulty("a-e", codes.NotFound, "no endpoints"), false},
	} {
		for _, drop := range []bool{true, false} {
			t.Run(test.name, func(t *testing.T) {
				both(t, func(s *script, f ...string) {
					t := s.t
					if drop {
						f = append(f, "fail_on_data_errors")
					}
					w := watching(s.client(f...), "a")
					st := s.accept()
					st.settle(worldOf(shop("a")...))
					w.value(t)
					st.send(test.kind, "2", test.word)
					st.settleMute()
					list := w.take()
					err := list[len(list)-1].err
					var unknown *resolver.UnknownError
					if got := errors.As(err, &unknown); got != (drop && test.taken) {
						t.Errorf("told %v: the service is taken away: %v, want %v", list, got, drop && test.taken)
					}
					if wantValue := drop && !test.taken; (len(list) == 2) != wantValue {
						t.Fatalf("told %v", list)
					} else if wantValue {
						if got := addrs(list[0].value); contains(got, "10.0.0.1") {
							t.Errorf("still in use: %s", got)
						}
					}
				})
			})
		}
	}
}

func TestItem24ResourceErrors(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		w, x := watching(c, "paymnts"), watching(c, "x")
		st := s.accept()
		st.settleMute()
		nonce := st.send(listeners, "1", faulty("paymnts", codes.NotFound, `no service "paymnts"; nearest: payments`), faulty("x", codes.Internal, "out of order"))
		if a := st.acked(listeners, nonce); a.nack != nil {
			t.Errorf("refused: %v", a.nack)
		}
		var unknown *resolver.UnknownError
		if err := w.error(t); !errors.As(err, &unknown) || err.Error() != `no service "paymnts"; nearest: payments` {
			t.Errorf("error %v", err)
		}
		if err := x.error(t); errors.As(err, &unknown) || !contains(err.Error(), "out of order") {
			t.Errorf("error %v", err)
		}
		if got := stateOf(t, c, listeners, "x").State; got != Failed {
			t.Errorf("state %v", got)
		}
	})
}

func TestItem24TimerMayBeTransient(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		w := watching(s.client(append(f, "resource_timer_is_transient_error")...), "a")
		s.accept().ask()
		time.Sleep(29 * time.Second)
		w.nothing(t)
		time.Sleep(time.Second)
		err := w.error(t)
		if unknown := new(resolver.UnknownError); errors.As(err, &unknown) {
			t.Errorf("error %v says that there is no such service", err)
		}
	})
}

func TestItem25StreamErrors(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		var log logbook
		c := s.clientOf(Config{Logger: log.logger()}, f...)
		cached, pending := watching(c, "a"), watching(c, "none")
		st := s.accept()
		st.settle(worldOf(shop("a")...))
		cached.value(t)
		if !st.delta {
			pending.nothing(t) // in delta the server has said that there is none
		} else {
			pending.error(t)
		}

		time.Sleep(10 * time.Second)
		s.breakDown(errors.New("connection refused"))
		st.breaks(errors.New("broken")) // after a response: silent; then the next one fails
		time.Sleep(10 * time.Minute)
		cached.nothing(t) // keeps what it has
		if n := log.count("connection refused"); n != 1 {
			t.Errorf("%d lines in the log of one outage, want 1", n)
		}
		if !st.delta {
			if err := pending.error(t); !contains(err.Error(), "passthrough:///cp unreachable: connection refused") {
				t.Errorf("error %q", err)
			}
		}
		fresh := watching(c, "b") // is told at once
		if err := fresh.error(t); !contains(err.Error(), "passthrough:///cp unreachable: connection refused") {
			t.Errorf("error %q", err)
		}
		if got := c.Status(); got.State != "waiting" || !contains(got.Error, "connection refused") {
			t.Errorf("status %+v", got)
		}

		s.breakDown(nil)
		s.accept().settle(worldOf(append(shop("a"), shop("b")...)...))
		fresh.value(t)
		cached.nothing(t)
		if n := log.count("answers again"); n != 1 {
			t.Errorf("%d lines in the log of the return, want 1", n)
		}
	})
}

func TestItem26PanicIsANack(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		decoder := decoders[clusters]
		decoders[clusters] = func(a *anypb.Any) (*content, error) {
			c, err := decoder(a)
			if c.name == "a-c" {
				panic("a bug")
			}
			return c, err
		}
		c := s.client(f...)
		defer func() { c.Close(); decoders[clusters] = decoder }()
		a, b := watching(c, "a"), watching(c, "b")
		st := s.accept()
		st.settleMute()
		st.send(listeners, "1", lds("a", "r"), lds("b", "r"))
		st.settleMute()
		st.send(routes, "1", rds("r", "a-c", "b-c"))
		st.settleMute()
		nonce := st.send(clusters, "1", cds("a-c", "a-e"), cds("b-c", "b-e"))
		st.expect(endpoints, "b-e")
		if m := st.acked(clusters, nonce).nack.GetMessage(); !contains(m, `cluster "a-c"`) || !contains(m, "a bug") || contains(m, `"b-c"`) {
			t.Errorf("refusal %q", m)
		}
		st.send(endpoints, "1", eds("b-e", "10.0.0.1:80"))
		st.settleMute()
		for _, w := range []*told{a, b} {
			if got := addrs(w.take()[0].value); got != "a-c? b-c=10.0.0.1:80" {
				t.Errorf("service %q", got)
			}
		}
	})
}

func TestMalformedResponsesAreRefused(t *testing.T) {
	for _, test := range []struct {
		name   string
		pieces func() []piece
		want   []string
		only   string // protocol
	}{
		{"another type", func() []piece { p := rds("a"); p.name = "a"; return []piece{p} }, []string{"RouteConfiguration"}, ""},
		{"another type of another name", func() []piece { return []piece{rds("z")} }, []string{"RouteConfiguration"}, ""},
		{"no resource", func() []piece { return []piece{{name: "a"}} }, []string{"resource"}, "delta"},
		{"empty resource", func() []piece { return []piece{{name: "a", any: new(anypb.Any)}} }, nil, ""},
		{"no name", func() []piece { p := lds("", "r"); return []piece{p} }, []string{"name"}, ""},
		{"twice", func() []piece { return []piece{lds("a", "r"), lds("a", "q")} }, []string{`"a"`, "twice"}, ""},
		{"sent and removed", func() []piece { return []piece{lds("a", "r"), gone("a")} }, []string{`"a"`, "both"}, "delta"},
		{"another name", func() []piece { p := lds("b", "r"); p.name = "a"; return []piece{p} }, []string{`"a"`, `"b"`}, "delta"},
		{"garbage", func() []piece {
			return []piece{{name: "a", any: &anypb.Any{TypeUrl: listeners.typeURL(), Value: []byte("garbage")}}}
		}, nil, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			both(t, func(s *script, f ...string) {
				t := s.t
				w := watching(s.client(f...), "a")
				st := s.accept()
				if test.only == "delta" && !st.delta {
					return
				}
				st.settleMute()
				a := st.acked(listeners, st.send(listeners, "1", test.pieces()...))
				if a.nack == nil {
					t.Fatal("not refused")
				}
				for _, want := range test.want {
					if !contains(a.nack.GetMessage(), want) {
						t.Errorf("refusal %q lacks %q", a.nack.GetMessage(), want)
					}
				}
				synctest.Wait()
				for _, r := range w.take() {
					if r.value != nil {
						t.Errorf("it is used: %v", r.value)
					}
				}
			})
		})
	}
}

func TestUnsubscribedAndWantedAgain(t *testing.T) {
	both(t, func(s *script, f ...string) {
		t := s.t
		c := s.client(f...)
		keep := watching(c, "keep")
		st := s.accept()
		st.settle(worldOf(append(shop("keep"), shop("a")...)...))
		keep.value(t)
		for range 10 {
			w := watching(c, "a")
			st.settle(worldOf(append(shop("keep"), shop("a")...)...))
			w.value(t)
			w.stop()
			w = watching(c, "a")
			st.settle(worldOf(append(shop("keep"), shop("a")...)...))
			w.value(t)
			w.stop()
			st.settleMute()
			clear(st.said)
		}
		var names []string
		for _, r := range c.Status().Resources {
			names = append(names, r.Name)
		}
		if want := []string{"keep", "keep-r", "keep-c", "keep-e"}; !slices.Equal(names, want) {
			t.Errorf("still known: %q, want %q", names, want)
		}
	})
}
