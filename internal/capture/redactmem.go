package capture

import (
	"bytes"
	"encoding/binary"
	"path"
	"regexp"
	"strings"

	"github.com/memwhy/memwhy/internal/kernel"
)

// file redacts the path of a file, its last part as the name of a program or of
// a library that is everywhere.
func (p *preparer) file(name string) string {
	base := path.Base(name)
	if !publicLibrary.MatchString(base) {
		base = p.r.Name(base)
	}
	return path.Join(p.r.Path(path.Dir(name)), base)
}

var publicLibrary = regexp.MustCompile(`^(lib(c|m|dl|pthread|rt|resolv|gcc_s|stdc\+\+|jvm|jemalloc|tcmalloc|tcmalloc_minimal|z|ssl|crypto)(-[0-9.]+)?\.so|ld-linux(-[a-z0-9-]+)?\.so|ld-[0-9.]+\.so|ld-musl-[a-z0-9_]+\.so|libc\.musl-[a-z0-9_]+\.so)(\.[0-9.]+)?( \(deleted\))?$`)

// mapping is the first line of a mapping in maps and smaps: addresses,
// permissions, offset, device, inode, then a name. Other lines of these files
// are keys of the kernel and amounts.
var mapping = regexp.MustCompile(`^[0-9a-f]+-[0-9a-f]+ [-rwxps]{4} [0-9a-f]+ [0-9a-f]+:[0-9a-f]+ [0-9]+ *`)

func (p *preparer) mappings(data []byte) []byte {
	var out bytes.Buffer
	out.Grow(len(data))
	for line := range bytes.Lines(data) {
		if len(line) == 0 || line[0] >= 'A' && line[0] <= 'Z' {
			out.Write(line)
			continue
		}
		if head := mapping.Find(line); head != nil {
			out.Write(head)
			out.WriteString(p.mapped(strings.TrimSuffix(string(line[len(head):]), "\n")) + "\n")
		}
	}
	return out.Bytes()
}

// publicMappings are the names of runtimes and of the kernel, up to a colon and
// what follows it.
var publicMappings = map[string]bool{"Go": true, "glibc": true, "cpython": true, "scudo": true, "stack_and_tls": true}

// mapped redacts the name of a mapping: a path, a word of the kernel in
// brackets, or a name that the process chose.
func (p *preparer) mapped(name string) string {
	if name == "" || name[0] == '/' && len(name) == 1 {
		return name
	}
	if name[0] == '/' {
		return p.file(name)
	}
	for _, kind := range []string{"[anon:", "[anon_shmem:"} {
		if own, ok := strings.CutPrefix(name, kind); ok {
			first, _, _ := strings.Cut(strings.TrimSuffix(own, "]"), ":")
			if publicMappings[strings.TrimSpace(first)] {
				return name
			}
			return kind + p.r.Name(strings.TrimSuffix(own, "]")) + "]"
		}
	}
	if kernelMapping.MatchString(name) {
		return name
	}
	return p.r.Name(name)
}

var kernelMapping = regexp.MustCompile(`^\[(heap|stack(:[0-9]+)?|vdso|vvar(_vclock)?|vsyscall|vectors|sigpage|uprobes|rollup)\]$`)

// links redacts the texts of the links of open files. What is no path, as
// socket:[12345] or anon_inode:[eventpoll], says nothing of anybody.
func (p *preparer) links(data []byte) []byte {
	var out []byte
	for _, l := range (kernel.Answer{Data: data}).Links() {
		if strings.HasPrefix(l.Text, "/") {
			l.Text = p.file(l.Text)
		} else if !kernelLink.MatchString(l.Text) {
			l.Text = p.r.Name(l.Text)
		}
		out = append(append(append(append(out, l.Name...), 0), l.Text...), 0)
	}
	return out
}

var kernelLink = regexp.MustCompile(`^(socket|pipe|net|mnt|pid|user|uts|ipc|cgroup|time):\[[0-9]+\]$|^anon_inode:\[?[a-z_-]+\]?$`)

// goVersionEnd is where the version ends in Go's build information. Paths of
// modules follow it.
func goVersionEnd(data []byte) int {
	if len(data) < 32 {
		return 0
	}
	n, k := binary.Uvarint(data[32:])
	if k <= 0 || n > 32 {
		return 32
	}
	return 32 + k + int(n)
}
