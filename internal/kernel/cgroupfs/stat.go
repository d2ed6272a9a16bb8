package cgroupfs

import "github.com/memwhy/memwhy/internal/snapshot"

// ParseStat fills s from a flat keyed file: memory.stat, memory.events,
// memory.swap.events, memory.oom_control, cgroup.stat. Values stay as printed:
// the amounts in these files are bytes already. See snapshot.Stat.Parse for the
// reuse of s.
func ParseStat(b []byte, s *snapshot.Stat) error { return s.Parse(b) }
