package report

import (
	"bytes"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	generator "github.com/invopop/jsonschema"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "rewrite the published schemas")

var published = map[string]any{"report": &Report{}, "list": &List{}, "files": &Files{}, "node": &Node{}, "oom": &OOM{}, "advisories": &Advisories{}, "doctor": &Doctor{}, "reclaim": &Reclaim{}}

// schema makes the JSON Schema of a message from its Go types and comments.
// Strict forbids fields that the schema does not name: readers must not, tests
// must.
func schema(t *testing.T, name string, v any, strict bool) []byte {
	t.Helper()
	r := &generator.Reflector{AllowAdditionalProperties: !strict, DoNotReference: false}
	if err := r.AddGoComments("github.com/memwhy/memwhy/internal/report", "./"); err != nil {
		t.Fatal(err)
	}
	doc := r.Reflect(v)
	doc.ID = generator.ID("https://github.com/memwhy/memwhy/docs/" + name + ".schema.json")
	b, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(b, '\n')
}

func TestSchemasArePublished(t *testing.T) {
	for name, v := range published {
		file := filepath.Join("..", "..", "docs", name+".schema.json")
		got := schema(t, name, v, false)
		if *update {
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(string(want), string(got)); d != "" {
			t.Errorf("%s is not the schema of the code; `make schema` rewrites it (-want +got):\n%s", file, d)
		}
	}
}

// Changes of a published schema are additive: what is required stays required,
// and no property disappears or changes its type.
func TestExamplesFitTheSchema(t *testing.T) {
	for name, v := range published {
		examples, err := filepath.Glob(filepath.Join("testdata", name+"-*.json"))
		if err != nil || len(examples) == 0 {
			t.Fatalf("%d examples of %s, %v", len(examples), name, err)
		}
		strict := compile(t, schema(t, name, v, true))
		for _, file := range examples {
			b, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
			if err != nil {
				t.Fatal(err)
			}
			if err := strict.Validate(doc); err != nil {
				t.Errorf("%s: %v", file, err)
			}
			broken := doc.(map[string]any)
			delete(broken, "schema")
			if strict.Validate(broken) == nil {
				t.Errorf("%s without its schema still fits: the schema checks nothing", file)
			}
		}
	}
}

func compile(t *testing.T, b []byte) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("mem:schema", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("mem:schema")
	if err != nil {
		t.Fatal(err)
	}
	return s
}
