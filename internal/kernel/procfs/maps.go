package procfs

import (
	"bytes"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// MappedFile is a file that a process has mapped, and the first place where.
type MappedFile struct {
	Start, End uint64
	Device     uint32 // the kernel's s_dev
	Inode      uint64
	Name       string // the path as that process sees it; " (deleted)" is part of it
}

// ParseMaps finds the files in /proc/PID/maps, each once: lines of
// `start-end perms offset major:minor inode   name`, numbers but the inode's in
// hexadecimal.
func ParseMaps(b []byte) ([]MappedFile, error) {
	type id struct {
		device uint32
		inode  uint64
	}
	seen := map[id]bool{}
	var files []MappedFile
	number := 0
	for line := range bytes.Lines(b) {
		number++
		f, ok := parseMap(bytes.TrimSuffix(line, []byte("\n")))
		if !ok {
			return nil, wanted(number, "a mapping")
		}
		if f.Inode != 0 && !seen[id{f.Device, f.Inode}] {
			seen[id{f.Device, f.Inode}] = true
			files = append(files, f)
		}
	}
	return files, nil
}

func parseMap(line []byte) (f MappedFile, ok bool) {
	var ok1, ok2, ok3, ok4 bool
	f.Start, line, ok1 = hexadecimal(line, '-')
	f.End, line, ok2 = hexadecimal(line, ' ')
	columns := bytes.SplitN(line, []byte(" "), 4) // perms offset device inode...
	if !ok1 || !ok2 || len(columns) < 4 || f.End < f.Start {
		return f, false
	}
	major, rest, ok1 := hexadecimal(columns[2], ':')
	minor, _, ok2 := hexadecimal(append(bytes.Clone(rest), 0), 0)
	inode, name, _ := bytes.Cut(columns[3], []byte(" "))
	n, ok3 := snapshot.Number(inode)
	ok4 = major < 1<<12 && minor < 1<<20
	f.Device, f.Inode = uint32(major<<20|minor), uint64(n)
	f.Name = strings.ReplaceAll(string(bytes.TrimLeft(name, " ")), `\012`, "\n")
	return f, ok1 && ok2 && ok3 && ok4
}
