package words_test

import (
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"unicode"

	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/diagnose"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

var update = flag.Bool("update", false, "put into zh.po what is new in the sources, and take out what is gone")

const catalogue = "zh.po"

// key is an English text, and the file that says it.
type key struct{ text, room string }

// said are the methods that say a text, and which of their arguments it is.
var said = map[string]int{"Say": 0, "Later": 0, "line": 0, "Key": 0, "Count": 2}

// sources finds all texts that the code says, in order.
func sources(t *testing.T) (keys []key) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || strings.HasPrefix(path, "../words") {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && strings.HasPrefix(lit.Value, `"not asked: `) {
				text, _ := strconv.Unquote(lit.Value)
				if text != "not asked: " && !strings.Contains(text, "%") {
					keys = append(keys, key{text, filepath.Dir(path)[len("../"):]})
				}
			}
			text, is, literal := saying(n, strings.HasPrefix(path, "../render/"))
			switch {
			case !is:
			case !literal:
				t.Errorf("%s: what is said is no literal", set.Position(n.Pos()))
			case strings.ContainsFunc(verb.ReplaceAllString(text, ""), worth(n)):
				keys = append(keys, key{text, filepath.Dir(path)[len("../"):]})
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{
		snapshot.CensusGain, snapshot.CensusOff, snapshot.NoCommand, snapshot.Vanished,
		fs.ErrPermission.Error(), syscall.EACCES.Error(), syscall.EPERM.Error(), syscall.ENOENT.Error(), "no such file",
		"cgroup v1 has no such file", "cgroup v2 has no such file", "the recording does not hold it", "not in this capture", "not in this tree",
	} {
		keys = append(keys, key{text, "readers: why not"})
	}
	for _, id := range advisory.IDs() {
		a, err := advisory.Load(id)
		if err != nil {
			t.Fatal(err)
		}
		texts := append([]string{a.Title, a.Unmatched}, a.Fix...)
		for _, r := range a.Ranges {
			texts = append(texts, r.Because)
		}
		for _, text := range texts {
			if text != "" {
				keys = append(keys, key{text, "advisory: titles, fixes and reasons"})
			}
		}
	}
	for _, r := range diagnose.Rules() {
		room := "diagnose: " + r.Code
		d := r.Doc
		for _, text := range slices.Concat([]string{r.Title, r.Noun, r.NoBytes, d.Means, d.Grades, d.Owner, d.Stories}, d.Needs, d.Do, commented(d.Verify)) {
			if text != "" {
				keys = append(keys, key{text, room})
			}
		}
	}
	return keys
}

// worth tells what makes a text one to translate: a letter, and in a sentence its
// punctuation too. Lines of a table have layouts of signs.
func worth(call ast.Node) func(rune) bool {
	if f, ok := call.(*ast.CallExpr).Fun.(*ast.SelectorExpr); ok && f.Sel.Name == "line" {
		return unicode.IsLetter
	}
	return func(r rune) bool { return unicode.IsLetter(r) || unicode.IsPunct(r) }
}

// commented are the commands with words beside them.
func commented(commands []string) []string {
	return slices.DeleteFunc(slices.Clone(commands), func(c string) bool { return !strings.Contains(c, "# ") })
}

func saying(n ast.Node, rendered bool) (text string, is, literal bool) {
	call, ok := n.(*ast.CallExpr)
	if !ok {
		return "", false, false
	}
	if f, ok := call.Fun.(*ast.Ident); ok && (f.Name == "notFound" || f.Name == "differ") {
		lit, ok := call.Args[0].(*ast.BasicLit)
		if !ok {
			return "", true, false
		}
		text, err := strconv.Unquote(lit.Value)
		return text, true, err == nil
	}
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok {
		return "", false, false
	}
	i, ok := said[f.Sel.Name]
	if f.Sel.Name == "Errorf" {
		x, isName := f.X.(*ast.Ident)
		i, ok = 0, isName && x.Name == "words"
	}
	if f.Sel.Name == "line" && !rendered {
		return "", false, false
	}
	if x, isName := f.X.(*ast.Ident); !ok || len(call.Args) <= i || f.Sel.Name == "Count" && isName && (x.Name == "ledger" || x.Name == "strings") {
		return "", false, false
	}
	lit, ok := call.Args[i].(*ast.BasicLit)
	if x, isName := call.Args[i].(*ast.Ident); isName && x.Name == "format" { // the caller's
		return "", false, false
	}
	if !ok {
		return "", f.Sel.Name != "line", false // lines of a table have layouts without words
	}
	text, err := strconv.Unquote(lit.Value)
	return text, true, err == nil
}

var verb = regexp.MustCompile(`%[-+# 0]*\d*(\.\d+)?(\[(\d+)\])?([a-zA-Z%])`)

// verbs are what a format prints of which argument, whatever its width.
func verbs(format string) (list []string) {
	next := 1
	for _, v := range verb.FindAllStringSubmatch(format, -1) {
		if v[4] == "%" {
			continue
		}
		if v[3] != "" {
			next, _ = strconv.Atoi(v[3])
		}
		list = append(list, fmt.Sprint(next, v[4]))
		next++
	}
	slices.Sort(list)
	return list
}

// The Chinese catalogue says all that the code says, with the same verbs, and
// nothing else.
func TestComplete(t *testing.T) {
	keys := sources(t)
	have, err := words.Parse(t, catalogue)
	if err != nil {
		t.Fatal(err)
	}
	if *update {
		write(t, keys, have)
		return
	}
	missing := 0
	known := map[string]bool{}
	for _, k := range keys {
		if known[k.text] {
			continue
		}
		known[k.text] = true
		zh, ok := have[k.text]
		if !ok {
			missing++
			t.Errorf("%s: not in %s: %q", k.room, catalogue, k.text)
			continue
		}
		if strings.Contains(k.room, ": ") { // no formats
			continue
		}
		if a, b := verbs(k.text), verbs(zh); !slices.Equal(a, b) {
			t.Errorf("%q has the verbs %v, %q has %v", k.text, a, zh, b)
		}
	}
	for _, text := range slices.Sorted(maps.Keys(have)) {
		if !known[text] {
			t.Errorf("nobody says it any more: %q", text)
		}
	}
	t.Logf("%d texts, %d missing", len(known), missing)
}

// stays is what is the same in all languages.
var stays = regexp.MustCompile(`--[a-z][a-z-]+|\b[a-zA-Z]+(_[a-zA-Z]+)+\b|/(proc|sys|dev)/[A-Za-z_/.]*[A-Za-z_]`)

// Flags, files, keys and names of settings are not translated.
func TestStays(t *testing.T) {
	have, err := words.Parse(t, catalogue)
	if err != nil {
		t.Fatal(err)
	}
	for en, zh := range have {
		for _, name := range stays.FindAllString(en, -1) {
			if !strings.Contains(zh, name) {
				t.Errorf("%q has %s, %q does not", en, name, zh)
			}
		}
	}
}

func write(t *testing.T, keys []key, have map[string]string) {
	var b strings.Builder
	b.WriteString("# The texts of memwhy in Chinese. The rules of the house:\n" +
		"# - an English text is the key, %s and its like stand in both; %[2]s takes them in another order\n" +
		"# - codes, keys, paths, commands and names of counters stay English\n" +
		"# - go test ./internal/words -update puts in what is new and takes out what is gone\n" +
		"msgid \"\"\nmsgstr \"Language: zh_CN\\nContent-Type: text/plain; charset=UTF-8\\n\"\n")
	done, room := map[string]bool{}, ""
	for _, k := range keys {
		if done[k.text] {
			continue
		}
		done[k.text] = true
		if k.room != room {
			room = k.room
			fmt.Fprintf(&b, "\n# === %s ===\n", room)
		}
		fmt.Fprintf(&b, "\nmsgid %s\nmsgstr %s\n", strconv.Quote(k.text), strconv.Quote(have[k.text]))
	}
	if err := os.WriteFile(catalogue, []byte(b.String()), 0o644); err != nil {
		t.Fatal(err)
	}
}
