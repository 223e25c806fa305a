package jwt

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/weftmesh/weft/identity"
)

// A requirement is an identity.PathRequirement made ready.
type requirement struct {
	path condition
	need need
	uses []use // of providers, in the whole of need
	// lenient says that bad tokens are let through, if nothing else in need refuses them.
	lenient bool
}

// A need is an identity.Requirement made ready.
type need struct {
	kind identity.NeedKind
	of   []need
	use  int   // of NeedToken, in the requirement's uses
	over []int // of AllowMissing: the uses whose tokens must be good ones
}

// A use is a provider and the audiences that are asked for.
type use struct {
	provider  *provider
	audiences []string
}

// require makes a requirement ready.
func (v *verifier) require(is *identity.PathRequirement) (q requirement, err error) {
	if q.path, err = newCondition(is.Path); err != nil {
		return q, fmt.Errorf("path: %w", err)
	}
	q.need, err = v.need(&q, &is.Need, nil)
	return q, err
}

// need makes a need ready. beside are the needs of the list that it is one of (any of), which say whose tokens it allows to be missing.
func (v *verifier) need(q *requirement, is *identity.Requirement, beside []identity.Requirement) (n need, err error) {
	n.kind = is.Kind
	switch is.Kind {
	case identity.NeedNothing:
	case identity.NeedToken:
		n.use, err = v.use(q, is.Provider, is.Audiences)
	case identity.NeedAnyOf, identity.NeedAllOf:
		if len(is.Of) == 0 {
			return n, errors.New("a list of needs is empty")
		}
		siblings := is.Of
		if is.Kind == identity.NeedAllOf {
			siblings = nil
		}
		for i := range is.Of {
			of, err := v.need(q, &is.Of[i], siblings)
			if err != nil {
				return n, err
			}
			n.of = append(n.of, of)
		}
	case identity.AllowMissing, identity.AllowMissingOrBad:
		q.lenient = q.lenient || is.Kind == identity.AllowMissingOrBad
		n.over, err = v.over(q, beside)
	default:
		err = fmt.Errorf("kind %d is not known", is.Kind)
	}
	return n, err
}

// over are the uses of some needs, or of all providers if these name none.
func (v *verifier) over(q *requirement, needs []identity.Requirement) (uses []int, err error) {
	for i := range needs {
		n := &needs[i]
		switch n.Kind {
		case identity.NeedToken:
			u, err := v.use(q, n.Provider, n.Audiences)
			if err != nil {
				return nil, err
			}
			uses = append(uses, u)
		case identity.NeedAnyOf, identity.NeedAllOf:
			more, err := v.over(q, n.Of)
			if err != nil {
				return nil, err
			}
			uses = append(uses, more...)
		}
	}
	if len(uses) > 0 {
		return uses, nil
	}
	for _, p := range v.providers {
		u, err := v.use(q, p.Name, nil)
		if err != nil {
			return nil, err
		}
		uses = append(uses, u)
	}
	return uses, nil
}

func (v *verifier) use(q *requirement, name string, audiences []string) (int, error) {
	i := slices.IndexFunc(v.providers, func(p *provider) bool { return p.Name == name })
	if i < 0 {
		return 0, fmt.Errorf("provider %s: there is none of that name", name)
	}
	p := v.providers[i]
	if audiences == nil {
		audiences = p.Audiences
	}
	for i, u := range q.uses {
		if u.provider == p && slices.Equal(u.audiences, audiences) {
			return i, nil
		}
	}
	q.uses = append(q.uses, use{p, audiences})
	return len(q.uses) - 1, nil
}

// A found is a token of a request.
type found struct {
	at   *place
	raw  string
	good bool  // at any use
	err  error // why it is not
}

// A judgement is what becomes of one request.
type judgement struct {
	q      *requirement
	tokens []found
	stands [][]int // where each use has looked: which of tokens are there
	proven []bool  // which uses have a good one
	taken  []taken
}

// A taken is a token whose claims are in the result.
type taken struct {
	provider *provider
	raw      string
}

// judge looks at all tokens of a request that the requirement could be about, and says what follows.
func (v *verifier) judge(ctx context.Context, a *Authenticator, q *requirement, r *identity.Request, res *Result) {
	j := judgement{q: q, stands: make([][]int, len(q.uses)), proven: make([]bool, len(q.uses))}
	for i := range q.uses {
		j.look(ctx, a, i, r, res)
	}
	ok, missing := j.holds(&q.need)
	switch {
	case !ok:
		*res = Result{Err: j.why(missing), Missing: missing}
	case !q.lenient && slices.ContainsFunc(j.tokens, func(t found) bool { return !t.good }):
		// A good token does not make up for a bad one, which who handles the request might take instead.
		*res = Result{Err: j.why(false)}
	}
}

// look verifies the tokens at the places of a use.
func (j *judgement) look(ctx context.Context, a *Authenticator, i int, r *identity.Request, res *Result) {
	u := &j.q.uses[i]
	for k := range u.provider.places {
		at := &u.provider.places[k]
		raw, there, err := at.find(r)
		if !there {
			continue
		}
		n := j.token(at, raw)
		j.stands[i] = append(j.stands[i], n)
		t := &j.tokens[n]
		var is *verified
		if err == nil {
			is, err = a.verify(ctx, u.provider, raw)
		}
		if err == nil && !is.heard(u.audiences) {
			err = errors.New("is for another audience")
		}
		if err != nil {
			if t.err == nil || errors.Is(t.err, errForeign) {
				t.err = err
				if !errors.Is(err, errForeign) {
					t.err = fmt.Errorf("provider %s: the token %w", u.provider.Name, err)
				}
			}
			continue
		}
		t.good, j.proven[i] = true, true
		if as := (taken{u.provider, raw}); !slices.Contains(j.taken, as) {
			j.taken = append(j.taken, as)
			res.add(is)
		}
		if !u.provider.Forward {
			res.hide(at)
		}
	}
}

// token is which of the tokens stands at a place.
func (j *judgement) token(at *place, raw string) int {
	for i, t := range j.tokens {
		if t.at.Kind == at.Kind && t.at.Name == at.Name && t.raw == raw {
			return i
		}
	}
	j.tokens = append(j.tokens, found{at: at, raw: raw})
	return len(j.tokens) - 1
}

// holds reports whether a need is met and, if not, whether that is for want of a token, and not for a bad one.
func (j *judgement) holds(n *need) (ok, missing bool) {
	switch n.kind {
	case identity.NeedNothing, identity.AllowMissingOrBad:
		return true, false
	case identity.NeedToken:
		bad := j.bad(n.use)
		return j.proven[n.use] && !bad, !bad
	case identity.AllowMissing:
		return !slices.ContainsFunc(n.over, j.bad), false
	case identity.NeedAllOf:
		ok, missing = true, true
		for i := range n.of {
			if met, lacks := j.holds(&n.of[i]); !met {
				ok, missing = false, missing && lacks
			}
		}
		return ok, missing && !ok
	case identity.NeedAnyOf:
		missing = true
		for i := range n.of {
			met, lacks := j.holds(&n.of[i])
			if met {
				return true, false
			}
			missing = missing && lacks
		}
		return false, missing
	}
	return false, false
}

// bad reports whether a token stands where the use has looked that no use of the requirement has found good.
func (j *judgement) bad(use int) bool {
	return slices.ContainsFunc(j.stands[use], func(i int) bool { return !j.tokens[i].good })
}

// why is what is wrong with the request.
func (j *judgement) why(missing bool) error {
	if missing {
		return errors.New("tokens: there is none where one is needed")
	}
	for _, t := range j.tokens {
		switch {
		case t.good:
		case errors.Is(t.err, errForeign):
			return fmt.Errorf("tokens: one %w, of none that is configured here", errForeign)
		default:
			return fmt.Errorf("tokens: %w", t.err)
		}
	}
	return errors.New("tokens: those that are there are not the ones that are needed")
}
