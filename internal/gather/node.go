package gather

import (
	"fmt"
	"path"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Bounds of a reading of a node.
const (
	maxShares = 20_000 // cgroups whose usage is read
	maxZram   = 16     // devices, which the kernel numbers from 0
)

// Whole reads where a node's memory is, and what tells of removed cgroups, a
// census before all.
func Whole(src kernel.Source, opt Options) *snapshot.Snapshot {
	names, census := Names(src), kernel.Census(src, nil) // first: it takes long, and what is compared is read at one time
	s := Node(src, opt)
	s.Names, s.Census = names, census
	if s.Census.State == snapshot.Present {
		s.Mounts = mountTables(src, nil)
	}
	s.Node.Tuning = tuning(src)
	h, err := cgroupfs.Find(src, opt.ForeignRoot)
	s.Shares = snapshot.Reading[[]snapshot.Share]{Source: "/sys/fs/cgroup/memory"}
	if err != nil {
		s.Shares.Err = err.Error()
	} else {
		s.Shares = shares(src, h, s.Kmem.Groups)
	}
	s.Log = Log(src)
	s.Cost = src.Origin().Cost
	return s
}

// shares reads what owners of memory are charged for. A container's own cgroups
// are the container's.
func shares(src kernel.Source, h cgroupfs.Hierarchy, all snapshot.Reading[[]string]) snapshot.Reading[[]snapshot.Share] {
	r := snapshot.Reading[[]snapshot.Share]{State: all.State, Source: all.Source, At: all.At, Err: all.Err}
	flat := map[string]bool{}
	for _, cgroup := range all.Value {
		up := path.Dir(cgroup)
		top := cgroup != "/" && up == "/"
		if cgroup != "/" && !top && !flat[up] && !owner(cgroup) {
			continue
		}
		if len(r.Value) == maxShares {
			r.State, r.Err = snapshot.Failed, fmt.Sprintf("there are more than %d", maxShares)
			break
		}
		share := readShare(src, h, cgroup, cgroup == "/" || top || flat[up])
		flat[cgroup] = share.Flat && cgroup != "/"
		r.Value = append(r.Value, share)
	}
	return r
}

// owner reports a container, a pod, a unit, or the second level of a tree of which
// nothing is known.
func owner(cgroup string) bool {
	id := identity.Parse(cgroup)
	if id.Kind == identity.Other {
		return path.Dir(path.Dir(cgroup)) == "/"
	}
	return id.Dir == cgroup
}

func readShare(src kernel.Source, h cgroupfs.Hierarchy, cgroup string, classes bool) snapshot.Share {
	dir, _ := h.Dir(cgroup)
	file := func(name string) string { return path.Join(dir, name) }
	number := func(name string) snapshot.Reading[int64] {
		return kernel.Value(src, file(name), maxFile, cgroupfs.ParseNumber)
	}
	c := snapshot.Share{Path: cgroup}
	if classes {
		c.Stat = kernel.Value(src, file("memory.stat"), maxFile, parseStat)
	}
	if h.Version == snapshot.V2 {
		c.Usage = number("memory.current")
		return c
	}
	c.Usage = number("memory.usage_in_bytes")
	if classes {
		c.Kmem = number("memory.kmem.usage_in_bytes")
		below, ok := number("memory.use_hierarchy").Get()
		c.Flat = ok && below == 0
	}
	return c
}

func tuning(src kernel.Source) snapshot.Tuning {
	setting := func(file string) snapshot.Reading[int64] {
		return kernel.Value(src, file, maxFile, procfs.ParseSetting)
	}
	return snapshot.Tuning{
		Overcommit:      setting("/proc/sys/vm/overcommit_memory"),
		OvercommitRatio: setting("/proc/sys/vm/overcommit_ratio"),
		Swappiness:      setting("/proc/sys/vm/swappiness"),
		MinFree:         kernel.Value(src, "/proc/sys/vm/min_free_kbytes", maxFile, procfs.ParseKiB),
		WatermarkScale:  setting("/proc/sys/vm/watermark_scale_factor"),
		THP:             kernel.Value(src, "/sys/kernel/mm/transparent_hugepage/enabled", maxFile, procfs.ParseChoice),
		Zswap:           kernel.Value(src, "/sys/module/zswap/parameters/enabled", maxFile, procfs.ParseSwitch),
		Zram:            zram(src),
	}
}

// zram reads the devices one after the other, until there is none.
func zram(src kernel.Source) snapshot.Reading[[]snapshot.Zram] {
	var list []snapshot.Zram
	for i := range maxZram {
		name := fmt.Sprintf("zram%d", i)
		r := kernel.Value(src, "/sys/block/"+name+"/mm_stat", maxFile, procfs.ParseMMStat)
		if r.State != snapshot.Present {
			if r.State == snapshot.Absent && i > 0 {
				r.State = snapshot.Present
			}
			return snapshot.Reading[[]snapshot.Zram]{Value: list, State: r.State, Source: r.Source, At: r.At, Err: r.Err}
		}
		r.Value.Name = name
		list = append(list, r.Value)
	}
	return snapshot.Reading[[]snapshot.Zram]{Value: list, State: snapshot.Present, Source: "/sys/block/zram0/mm_stat"}
}
