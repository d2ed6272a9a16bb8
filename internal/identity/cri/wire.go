package cri

import (
	"errors"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/memwhy/memwhy/internal/identity"
)

// field is one field of a message: bytes of a string or of a message, or a
// number.
type field struct {
	num   protowire.Number
	bytes []byte
	n     uint64
}

func (f field) text() string { return string(f.bytes) }

var errMessage = errors.New("not the expected message")

// fields calls each with every field of a message, in their order.
func fields(b []byte, each func(field) error) error {
	for len(b) > 0 {
		num, kind, n := protowire.ConsumeTag(b)
		if n < 0 {
			return errMessage
		}
		b = b[n:]
		f := field{num: num}
		switch kind {
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
		case protowire.VarintType:
			f.n, n = protowire.ConsumeVarint(b)
		default:
			n = protowire.ConsumeFieldValue(num, kind, b)
		}
		if n < 0 {
			return errMessage
		}
		b = b[n:]
		if err := each(f); err != nil {
			return err
		}
	}
	return nil
}

// entry reads one entry of a map of strings.
func entry(m map[string]string, b []byte) error {
	var key, value string
	err := fields(b, func(f field) error {
		switch f.num {
		case 1:
			key = f.text()
		case 2:
			value = f.text()
		}
		return nil
	})
	if len(m) < identity.MaxLabels {
		m[key] = value
	}
	return err
}
