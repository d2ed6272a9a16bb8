package vm

import "testing"

func TestTrim(t *testing.T) {
	in := "memwhy-capture v1\n" +
		"section meta present 2 0 \"\" \"\"\n{}\n" +
		"section read present 30 5 \"/proc/slabinfo\" \"\"\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n13\n\n" +
		"section read present 11 5 \"/proc/7/cmdline\" \"\"\nend 1\nend 2\n" +
		"section read absent 0 5 \"/proc/x\" \"no such file\"\n\n" +
		"end 4\n"
	want := "memwhy-capture v1\n" +
		"section meta present 2 0 \"\" \"\"\n{}\n" +
		"section read present 27 5 \"/proc/slabinfo\" \"\"\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n\n" +
		"section read present 11 5 \"/proc/7/cmdline\" \"\"\nend 1\nend 2\n" +
		"section read absent 0 5 \"/proc/x\" \"no such file\"\n\n" +
		"end 4\n"
	got, err := trim([]byte(in))
	if err != nil || string(got) != want {
		t.Errorf("%v\n%q\n%q", err, got, want)
	}
	for _, bad := range []string{"", "x\n", in[:len(in)-3], in[:60], "memwhy-capture v1\nsection read present 99 0 \"/x\" \"\"\n\nend 1\n"} {
		if _, err := trim([]byte(bad)); err == nil {
			t.Errorf("%q was trimmed", bad)
		}
	}
}
