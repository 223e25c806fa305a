package identity

import (
	"errors"
	"strings"
)

// A template is a path with operators in it (Envoy uri_template, Istio paths): "*" is a segment, "**" any number of them, be it none. An
// operator is a whole segment, but for text behind the last one; "**" is the last.
type template struct {
	// parts are the text before, between and after the operators: there is one more than stars and anything together.
	parts    []string
	anything bool // the last operator is "**"
}

func readyTemplate(text string) (*template, error) {
	if !strings.HasPrefix(text, "/") {
		return nil, errors.New("does not begin with a slash")
	}
	flat, err := withoutNames(text)
	if err != nil {
		return nil, err
	}
	t := &template{}
	literal := 0 // where the text begins that is being read
	for i := 0; i < len(flat); i++ {
		if flat[i] != '*' {
			continue
		}
		switch {
		case t.anything:
			return nil, errors.New("an operator behind **")
		case flat[i-1] != '/':
			return nil, errors.New("an operator that is not a whole segment")
		}
		if err := t.add(flat[literal:i]); err != nil {
			return nil, err
		}
		if t.anything = strings.HasPrefix(flat[i:], "**"); t.anything {
			i++
		}
		if literal = i + 1; literal < len(flat) && flat[literal] != '/' && strings.Contains(flat[literal:], "/") {
			return nil, errors.New("text behind an operator that is not the last segment")
		}
	}
	if err := t.add(flat[literal:]); err != nil {
		return nil, err
	}
	if text := flat[literal:]; strings.HasSuffix(text, "/.") || strings.HasSuffix(text, "/..") {
		return nil, errNowhere
	}
	return t, nil
}

// add adds text, in the form that it has in a normal path.
func (t *template) add(text string) error {
	b, err := canonical(nil, text)
	if err != nil {
		return err
	}
	if nowhere(text) || strings.ContainsAny(text, "{}") {
		return errNowhere
	}
	t.parts = append(t.parts, string(b))
	return nil
}

// withoutNames takes the names from the operators: "{id}" is "*", "{rest=a/**}" is "a/**", and Istio's "{**}" is "**".
func withoutNames(text string) (string, error) {
	var b strings.Builder
	for text != "" {
		before, rest, found := strings.Cut(text, "{")
		b.WriteString(before)
		if !found {
			break
		}
		inside, after, closed := strings.Cut(rest, "}")
		name, pattern, named := strings.Cut(inside, "=")
		switch {
		case !closed:
			return "", errors.New("a brace that is not closed")
		case inside == "*" || inside == "**":
			pattern = inside
		case !isVariable(name) || named && (pattern == "" || strings.ContainsAny(pattern, "{=")):
			return "", errors.New("a variable that is none")
		case !named:
			pattern = "*"
		}
		b.WriteString(pattern)
		text = after
	}
	return b.String(), nil
}

func isVariable(name string) bool {
	for i := range len(name) {
		letter := isAlphanumeric(name[i]) && (name[i] < '0' || name[i] > '9')
		if !letter && (i == 0 || name[i] != '_' && !isAlphanumeric(name[i])) {
			return false
		}
	}
	return name != ""
}

// keys are the choices of what a path has that fits.
func (t *template) keys() []keys {
	last := t.parts[len(t.parts)-1]
	out := []keys{{{of: ofPath, kind: beginning, text: t.parts[0]}}}
	if last != "" {
		out = append(out, keys{{of: ofPath, kind: ending, text: last}})
	}
	for _, text := range t.parts {
		out = append(out, gramsOf(key{of: ofPath}, text)...)
	}
	return out
}

// fits reports whether a path, in normal form, fits. As a star ends where the next text begins at the earliest, which begins with a slash
// unless it is the last, no place is looked at twice.
func (t *template) fits(path string) bool {
	rest, ok := strings.CutPrefix(path, t.parts[0])
	if !ok {
		return false
	}
	stars := len(t.parts) - 1
	if t.anything {
		stars--
	}
	for i := range stars {
		end := strings.IndexByte(rest, '/')
		if end < 0 {
			end = len(rest)
		}
		text := t.parts[i+1]
		if end == 0 {
			return false
		}
		if i == len(t.parts)-2 && !strings.HasPrefix(text, "/") { // in the last segment, of which the star has all that comes before text
			return end == len(rest) && end > len(text) && strings.HasSuffix(rest, text)
		}
		if rest, ok = strings.CutPrefix(rest[end:], text); !ok {
			return false
		}
	}
	if !t.anything {
		return rest == ""
	}
	return strings.HasSuffix(rest, t.parts[len(t.parts)-1])
}
