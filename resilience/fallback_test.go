package resilience

import (
	"fmt"
	"testing"
	"time"
)

func TestFallback(t *testing.T) {
	kept, configured := &Answer{Status: 200, Body: []byte("kept")}, &Answer{Status: 503}
	for _, tc := range []struct {
		name string
		f    Fallback
		key  string
		at   time.Duration
		want *Answer
	}{
		{"none", Fallback{}, "k", 0, nil},
		{"configured", Fallback{Answer: configured}, "k", 0, configured},
		{"last good", Fallback{Answer: configured, MaxAge: time.Minute}, "k", time.Minute, kept},
		{"too old", Fallback{Answer: configured, MaxAge: time.Minute}, "k", time.Minute + 1, configured},
		{"another call's", Fallback{MaxAge: time.Minute}, "l", 0, nil},
	} {
		l := NewLastGood(&tc.f)
		l.Keep("k", start, kept)
		got, age := tc.f.Choose(l, tc.key, start.Add(tc.at))
		if got != tc.want || got == kept && age != tc.at || got != kept && age != 0 {
			t.Errorf("%s: %+v, %v", tc.name, got, age)
		}
	}
	if got, _ := (&Fallback{Answer: configured, MaxAge: 1}).Choose(nil, "k", start); got != configured {
		t.Errorf("without a store: %+v", got)
	}
}

func TestFallbackKeepsOnlyWhatIsGood(t *testing.T) {
	f := Fallback{MaxAge: time.Minute, MaxBytes: 10}
	for _, tc := range []struct {
		name    string
		o       Outcome
		bytes   int
		keeps   bool
		applies bool
	}{
		{"200", Outcome{Status: 200}, 10, true, false},
		{"too long", Outcome{Status: 200}, 11, false, false},
		{"304", Outcome{Status: 304}, 0, false, false},
		{"404", Outcome{Status: 404}, 0, false, false},
		{"503", Outcome{Status: 503}, 0, false, true},
		{"gRPC OK", Outcome{GRPC: true}, 0, true, false},
		{"gRPC NOT_FOUND", Outcome{GRPC: true, Code: 5}, 0, false, false},
		{"gRPC UNAVAILABLE", Outcome{GRPC: true, Code: 14}, 0, false, true},
		{"no connection", Outcome{Err: errBroken, Cause: ConnectFailure}, 0, false, true},
		{"deadline", Outcome{Err: errBroken, Cause: Timeout}, 0, false, true},
		{"given up", Outcome{Err: errBroken, Cause: Canceled}, 0, false, false},
	} {
		if keeps, applies := f.Keeps(tc.o, tc.bytes), f.Applies(tc.o); keeps != tc.keeps || applies != tc.applies {
			t.Errorf("%s: keeps %v, applies %v", tc.name, keeps, applies)
		}
	}
	if (&Fallback{}).Keeps(Outcome{Status: 200}, 0) {
		t.Error("answers are kept for nobody")
	}
}

func TestLastGoodIsBounded(t *testing.T) {
	f := &Fallback{MaxAge: time.Hour, MaxAnswers: 20}
	l := NewLastGood(f)
	for i := range 1000 {
		l.Keep(fmt.Sprint(i), start.Add(time.Duration(i)), &Answer{Status: 200})
	}
	found := 0
	for i := range 1000 {
		if a, _ := f.Choose(l, fmt.Sprint(i), start); a != nil {
			found++
		}
	}
	if found == 0 || found > 24 {
		t.Errorf("%d are kept", found)
	}
}
