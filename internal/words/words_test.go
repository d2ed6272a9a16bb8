package words

import "testing"

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
