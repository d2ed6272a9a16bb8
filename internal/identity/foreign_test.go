package identity

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// An answer cannot be made to need more memory than a bound times its length.
func TestBoundedJSON(t *testing.T) {
	var v struct {
		Rows   List[struct{ A [64]int64 }]
		Labels Labels
		None   List[int]
		Null   Labels
	}
	labels := make([]string, 10*MaxLabels)
	for i := range labels {
		labels[i] = fmt.Sprintf(`"k%d":"v"`, i)
	}
	answer := `{"Rows":[` + strings.Repeat("{},", 1<<20) + `{}],"Labels":{` + strings.Join(labels, ",") + `},"None":[],"Null":null}`
	if err := json.Unmarshal([]byte(answer), &v); err != nil {
		t.Fatal(err)
	}
	if len(v.Rows) != MaxList || len(v.Labels) != MaxLabels || v.Labels["k1"] != "v" || len(v.None) != 0 || v.Null != nil {
		t.Errorf("%d rows, %d labels", len(v.Rows), len(v.Labels))
	}
	for _, bad := range []string{`{"Rows":{}}`, `{"Rows":[1]}`, `{"Labels":[]}`, `{"Labels":{"a":1}}`, `{"Rows":"x"}`, `{"Rows":[{}`} {
		if err := json.Unmarshal([]byte(bad), &v); err == nil {
			t.Errorf("%s is none", bad)
		}
	}
}
