package jwt

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"math"
	"strconv"
	"unicode/utf8"
)

// deepest is how far objects and lists of a token may nest.
const deepest = 32

var (
	errObject    = errors.New("is no JSON object")
	errDeep      = errors.New("nests too deeply")
	errDuplicate = errors.New("says one thing twice")
)

// object reads a JSON object of strangers. Unlike encoding/json it takes no name twice, at any depth: of two readers each could believe
// another. Numbers are float64, or json.Number where they are none exactly.
func object(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errObject
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.UseNumber()
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errObject
	}
	o, err := members(d, 1)
	if err != nil {
		return nil, err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errObject
	}
	return o, nil
}

// members reads an object from behind its brace on.
func members(d *json.Decoder, depth int) (map[string]any, error) {
	o := map[string]any{}
	for d.More() {
		t, err := d.Token()
		name, ok := t.(string)
		if err != nil || !ok {
			return nil, errObject
		}
		if _, twice := o[name]; twice {
			return nil, errDuplicate
		}
		if o[name], err = value(d, depth); err != nil {
			return nil, err
		}
	}
	if _, err := d.Token(); err != nil {
		return nil, errObject
	}
	return o, nil
}

func value(d *json.Decoder, depth int) (any, error) {
	t, err := d.Token()
	if err != nil {
		return nil, errObject
	}
	switch t := t.(type) {
	case json.Number:
		return number(t), nil
	case json.Delim:
		if depth++; depth > deepest {
			return nil, errDeep
		}
		if t == '{' {
			return members(d, depth)
		}
		list := []any{}
		for d.More() {
			v, err := value(d, depth)
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		if _, err := d.Token(); err != nil {
			return nil, errObject
		}
		return list, nil
	}
	return t, nil
}

// number is a number as float64, unless it is an integer, or one so large, that a float64 would change.
func number(n json.Number) any {
	f, err := n.Float64()
	if err != nil || f == math.Trunc(f) && math.Abs(f) >= 1<<53 && strconv.FormatFloat(f, 'f', -1, 64) != n.String() {
		return n
	}
	return f
}
