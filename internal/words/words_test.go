package words

import (
	"errors"
	"fmt"
	"testing"
)

func TestPreferred(t *testing.T) {
	for _, c := range []struct {
		env  map[string]string
		want string
	}{
		{nil, English},
		{map[string]string{"LANG": "zh_CN.UTF-8"}, Chinese},
		{map[string]string{"LANG": "zh_TW.utf8@stroke"}, Chinese},
		{map[string]string{"LANG": "zh_CN.GB18030"}, English}, // we print UTF-8
		{map[string]string{"LANG": "zh_CN"}, English},         // that is GB2312
		{map[string]string{"LANG": "zh_CN.UTF-8", "LC_MESSAGES": "de_DE.UTF-8"}, English},
		{map[string]string{"LANG": "en_US.UTF-8", "LC_MESSAGES": "zh_CN.UTF-8"}, Chinese},
		{map[string]string{"LANG": "zh_CN.UTF-8", "LC_ALL": "C"}, English},
		{map[string]string{"LANG": "en_US.UTF-8", "LC_ALL": "zh_CN.UTF-8"}, Chinese},
		{map[string]string{"LANG": "zha_CN.UTF-8"}, English},
		{map[string]string{"LANG": "../../zh.UTF-8\n"}, English},
	} {
		if got := Preferred(func(name string) string { return c.env[name] }); got != c.want {
			t.Errorf("%v: %s, want %s", c.env, got, c.want)
		}
	}
}

func TestPrinter(t *testing.T) {
	var en Printer
	zh := Printer{Chinese, map[string]string{"%d of %s": "%[2]s %[1]d 个", "a": "甲"}}
	for _, c := range [][2]string{
		{en.Say("%d of %s", 2, "x"), "2 of x"},
		{zh.Say("%d of %s", 2, "x"), "x 2 个"},
		{zh.Say("not there %d", 3), "not there 3"},
		{zh.Of("a"), "甲"},
		{zh.Of(Key("50 % of a")), "50 % of a"},
		{en.Count(1, "one", "%d many"), "one"},
		{en.Count(2, "one", "%d many"), "2 many"},
		{In("fr").Lang(), ""},
		{In(Chinese).Lang(), Chinese},
	} {
		if c[0] != c[1] {
			t.Errorf("%q, want %q", c[0], c[1])
		}
	}
}

func TestParse(t *testing.T) {
	for _, bad := range []string{"msgid x", "\"lost\"", "msgstr", "msgid \"a\"\nmsgstr \"b\nc\""} {
		if got, err := parse(bad); err == nil {
			t.Errorf("%q passes for a catalogue: %v", bad, got)
		}
	}
	got, err := parse("# note\nmsgid \"\"\nmsgstr \"Language: zh\\n\"\n\nmsgid \"a\"\n\"b\"\nmsgstr \"c\\\"\"\n\"d\"\nmsgid \"new\"\nmsgstr \"\"\n")
	if err != nil || len(got) != 1 || got["ab"] != `c"d` {
		t.Errorf("%q, %v", got, err)
	}
}

// An error says itself in English, what it is made of can be found in it, and a
// printer says as much of it as the catalogue has.
func TestErrors(t *testing.T) {
	lost := Errorf("lost")
	zh := Printer{Chinese, map[string]string{"lost": "丢失", "%w: %q of %d": "%w：%[3]d 中的 %[2]q"}}
	err := Errorf("%w: %q of %d", lost, "x", 3)
	if !errors.Is(err, lost) || errors.Is(lost, err) {
		t.Error("what it was made of is not found in it")
	}
	for _, c := range [][2]string{
		{err.Error(), `lost: "x" of 3`},
		{zh.SayError(err), `丢失：3 中的 "x"`},
		{zh.SayError(fmt.Errorf("more: %w", err)), `more: lost: "x" of 3`},
		{zh.SayError(fmt.Errorf("%w", err)), `丢失：3 中的 "x"`},
		{zh.SayError(errors.New("lost")), "丢失"},
		{Printer{}.Tell(Later("%d of %s", 1, "x")), "1 of x"},
	} {
		if c[0] != c[1] {
			t.Errorf("%q, want %q", c[0], c[1])
		}
	}
}
