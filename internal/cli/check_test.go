package cli

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// What fails is unknown, in each protocol's own code.
func TestCheck(t *testing.T) {
	const healthy, oom = "../wire/testdata/el7-1062-healthy.capture", "../wire/testdata/el7-1062-memcg-oom.capture"
	for _, c := range []struct {
		args, out string
		code      int
	}{
		{"check --from " + healthy, "OK ", 0},
		{"check --from " + oom, "WARNING ", 1},
		{"check --from " + oom + " --severity critical", "OK ", 0},
		{"check --from " + oom + " --protocol nagios", "MEMWHY WARNING - ", 1},
		{"check --from " + oom + " --protocol npd", "oom.ancestor: ", 1},
		{"check --from " + healthy + " --protocol nagios", "MEMWHY OK - ", 0},
		{"check --from " + healthy + " --working-set 1%", "WARNING ", 1},
		{"check --from " + healthy + " --node", "OK node", 0},
		{"check --from nowhere --protocol nagios", "MEMWHY UNKNOWN - ", 3},
		{"check --from nowhere --protocol=npd", "stat nowhere", 2},
		{"check --from nowhere", "", 2},
		{"check --protocol nagios --no-such-flag", "MEMWHY UNKNOWN - ", 3},
		{"check --protocol nagios", "MEMWHY UNKNOWN - ", 3},
		{"check --protocol x --from " + healthy, "", 2},
		{"check --working-set x --from " + healthy, "", 2},
		{"check --kill-risk low --from " + healthy, "", 2},
	} {
		var out, errs bytes.Buffer
		code := Run(context.Background(), strings.Fields(c.args), nil, &out, &errs)
		if code != c.code || !strings.HasPrefix(out.String(), c.out) || c.out == "" && out.Len() > 0 || strings.Count(out.String(), "\n") > 1 {
			t.Errorf("%s: %d %q %q", c.args, code, out.String(), errs.String())
		}
	}
}
