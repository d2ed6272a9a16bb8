package procfs

import (
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// ParseMountinfo parses /proc/PID/mountinfo: "ID PARENT MAJOR:MINOR ROOT POINT
// OPTIONS [TAG...] - TYPE SOURCE SUPER". Columns are separated by one space;
// SOURCE can be empty.
func ParseMountinfo(b []byte) ([]snapshot.Mount, error) {
	var mounts []snapshot.Mount
	line := 0
	for text := range strings.Lines(string(b)) {
		line++
		m, ok := parseMount(strings.TrimSuffix(text, "\n"))
		if !ok {
			return nil, wanted(line, "a mount")
		}
		mounts = append(mounts, m)
	}
	return mounts, nil
}

func parseMount(line string) (m snapshot.Mount, ok bool) {
	mount, fs, ok := strings.Cut(line, " - ")
	columns := strings.SplitN(mount, " ", 7)
	if !ok || len(columns) < 6 {
		return m, false
	}
	id, ok1 := snapshot.Number(columns[0])
	parent, ok2 := snapshot.Number(columns[1])
	dev, ok3 := device(columns[2])
	m.ID, m.Parent, m.Device = int(id), int(parent), dev
	m.Root, m.Point = unescape(columns[3]), unescape(columns[4])
	if !ok1 || !ok2 || !ok3 || !strings.HasPrefix(m.Point, "/") {
		return m, false
	}
	kind, fs, _ := strings.Cut(fs, " ")
	source, super, ok := strings.Cut(fs, " ")
	m.Type, m.Source = unescape(kind), unescape(source)
	if m.Type == "overlay" {
		layers(&m, super)
	}
	return m, ok
}

// device is the kernel's own number of MAJOR:MINOR (linux
// include/linux/kdev_t.h, MKDEV).
func device(s string) (uint32, bool) {
	major, minor, ok := strings.Cut(s, ":")
	a, ok1 := snapshot.Number(major)
	b, ok2 := snapshot.Number(minor)
	if !ok || !ok1 || !ok2 || a < 0 || a >= 1<<12 || b < 0 || b >= 1<<20 {
		return 0, false
	}
	return uint32(a<<20 | b), true
}

func unescape(s string) string { return snapshot.Unescape([]byte(s)) }

// layers takes the directories out of an overlay's options (linux
// fs/overlayfs/params.c, ovl_show_options): the kernel escapes what separates
// options, and whoever mounted it escapes what separates directories. Mounted
// through the newer system calls, each directory has an option of its own.
func layers(m *snapshot.Mount, super string) {
	for option := range strings.SplitSeq(super, ",") {
		key, value, _ := strings.Cut(option, "=")
		switch value = unescape(value); key {
		case "lowerdir":
			m.Lower = append(m.Lower, directories(value)...)
		case "lowerdir+", "datadir+":
			m.Lower = append(m.Lower, value)
		case "upperdir":
			m.Upper = value
		}
	}
}

// directories splits at colons that no backslash precedes. Two colons precede a
// directory of data alone.
func directories(list string) []string {
	var dirs []string
	var dir strings.Builder
	end := func() {
		if dir.Len() > 0 {
			dirs = append(dirs, dir.String())
		}
		dir.Reset()
	}
	for i := 0; i < len(list); i++ {
		switch {
		case list[i] == '\\' && i+1 < len(list):
			i++
			dir.WriteByte(list[i])
		case list[i] == ':':
			end()
		default:
			dir.WriteByte(list[i])
		}
	}
	end()
	return dirs
}
