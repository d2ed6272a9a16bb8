package identity

import (
	"encoding/json"
	"errors"
	"fmt"
)

// IsID reports whether s is the whole id of a container as runtimes make them.
func IsID(s string) bool { return len(s) == 64 && isHex(s) }

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
