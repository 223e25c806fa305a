package wire

import (
	"math"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	admissionv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/admission_control/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"

	"github.com/weftmesh/weft/resilience"
)

const admissionFilter = "envoy.filters.http.admission_control"

// admissionKey begins the names by which an operator changes an Envoy's admission at run time.
const admissionKey = "admission_control."

// decodeAdmission returns nil if the filter is off. Which answers are good is not configurable.
func decodeAdmission(p *place, m *admissionv3.AdmissionControl, own *own) *resilience.Admission {
	p.ignores(m, "enabled", "success_criteria", "sampling_window", "aggression", "sr_threshold", "rps_threshold", "max_rejection_probability")
	if c := m.GetSuccessCriteria(); c == nil {
		p.refuse("evaluation_criteria", "missing")
	} else {
		q := p.in("success_criteria")
		decodeCriteria(&q, c)
	}
	a := resilience.Admission{Window: p.duration("sampling_window", m.GetSamplingWindow())}
	if m.GetSamplingWindow() != nil && a.Window < time.Second {
		p.refuse("sampling_window", "%v is less than 1s", a.Window)
	}
	a.MinRate = float64(m.GetRpsThreshold().GetDefaultValue())
	if exact := own.number("min_rate"); exact > 0 && math.Ceil(exact) == a.MinRate {
		a.MinRate = exact
	}
	own.unknown()
	q := p.in("aggression")
	if g := m.GetAggression(); g != nil {
		switch v := g.GetDefaultValue(); {
		case math.IsNaN(v) || math.IsInf(v, 0):
			q.refuse("default_value", "%v is no number", v)
		default: // less than 1 is 1 (Envoy)
			a.Aggression = max(v, 1)
		}
	}
	q = p.in("sr_threshold")
	a.Threshold = q.some("default_value", m.GetSrThreshold().GetDefaultValue())
	if a.Threshold > 0 && a.Threshold < 1 {
		q.refuse("default_value", "%v is less than 1", m.GetSrThreshold().GetDefaultValue().GetValue())
	}
	q = p.in("max_rejection_probability")
	a.MaxPercent = q.some("default_value", m.GetMaxRejectionProbability().GetDefaultValue())
	p.keeps(m)
	if d := m.GetEnabled().GetDefaultValue(); d != nil && !d.GetValue() {
		return nil
	}
	return &a
}

func decodeCriteria(p *place, m *admissionv3.AdmissionControl_SuccessCriteria) {
	p.ignores(m)
	for i, r := range m.GetHttpCriteria().GetHttpSuccessStatus() {
		if r.GetStart() > r.GetEnd() || r.GetStart() < 100 || r.GetEnd() > 600 {
			up := p.in("http_criteria")
			q := up.at("http_success_status", i)
			q.refuse("", "%d to %d is not in 100 to 600", r.GetStart(), r.GetEnd())
		}
	}
	if c := m.GetHttpCriteria(); c != nil && len(c.GetHttpSuccessStatus()) == 0 {
		p.refuse("http_criteria.http_success_status", "none")
	}
	if c := m.GetGrpcCriteria(); c != nil && len(c.GetGrpcSuccessStatus()) == 0 {
		p.refuse("grpc_criteria.grpc_success_status", "none")
	}
	for i, code := range m.GetGrpcCriteria().GetGrpcSuccessStatus() {
		if code > lastCode {
			up := p.in("grpc_criteria")
			q := up.at("grpc_success_status", i)
			q.refuse("", "%d is no status code", code)
		}
	}
}

// encodeAdmission is the reverse of decodeAdmission, and what no field says.
func encodeAdmission(a resilience.Admission) (*admissionv3.AdmissionControl, fields) {
	m := &admissionv3.AdmissionControl{
		EvaluationCriteria: &admissionv3.AdmissionControl_SuccessCriteria_{SuccessCriteria: &admissionv3.AdmissionControl_SuccessCriteria{}},
		SamplingWindow:     nonzero(a.Window),
	}
	if a.Aggression != 0 {
		m.Aggression = &corev3.RuntimeDouble{DefaultValue: a.Aggression, RuntimeKey: admissionKey + "aggression"}
	}
	if a.Threshold != 0 {
		m.SrThreshold = &corev3.RuntimePercent{DefaultValue: &typev3.Percent{Value: a.Threshold}, RuntimeKey: admissionKey + "sr_threshold"}
	}
	if a.MaxPercent != 0 {
		m.MaxRejectionProbability = &corev3.RuntimePercent{DefaultValue: &typev3.Percent{Value: a.MaxPercent}, RuntimeKey: admissionKey + "max_rejection_probability"}
	}
	if a.MinRate == 0 {
		return m, nil
	}
	whole := math.Ceil(a.MinRate)
	m.RpsThreshold = &corev3.RuntimeUInt32{DefaultValue: uint32(min(whole, math.MaxUint32)), RuntimeKey: admissionKey + "rps_threshold"}
	if whole == a.MinRate {
		return m, nil
	}
	rest := fields{}
	rest.number("min_rate", a.MinRate)
	return m, rest
}
