//go:build linux

// Command sweep measures one pass of memory.stat and usage over many cgroups:
// memwhy's sweep, the bare loop of preads with a hand parser, and
// opencontainers/cgroups GetStats, in turns in one run. It prints ratios; the
// times are those of the machine and of the moment.
//
// It makes the cgroups below its own (cgroup v1) or below the root (v2) and
// removes them.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"syscall"
	"time"

	"github.com/opencontainers/cgroups"
	"github.com/opencontainers/cgroups/fs"
	"github.com/opencontainers/cgroups/fs2"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/snapshot"
)

func main() {
	n := flag.Int("groups", 1000, "cgroups")
	rounds := flag.Int("rounds", 40, "passes of each")
	flag.Parse()
	if err := run(*n, *rounds); err != nil {
		log.Fatal(err)
	}
}

func run(n, rounds int) error {
	live, err := kernel.OpenLive("/")
	if err != nil {
		return err
	}
	defer live.Close()
	h, err := cgroupfs.Find(live, false)
	if err != nil {
		return err
	}
	paths, remove, err := makeGroups(live, h, n)
	defer remove()
	if err != nil {
		return err
	}
	sweep, err := cgroupfs.NewSweep(live, h, paths)
	if err != nil {
		return err
	}
	defer sweep.Close()
	bare, err := openBare(h, paths)
	if err != nil {
		return err
	}
	defer bare.close()
	peers, err := openPeers(h, paths)
	if err != nil {
		return err
	}
	var sum int64
	ways := []*way{
		{name: "bare loop: kept fds, pread, hand parser", pass: func() error { return bare.pass(&sum) }},
		{name: "memwhy: cgroupfs.Sweep", pass: func() error {
			sweep.Pass(func(s cgroupfs.Sample) { sum += s.Usage })
			return nil
		}},
		{name: "opencontainers/cgroups GetStats", pass: func() error { return peers.pass(&sum) }, every: 8},
	}
	for i := range rounds {
		for _, w := range ways {
			if err := w.measure(i, n); err != nil {
				return err
			}
		}
	}
	report(ways, n)
	return nil
}

// way is one way of reading, and what its passes took.
type way struct {
	name   string
	pass   func() error
	every  int // rounds; 0 is each
	cpu    []float64
	allocs float64
}

func (w *way) measure(round, groups int) error {
	if w.every > 0 && round%w.every != 0 {
		return nil
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	start := cpu()
	if err := w.pass(); err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	took := cpu() - start
	runtime.ReadMemStats(&after)
	if round > 0 { // the first round warms up
		w.cpu = append(w.cpu, float64(took.Nanoseconds())/1e3/float64(groups))
		w.allocs = float64(after.Mallocs-before.Mallocs) / float64(groups)
	}
	return nil
}

func cpu() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		log.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

func report(ways []*way, n int) {
	fmt.Printf("%d cgroups, CPU time a cgroup\n", n)
	base, ours := slices.Min(ways[0].cpu), slices.Min(ways[1].cpu)
	for _, w := range ways {
		slices.Sort(w.cpu)
		fmt.Printf("  %-42s min %7.2f us  median %7.2f us  %6.1f allocations  %5.2fx the bare loop\n",
			w.name, w.cpu[0], w.cpu[len(w.cpu)/2], w.allocs, w.cpu[0]/base)
	}
	fmt.Printf("memwhy is %.2fx the bare loop (goal: at most 1.25) and takes %.1fx less CPU than GetStats (goal: at least 15)\n",
		ours/base, ways[2].cpu[0]/ours)
}

func makeGroups(live *kernel.Live, h cgroupfs.Hierarchy, n int) (paths []string, remove func(), err error) {
	parent := "/"
	if h.Version == snapshot.V1 {
		a := live.Ask(kernel.Question{Op: kernel.Read, Path: "/proc/self/cgroup", Max: 1 << 20})
		lines, err := cgroupfs.ParseMembership(a.Data)
		if err != nil {
			return nil, func() {}, err
		}
		parent, _ = h.Membership(lines)
	}
	remove = func() {
		for _, p := range paths {
			dir, _ := h.Dir(p)
			_ = syscall.Rmdir(dir)
		}
	}
	for i := range n {
		p := filepath.Join(parent, fmt.Sprintf("memwhy-bench-%d-%04d", os.Getpid(), i))
		dir, ok := h.Dir(p)
		if !ok {
			return paths, remove, fmt.Errorf("%s is not mounted here", p)
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return paths, remove, err
		}
		paths = append(paths, p)
	}
	return paths, remove, nil
}

// bareLoop is the least that has to be done: two preads and one scan for digits.
type bareLoop struct {
	fds [][2]int
	buf []byte
	val [128]uint64
}

func openBare(h cgroupfs.Hierarchy, paths []string) (*bareLoop, error) {
	usage := "memory.usage_in_bytes"
	if h.Version == snapshot.V2 {
		usage = "memory.current"
	}
	b := &bareLoop{buf: make([]byte, 64<<10)}
	for _, p := range paths {
		dir, _ := h.Dir(p)
		var fds [2]int
		for i, name := range []string{"memory.stat", usage} {
			fd, err := syscall.Open(filepath.Join(dir, name), syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
			if err != nil {
				return nil, err
			}
			fds[i] = fd
		}
		b.fds = append(b.fds, fds)
	}
	return b, nil
}

func (b *bareLoop) pass(sum *int64) error {
	for _, fds := range b.fds {
		for _, fd := range fds {
			n, err := syscall.Pread(fd, b.buf, 0)
			if err != nil {
				return err
			}
			*sum += int64(b.parse(b.buf[:n]))
		}
	}
	return nil
}

// parse keeps the numbers by position and does not look at the keys.
func (b *bareLoop) parse(text []byte) uint64 {
	n := 0
	for len(text) > 0 && n < len(b.val) {
		i := bytes.IndexByte(text, ' ') + 1
		var x uint64
		for i < len(text) && text[i] != '\n' {
			x = x*10 + uint64(text[i]-'0')
			i++
		}
		b.val[n] = x
		n++
		text = text[min(i+1, len(text)):]
	}
	return b.val[0]
}

func (b *bareLoop) close() {
	for _, fds := range b.fds {
		syscall.Close(fds[0])
		syscall.Close(fds[1])
	}
}

// peers are the managers of opencontainers/cgroups, for memory alone.
type peers struct{ managers []cgroups.Manager }

func openPeers(h cgroupfs.Hierarchy, paths []string) (*peers, error) {
	p := &peers{}
	for _, path := range paths {
		dir, _ := h.Dir(path)
		var m cgroups.Manager
		var err error
		if h.Version == snapshot.V2 {
			m, err = fs2.NewManager(&cgroups.Cgroup{Resources: &cgroups.Resources{}}, dir)
		} else {
			m, err = fs.NewManager(&cgroups.Cgroup{Resources: &cgroups.Resources{}}, map[string]string{"memory": dir})
		}
		if err != nil {
			return nil, err
		}
		p.managers = append(p.managers, m)
	}
	return p, nil
}

func (p *peers) pass(sum *int64) error {
	for _, m := range p.managers {
		st, err := m.GetStats()
		if err != nil {
			return err
		}
		*sum += int64(st.MemoryStats.Usage.Usage)
	}
	return nil
}
