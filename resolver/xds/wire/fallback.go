package wire

import (
	"encoding/base64"
	"math"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/resilience"
)

// decodeFallback reads what calls are answered with when a route's attempts are spent, of which
// no field of Envoy's speaks; nil if it never answers.
func decodeFallback(o *own) *resilience.Fallback {
	if o == nil {
		return nil
	}
	f := resilience.Fallback{
		Answer: decodeAnswer(o.in("answer")), MaxAge: o.duration("max_age"),
		MaxAnswers: int(min(o.count("max_answers"), math.MaxInt32)), MaxBytes: int(min(o.count("max_bytes"), math.MaxInt32)),
	}
	o.unknown()
	if f.Answer == nil && f.MaxAge == 0 {
		return nil
	}
	return &f
}

func decodeAnswer(o *own) *resilience.Answer {
	if o == nil {
		return nil
	}
	a := resilience.Answer{Status: int(min(o.count("status"), math.MaxInt32)), Code: o.count("code"), GRPC: o.fields["code"] != nil}
	for _, h := range o.all("header") {
		e := resilience.Entry{Key: h.text("name"), Value: h.text("value")}
		if e.Key == "" {
			h.refuse("name", "empty")
		}
		h.unknown()
		a.Header = append(a.Header, e)
	}
	body, err := base64.StdEncoding.DecodeString(o.text("body"))
	if err != nil {
		o.refuse("body", "is not base64")
	}
	if len(body) > 0 {
		a.Body = body
	}
	if a.GRPC && a.Status != 0 {
		o.refuse("", "both a status and a code")
	}
	o.sound((&resilience.Fallback{Answer: &a}).Check())
	o.unknown()
	return &a
}

func encodeFallback(f *resilience.Fallback) fields {
	if f == nil || f.Answer == nil && f.MaxAge == 0 {
		return nil
	}
	out := fields{}
	out.duration("max_age", f.MaxAge)
	out.number("max_answers", float64(f.MaxAnswers))
	out.number("max_bytes", float64(f.MaxBytes))
	if f.Answer == nil {
		return out
	}
	a := fields{}
	if f.Answer.GRPC {
		a["code"] = structpb.NewNumberValue(float64(f.Answer.Code))
	} else {
		a.number("status", float64(f.Answer.Status))
	}
	var header []fields
	for _, e := range f.Answer.Header {
		h := fields{}
		h.text("name", e.Key)
		h.text("value", e.Value)
		header = append(header, h)
	}
	a.all("header", header)
	a.text("body", base64.StdEncoding.EncodeToString(f.Answer.Body))
	out.in("answer", a)
	return out
}
