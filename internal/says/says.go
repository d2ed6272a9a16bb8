// Package says owns what every other tool would show for the same cgroup, with
// the tool's own formula and live values. It must not know which of them is
// right.
package says

import (
	"fmt"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/mapping"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Number is one tool's figure.
type Number struct {
	Tool  string
	Bytes int64
	Known bool
	Terms []Term // of the formula
	Note  string // when there is more to say than the terms
}

// Term is one operand of a formula, as its source names it.
type Term struct {
	Sign  byte // '+' or '-'
	Name  string
	Bytes int64
}

// Formula prints the terms with their values in bytes.
func (n Number) Formula() string {
	s := ""
	for i, t := range n.Terms {
		if i > 0 || t.Sign == '-' {
			s += " " + string(t.Sign) + " "
		}
		s += fmt.Sprintf("%s %d", t.Name, t.Bytes)
	}
	if n.Note != "" && s != "" {
		return s + ", " + n.Note
	}
	return s + n.Note
}

// WorkingSet is container_memory_working_set_bytes: usage minus the inactive
// file list, not below 0, and the usage itself where the list is unknown.
// Version 1 subtracts the subtree's list even without hierarchy.
//
// cadvisor lib/container/libcontainer/handler.go, setMemoryStats.
func WorkingSet(c *snapshot.Cgroup, usage int64) (bytes int64, key string, inactive int64) {
	key = "inactive_file"
	if c.Version == snapshot.V1 {
		key = "total_inactive_file"
	}
	if c.Stat.State != snapshot.Present {
		return usage, key, 0
	}
	inactive, ok := c.Stat.Value.Get(key)
	switch {
	case !ok:
		return usage, key, 0
	case inactive < 0 || inactive > usage: // cAdvisor's counters are unsigned
		return 0, key, inactive
	}
	return usage - inactive, key, inactive
}

// RSS is container_memory_rss: anonymous memory.
func RSS(c *snapshot.Cgroup) (bytes int64, key string, ok bool) {
	k := ledger.KeysOf(c)
	v, ok := k.Get("anon")
	return v, k.Name("anon"), ok && size.Plausible(v)
}

// All lists the tools, the most quoted first. metrics-server (kubectl top) and
// the CRI of containerd and CRI-O (crictl stats) give cAdvisor's working set.
func All(p words.Printer, s *snapshot.Snapshot, usage int64) []Number {
	c := s.Target()
	name := usageName(c)
	u := Term{'+', name, usage}
	ws, key, inactive := WorkingSet(c, usage)
	top := Number{Tool: "kubectl, crictl", Bytes: ws, Known: c.Stat.State == snapshot.Present, Terms: []Term{u, {'-', key, inactive}}}
	if inactive > usage {
		top.Note = p.Say("not below 0")
	}
	all := []Number{top, docker(p, c, u), dockerOld(c, u)}
	if rss, key, ok := RSS(c); ok {
		all = append(all, Number{Tool: "cAdvisor rss", Bytes: rss, Known: true, Terms: []Term{{'+', key, rss}}})
	} else {
		all = append(all, Number{Tool: "cAdvisor rss", Note: p.Say("no usable %s", key)})
	}
	all = append(all,
		Number{Tool: "podman, systemd", Bytes: usage, Known: true, Terms: []Term{u}},
		summedRSS(p, s))
	if pss, ok := summedPSS(p, s); ok {
		all = append(all, pss)
	}
	if mem, ok := s.Node.Meminfo.Get(); ok {
		if n, ok := mem.Get("MemAvailable"); ok {
			all = append(all, Number{Tool: "free, available", Bytes: n, Known: true, Note: p.Say("MemAvailable of the whole node")})
		}
	}
	return all
}

func usageName(c *snapshot.Cgroup) string {
	switch {
	case c.Version == snapshot.V1:
		return "usage_in_bytes"
	case c.Root():
		return "anon + file"
	}
	return "memory.current"
}

// docker stats since 20.10: docker/cli calculateMemUsageUnixNoCache.
func docker(p words.Printer, c *snapshot.Cgroup, u Term) Number {
	n := Number{Tool: "docker stats", Bytes: u.Bytes, Known: c.Stat.State == snapshot.Present, Terms: []Term{u}}
	for _, key := range []string{"total_inactive_file", "inactive_file"} {
		if v, ok := c.Stat.Value.Get(key); ok && v >= 0 && v < u.Bytes {
			n.Bytes, n.Terms = u.Bytes-v, []Term{u, {'-', key, v}}
			return n
		}
	}
	n.Note = p.Say("nothing subtracted: the inactive file list is not smaller")
	return n
}

// dockerOld is docker stats up to 19.03, which subtracted all page cache on
// version 1 and nothing on version 2.
func dockerOld(c *snapshot.Cgroup, u Term) Number {
	n := Number{Tool: "docker <= 19.03", Known: c.Stat.State == snapshot.Present, Bytes: u.Bytes, Terms: []Term{u}}
	if v, ok := c.Stat.Value.Get("cache"); ok && c.Version == snapshot.V1 {
		n.Bytes, n.Terms = u.Bytes-v, []Term{u, {'-', "cache", v}}
	}
	return n
}

// summedRSS is what people get by adding the RSS column of ps or top.
func summedRSS(p words.Printer, s *snapshot.Snapshot) Number {
	n := Number{Tool: "ps, summed RSS", Known: s.Outside == 0}
	read, shared := 0, int64(0)
	for i := range s.Processes {
		st, ok := s.Processes[i].Status.Get()
		if !ok {
			n.Known = n.Known && s.Processes[i].Status.State == snapshot.Absent // it ended meanwhile
			continue
		}
		rss, ok := st.Fields.Get("VmRSS")
		if !ok || !size.Plausible(rss) {
			continue // a zombie has none
		}
		read++
		n.Bytes += rss
		for _, key := range []string{"RssFile", "RssShmem"} {
			v, _ := st.Fields.Get(key)
			shared += v
		}
	}
	if len(s.Processes) < len(s.PIDs) {
		n.Known = false
	}
	n.Note = p.Say("VmRSS of %s, %s of it file or shared", p.Count(int64(read), "1 process", "%d processes"), size.Text(shared))
	if !n.Known {
		n.Note = p.Say("only %d of %d processes could be read", read, len(s.PIDs)+s.Outside)
	}
	return n
}

// summedPSS is what smem -t shows: shared pages count once. There is no row
// where no process says it; with some missing, the sum is not known.
func summedPSS(p words.Printer, s *snapshot.Snapshot) (Number, bool) {
	n := Number{Tool: PSS, Known: s.Outside == 0 && len(s.Processes) == len(s.PIDs)}
	read, all := 0, s.Outside+len(s.PIDs)-len(s.Processes)
	for i := range s.Processes {
		one := &s.Processes[i]
		st, ok := one.Status.Get()
		if _, user := st.Fields.Get("VmSize"); !ok || !user {
			continue // a zombie has none, or it ended meanwhile
		}
		all++
		bytes, ok := mapping.PSS(one)
		if ok {
			read++
		}
		n.Known = n.Known && (ok || one.Smaps.Gone() || one.Rollup.Gone()) && size.Plausible(n.Bytes)
		if n.Known {
			n.Bytes += bytes
		}
	}
	n.Note = p.Say("Pss of %s: shared pages count once", p.Count(int64(read), "1 process", "%d processes"))
	if !n.Known {
		n.Note = p.Say("Pss of only %d of %d processes could be read", read, all)
	}
	return n, read > 0
}

// PSS is the tool that sums proportional set sizes.
const PSS = "smem -t, PSS"
