package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// Bounds of what is taken of an answer from outside: an answer of few bytes can
// else be made to need very much memory.
const (
	MaxList   = 5001 // one more than anybody takes, so that there being more is seen
	MaxLabels = 1000
)

// List is a JSON array of which no more than MaxList elements are taken.
type List[T any] []T

// UnmarshalJSON implements json.Unmarshaler.
func (l *List[T]) UnmarshalJSON(b []byte) error {
	*l = nil
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t == nil {
		return err
	} else if t != json.Delim('[') {
		return errors.New("not an array")
	}
	for d.More() && len(*l) < MaxList {
		var v T
		if err := d.Decode(&v); err != nil {
			return err
		}
		*l = append(*l, v)
	}
	return nil
}

// Labels is a JSON object of strings of which no more than MaxLabels are taken.
type Labels map[string]string

// UnmarshalJSON implements json.Unmarshaler.
func (l *Labels) UnmarshalJSON(b []byte) error {
	*l = nil
	d := json.NewDecoder(bytes.NewReader(b))
	if t, err := d.Token(); err != nil || t == nil {
		return err
	} else if t != json.Delim('{') {
		return errors.New("not an object")
	}
	*l = Labels{}
	for d.More() && len(*l) < MaxLabels {
		key, err := d.Token()
		if err != nil {
			return err
		}
		var value string
		if err := d.Decode(&value); err != nil {
			return err
		}
		(*l)[key.(string)] = value // the decoder gives no other key
	}
	return nil
}

// IsID reports whether s is the whole id of a container as runtimes make them.
func IsID(s string) bool { return len(s) == 64 && isHex(s) }

// Get asks an API from outside for a path.
type Get func(path string) ([]byte, error)

// JSON asks for a path and reads the answer into v.
func (get Get) JSON(path string, v any) error {
	b, err := get(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(b, v); err != nil {
		return fmt.Errorf("%s: %w", path, Foreign(err))
	}
	return nil
}

// Foreign is what may be said of an error in JSON from outside: where, never what
// stood there.
func Foreign(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("not JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Errorf("not the expected JSON at byte %d", kind.Offset)
	}
	return errors.New("not the expected JSON")
}
