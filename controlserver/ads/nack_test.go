package ads

import (
	"slices"
	"testing"
)

func TestLedger(t *testing.T) {
	const text = `RouteConfiguration "r1": virtual_hosts[0]: empty`
	for _, tt := range []struct {
		name    string
		text    string // of the refusal; empty is an acknowledgement
		refused []string
		acked   string
	}{
		{"taken", "", nil, "1"},
		{"one named", text, []string{"r1"}, ""},
		{"none named", "parse error", []string{"r1", "r2"}, ""},
	} {
		for _, p := range []Protocol{Delta, StateOfTheWorld} {
			t.Run(tt.name+" "+p.String(), func(t *testing.T) {
				in(t, Config{}, func(t *testing.T, k *kit) {
					k.publish(snap(t, "1", "RDS r1=1, RDS r2=1"))
					c := k.connect(p)
					c.auto = false
					c.ask("RDS", "r1", "r2")
					a := c.expect("RDS +r1=1 +r2=1")[0]
					if tt.text == "" {
						c.ack(a)
					} else {
						c.nack(a, tt.text)
					}
					s := k.status("RDS")
					var refused []string
					for _, f := range s.Refused {
						refused = append(refused, f.Resource)
						if f.Error != tt.text || f.Version == "" || f.Time.IsZero() {
							t.Errorf("refusal %+v", f)
						}
					}
					if !slices.Equal(refused, tt.refused) || s.Acked != tt.acked || s.Sent != "1" {
						t.Errorf("refused %v, acked %q, sent %q; want %v, %q, 1", refused, s.Acked, s.Sent, tt.refused, tt.acked)
					}
				})
			})
		}
	}
}

func TestRefusedResourceIsNotSentAgainUntilItChanges(t *testing.T) {
	for _, p := range []Protocol{Delta, StateOfTheWorld} {
		t.Run(p.String(), func(t *testing.T) {
			in(t, Config{}, func(t *testing.T, k *kit) {
				k.publish(snap(t, "1", "RDS bad=1, RDS good=1"))
				c := k.connect(p)
				c.auto = false
				c.ask("RDS", "bad", "good")
				c.nack(c.expect("RDS +bad=1 +good=1")[0], "bad: no")

				k.publish(snap(t, "2", "RDS bad=1, RDS good=2"))
				c.ack(c.expect("RDS +good=2")[0])
				if s := k.status("RDS"); len(s.Refused) != 1 {
					t.Errorf("the acknowledgement of another resource cleared the refusal: %+v", s)
				}
				k.publish(snap(t, "3", "RDS bad=2, RDS good=2"))
				c.ack(c.expect("RDS +bad=2")[0])
				if s := k.status("RDS"); len(s.Refused) != 0 || s.Acked != "3" {
					t.Errorf("after the good one: %+v", s)
				}
			})
		})
	}
}

func TestAnswersToUnknownNoncesChangeNothing(t *testing.T) {
	in(t, Config{}, func(t *testing.T, k *kit) {
		k.publish(snap(t, "1", "CDS a=1"))
		c := k.connect(Delta)
		c.auto = false
		c.ask("CDS", "a")
		a := c.expect("CDS +a=1")[0]
		c.nack(answer{typ: "CDS", nonce: "no such"}, "bad")
		c.nack(answer{typ: "EDS", nonce: a.nonce}, "another type's nonce")
		if s := k.status("CDS"); s.Acked != "" || len(s.Refused) != 0 {
			t.Errorf("%+v", s)
		}
	})
}
