package render

import (
	"bytes"
	"fmt"

	"go.yaml.in/yaml/v4"

	"github.com/memwhy/memwhy/internal/report"
)

// JSON renders a report or a list as JSON. Characters that a terminal would act
// on stand as \u escapes, so that looking at the output is safe too.
func JSON(v any) ([]byte, error) {
	b, err := report.Encode(v)
	if err != nil {
		return nil, err
	}
	if !bytes.ContainsFunc(b, acts) {
		return b, nil
	}
	var out bytes.Buffer
	for _, r := range string(b) {
		if acts(r) {
			fmt.Fprintf(&out, `\u%04x`, r)
		} else {
			out.WriteRune(r)
		}
	}
	return out.Bytes(), nil
}

// acts reports the characters that JSON allows raw and a terminal obeys: DEL,
// the C1 controls, and the marks that reorder text.
func acts(r rune) bool {
	return r >= 0x7f && r <= 0x9f || r >= 0x200e && r <= 0x200f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069
}

// YAML renders the same document as JSON does, keys in the same order.
func YAML(v any) ([]byte, error) {
	b, err := JSON(v)
	if err != nil {
		return nil, err
	}
	var doc yaml.Node
	if err := yaml.Unmarshal(b, &doc); err != nil {
		return nil, fmt.Errorf("turn the report into YAML: %w", err)
	}
	block(&doc)
	var out bytes.Buffer
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	if err := enc.Encode(&doc); err != nil {
		return nil, fmt.Errorf("turn the report into YAML: %w", err)
	}
	return out.Bytes(), enc.Close()
}

// block drops the flow style of JSON. Strings lose their quotes only where YAML
// reads the bare word back as the same string, which the encoder decides.
func block(n *yaml.Node) {
	if len(n.Content) > 0 || n.Kind == yaml.ScalarNode && n.Tag != "!!str" {
		n.Style = 0
	}
	for _, c := range n.Content {
		block(c)
	}
}
