package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// The script completes in a bash that has nothing but itself.
func TestBashCompletion(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		t.Skip(err)
	}
	var script, errs bytes.Buffer
	if code := Run(t.Context(), []string{"completion", "bash"}, nil, &script, &errs); code != 0 || !strings.Contains(script.String(), plainWords) {
		t.Fatalf("exit code %d, or cobra has another script: %s", code, errs.String())
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "script"), script.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	// Who is asked notes what for, and offers three words.
	fake := "#!/bin/sh\necho \"$#: $*\" >\"$0.asked\"\nprintf '%s\\n' payments/web/app payments/db other :4\n"
	if err := os.WriteFile(filepath.Join(dir, "memwhy"), []byte(fake), 0o700); err != nil {
		t.Fatal(err)
	}
	const drive = `source "$1" && shift
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9
compopt() { :; }
"$(complete -p memwhy | sed 's/.*-F \([^ ]*\) .*/\1/')"
printf '%s\n' "${COMPREPLY[@]}"`
	for line, want := range map[string]struct{ asked, offered string }{
		"memwhy explain ":            {"3: __complete explain ", "payments/web/app payments/db other"},
		"memwhy explain pay":         {"3: __complete explain pay", "payments/web/app payments/db"},
		"memwhy explain payments/w":  {"3: __complete explain payments/w", "payments/web/app"},
		"memwhy  ps -n shop --sort ": {"6: __complete ps -n shop --sort ", "payments/web/app payments/db other"},
		"memwhy explain x":           {"3: __complete explain x", ""},
	} {
		cmd := exec.Command(bash, "--norc", "-c", drive, "bash", filepath.Join(dir, "script"), line)
		cmd.Env = []string{"PATH=" + dir + ":/usr/bin:/bin"}
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		asked, err := os.ReadFile(filepath.Join(dir, "memwhy.asked"))
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.Join(strings.Fields(string(out)), " "); got != want.offered || string(asked) != want.asked+"\n" {
			t.Errorf("%q: %q was asked, %q was offered, want %+v", line, asked, got, want)
		}
	}
}
