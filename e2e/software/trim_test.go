package software

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/memwhy/memwhy/e2e/archive"
)

// trim makes a capture small enough to keep: of the files of a census it leaves those
// that the target, or a cgroup below it, is charged for. A census is lines of g, i, f and
// s: groups, inodes, what a group is charged of an inode (by their numbers, 0 for no
// inode), slabs.
func trim(capture []byte, target string) ([]byte, error) {
	return archive.Edit(capture, func(s archive.Section) []byte {
		if s.Op == "census" && s.State == "present" {
			return ownFiles(s.Data, target)
		}
		return s.Data
	})
}

func ownFiles(census []byte, target string) []byte {
	var own []bool
	kept := map[string]bool{"0": true}
	each(census, func(line string, f []string) {
		switch line[0] {
		case 'g':
			name, _ := strconv.Unquote(f[len(f)-1])
			own = append(own, name == target || strings.HasPrefix(name, target+"/"))
		case 'f':
			if group, _ := strconv.Atoi(f[1]); group < len(own) && own[group] {
				kept[f[2]] = true
			}
		}
	})
	var out bytes.Buffer
	number, next := 0, 1
	renamed := map[string]string{"0": "0"}
	each(census, func(line string, f []string) {
		switch line[0] {
		case 'i':
			if number++; !kept[strconv.Itoa(number)] {
				return
			}
			renamed[strconv.Itoa(number)] = strconv.Itoa(next)
			next++
		case 'f':
			if !kept[f[2]] {
				return
			}
			f[2] = renamed[f[2]]
			line = strings.Join(f, " ")
		}
		out.WriteString(line + "\n")
	})
	return out.Bytes()
}

// each calls do with each line and its fields; a name, which comes last, is quoted
// and has no newline.
func each(census []byte, do func(line string, f []string)) {
	for line := range strings.Lines(string(census)) {
		line = strings.TrimSuffix(line, "\n")
		if line == "" {
			continue
		}
		before, name := line, ""
		if i := strings.IndexByte(line, '"'); i >= 0 && line[0] != '{' {
			before, name = line[:i], line[i:]
		}
		do(line, append(strings.Fields(before), name))
	}
}

func TestTrim(t *testing.T) {
	census := `{"Engine":"bpf"}
g 1 0 "/a"
g 2 0 "/b"
g 3 2 "/b/c d"
i 9 1 "ext4\x00x"
i 9 2 "ext4\x00y z"
i 9 3 "ext4\x00w"
f 0 1 4096 ""
f 0 2 4096 ""
f 1 3 8192 ""
f 2 2 4096 ""
f 0 0 4096 ""
s 0 1 "dentry"
`
	want := `{"Engine":"bpf"}
g 1 0 "/a"
g 2 0 "/b"
g 3 2 "/b/c d"
i 9 2 "ext4\x00y z"
i 9 3 "ext4\x00w"
f 0 1 4096 ""
f 1 2 8192 ""
f 2 1 4096 ""
f 0 0 4096 ""
s 0 1 "dentry"
`
	in := fmt.Sprintf("memwhy-capture v1\nsection read present 3 0 \"/x\" \"\"\nabc\nsection census present %d 0 \"/\" \"\"\n%s\nend 2\n", len(census), census)
	got, err := trim([]byte(in), "/b")
	if err != nil || !strings.Contains(string(got), want) || !strings.Contains(string(got), "\nabc\n") || !strings.HasSuffix(string(got), "end 2\n") {
		t.Errorf("%v\n%s", err, got)
	}
	for _, bad := range []string{"", "memwhy-capture v1\n", "memwhy-capture v1\nsection\n", "memwhy-capture v1\nsection read present 99 0 \"/x\" \"\"\nabc\n"} {
		if _, err := trim([]byte(bad), "/b"); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
