package cgroupfs

import (
	"bytes"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// Mount is one mounted cgroup hierarchy, or a part of one.
type Mount struct {
	Version     snapshot.Version
	Root        string   // the cgroup at Point; "/" is the hierarchy's root, "/.." above this cgroup namespace
	Point       string   // the directory
	Controllers []string // v1; a hierarchy without any has its name=...

	// v2 mount options that change what numbers mean.
	MemoryLocalEvents bool // memory.events counts this level only
	HugetlbAccounting bool // huge pages are charged to memory too
}

// ParseMountinfo gives the cgroup mounts of a /proc/PID/mountinfo in their
// order. Other mounts and lines that are none are skipped.
func ParseMountinfo(b []byte) []Mount {
	var mounts []Mount
	for line := range bytes.Lines(b) {
		if m, ok := parseMount(bytes.TrimSuffix(line, []byte("\n"))); ok {
			mounts = append(mounts, m)
		}
	}
	return mounts
}

// parseMount parses "ID PARENT MAJOR:MINOR ROOT POINT OPTIONS [TAG...] - TYPE
// SOURCE SUPER". Columns are separated by one space; SOURCE can be empty.
func parseMount(line []byte) (m Mount, ok bool) {
	space := []byte(" ")
	mount, fs, _ := bytes.Cut(line, []byte(" - "))
	kind, fs, _ := bytes.Cut(fs, space)
	switch string(kind) {
	case "cgroup":
		m.Version = snapshot.V1
	case "cgroup2":
		m.Version = snapshot.V2
	default:
		return m, false
	}
	_, super, ok := bytes.Cut(fs, space)
	columns := bytes.SplitN(mount, space, 7)
	if !ok || len(columns) < 6 || !bytes.HasPrefix(columns[4], []byte("/")) || !bytes.HasPrefix(columns[3], []byte("/")) {
		return m, false
	}
	m.Root, m.Point = snapshot.Unescape(columns[3]), snapshot.Unescape(columns[4])
	for option := range strings.SplitSeq(string(super), ",") {
		switch {
		case m.Version == snapshot.V1 && isController(option):
			m.Controllers = append(m.Controllers, option)
		case m.Version == snapshot.V2 && option == "memory_localevents":
			m.MemoryLocalEvents = true
		case m.Version == snapshot.V2 && option == "memory_hugetlb_accounting":
			m.HugetlbAccounting = true
		}
	}
	return m, true
}

// isController tells the controllers among the super block options of version 1
// from what else stands there: linux fs/proc_namespace.c show_sb_opts,
// security/selinux/hooks.c selinux_sb_show_options, kernel/cgroup/cgroup-v1.c
// cgroup1_show_options. A controller this list has never heard of is one.
func isController(option string) bool {
	switch option {
	case "", "rw", "ro", "sync", "dirsync", "mand", "lazytime", "seclabel",
		"noprefix", "xattr", "cpuset_v2_mode", "favordynmods", "clone_children", "sane_behavior", "__DEVEL__sane_behavior":
		return false
	}
	return !strings.Contains(option, "=") || strings.HasPrefix(option, "name=")
}
