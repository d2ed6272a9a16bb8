package procfs

import (
	"bytes"
	"errors"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// kthreadd is the parent of every kernel thread: linux init/main.c rest_init.
const kthreadd = 2

// vmKeys are the lines of status that are kept. Others that end in kB are kept
// too; these cost no string each.
var vmKeys = []string{
	"VmPeak", "VmSize", "VmLck", "VmPin", "VmHWM", "VmRSS", "RssAnon", "RssFile", "RssShmem",
	"VmData", "VmStk", "VmExe", "VmLib", "VmPTE", "VmPMD", "VmSwap", "HugetlbPages", "Threads",
}

// ParseStatus parses /proc/PID/status. Fields has the lines in kB, in bytes, and
// Threads, a count.
//
// Where Kthread is not printed, a kernel thread is kthreadd or a child of it that
// has no memory of its own and is no zombie.
func ParseStatus(b []byte) (snapshot.Status, error) {
	s := snapshot.Status{Fields: snapshot.Stat{Entries: make([]snapshot.Entry, 0, len(vmKeys))}}
	var pid, ppid, kthread int64
	var named, hasParent, saysKthread bool
	for line := range bytes.Lines(b) {
		key, value, ok := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(":"))
		if !ok {
			s.Fields.Malformed++
			continue
		}
		switch string(key) {
		case "Name":
			if !named {
				s.Name, named = unescapeName(bytes.TrimPrefix(value, []byte("\t"))), true
			}
		case "State":
			s.State = stateLetter(value)
		case "Pid":
			pid, _, _ = amount(string(value))
		case "PPid":
			ppid, _, hasParent = amount(string(value))
		case "Kthread":
			kthread, _, saysKthread = amount(string(value))
		default:
			statusField(&s.Fields, key, value)
		}
	}
	parent, fits := small(ppid)
	if !named || s.State == "" || !hasParent || !fits {
		return snapshot.Status{}, errors.New("expected the lines Name, State and PPid")
	}
	s.Fields.Unique()
	s.PPID = parent
	_, hasMemory := s.Fields.Get("VmSize")
	s.KernelThread = kthread == 1
	if !saysKthread {
		s.KernelThread = !hasMemory && s.State != "Z" && (ppid == kthreadd || pid == kthreadd)
	}
	return s, nil
}

func statusField(fields *snapshot.Stat, key, value []byte) {
	threads := string(key) == "Threads"
	if !threads && !bytes.HasSuffix(value, []byte(" kB")) {
		return
	}
	n, kB, ok := amount(string(value))
	if !ok || kB == threads || len(key) == 0 {
		fields.Malformed++
		return
	}
	e := snapshot.Entry{Value: n}
	if i := slices.IndexFunc(vmKeys, func(k string) bool { return k == string(key) }); i >= 0 {
		e.Key = vmKeys[i]
	} else {
		e.Key = string(key)
	}
	fields.Entries = append(fields.Entries, e)
}

func stateLetter(value []byte) string {
	if value = bytes.TrimLeft(value, blank); len(value) == 0 {
		return ""
	}
	return string(value[:1])
}

// unescapeName undoes the two escapes of proc_task_name.
func unescapeName(name []byte) string {
	if bytes.IndexByte(name, '\\') < 0 {
		return string(name)
	}
	return strings.NewReplacer(`\\`, `\`, `\n`, "\n").Replace(string(name))
}
