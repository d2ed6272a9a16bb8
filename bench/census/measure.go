//go:build linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/memwhy/memwhy/internal/kernel/census"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// spent is the time of something: of this process on processors, and by the clock.
type spent struct{ cpu, wall time.Duration }

func since(s spent) spent { return spent{cpu() - s.cpu, time.Duration(time.Now().UnixNano()) - s.wall} }
func now() spent          { return spent{cpu(), time.Duration(time.Now().UnixNano())} }

// least is the least of each.
func least(of []spent) (s spent) {
	s = of[0]
	for _, o := range of {
		s = spent{min(s.cpu, o.cpu), min(s.wall, o.wall)}
	}
	return s
}

func middle(of []spent) spent {
	var cpu, wall []time.Duration
	for _, o := range of {
		cpu, wall = append(cpu, o.cpu), append(wall, o.wall)
	}
	return spent{median(cpu), median(wall)}
}

// measured is what the passes of one run took.
type measured struct {
	load                spent // of the program
	first, scans, kpage []spent
	outs                []time.Duration       // by the clock
	slices              snapshot.CensusSlices // of the pass with the longest run
	files, groups       int
	frames, fileBytes   int64
	maps, heap          int64 // bytes
	wrong               []string
}

func (m *measured) scan() spent            { return least(m.scans) }
func (m *measured) readOut() time.Duration { return slices.Min(m.outs) }

// ratios are those to the kpage read, of CPU time and by the clock.
func (m *measured) ratios(s spent) (cpu, wall float64) {
	k := least(m.kpage)
	return float64(s.cpu) / float64(k.cpu), float64(s.wall) / float64(k.wall)
}

// measure loads the program, takes a first pass, and then passes in turns with reads
// of kpageflags and kpagecgroup.
func measure(ctx context.Context, t *tree, rounds, walkers int) (*measured, error) {
	m := &measured{}
	start := now()
	e, err := census.OpenWith(ctx, walkers) // sized for what is there now
	if err != nil {
		return nil, err
	}
	defer e.Close()
	m.load, m.maps = since(start), mapBytes()
	for i := range rounds + 1 {
		if i > 0 {
			start := now()
			for _, name := range []string{"/proc/kpageflags", "/proc/kpagecgroup"} {
				if err := readThrough(name); err != nil {
					return nil, err
				}
			}
			m.kpage = append(m.kpage, since(start))
		}
		// DAMON or kswapd may have taken some back.
		if err := t.read(); err != nil {
			return nil, err
		}
		runtime.GC()
		debug.FreeOSMemory()
		before := heap()
		start := now()
		c, err := e.Scan(ctx)
		if err != nil {
			return nil, err
		}
		took := since(start)
		m.heap = max(m.heap, heap()-before)
		m.maps = max(m.maps, mapBytes())
		m.see(c)
		if i == 0 {
			m.first = append(m.first, took)
			continue
		}
		m.scans = append(m.scans, took)
		m.outs = append(m.outs, c.ReadOut)
	}
	return m, nil
}

func (m *measured) see(c *snapshot.Census) {
	m.files, m.groups, m.frames, m.fileBytes = len(c.Inodes), len(c.Groups), c.Frames, c.Node.File
	if c.Slices.Max > m.slices.Max {
		m.slices = c.Slices
	}
	m.wrong = append(m.wrong, c.Doubts...)
	if c.Dropped.Any() {
		m.wrong = append(m.wrong, fmt.Sprintf("%+v", c.Dropped))
	}
}

// cpu is this process's time on processors: of this machine's clock others take a
// share.
func cpu() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		log.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// heap is what Go has taken from the kernel.
func heap() int64 {
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return int64(s.HeapSys - s.HeapReleased)
}

// mapBytes is what the kernel holds for BPF maps of this process.
func mapBytes() (sum int64) {
	infos, _ := filepath.Glob("/proc/self/fdinfo/*")
	for _, name := range infos {
		b, _ := os.ReadFile(name)
		if !bytes.Contains(b, []byte("map_type:")) {
			continue
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); len(f) == 2 && f[0] == "memlock:" {
				n, _ := strconv.ParseInt(f[1], 10, 64)
				sum += n
			}
		}
	}
	return sum
}

func readThrough(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 1<<20)
	for {
		if n, err := f.Read(buf); n == 0 || err != nil {
			return nil // at the end, however it says so
		}
	}
}

func ms(d time.Duration) string { return fmt.Sprintf("%.1f", float64(d.Microseconds())/1000) }

func (m *measured) print(out io.Writer, o options, one *measured) {
	b, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Fprintf(out, "Linux %s, %d processors, %d page frames (%.1f GiB), %d cached files of %.1f GiB, %d cgroups; %d passes of each in turns, at a load average of %.4s. The least counts, unless it says median.\n\n",
		strings.TrimSpace(string(b)), runtime.NumCPU(), m.frames, float64(m.frames)*float64(os.Getpagesize())/(1<<30), m.files, float64(m.fileBytes)/(1<<30), m.groups, o.rounds, load)
	row := func(what string, m *measured, s spent, goal string) {
		cpu, wall := m.ratios(s)
		fmt.Fprintf(out, "| %s | %s | %.2f | %s | %.2f | %s |\n", what, ms(s.cpu), cpu, ms(s.wall), wall, goal)
	}
	out1 := m.readOut()
	fmt.Fprintf(out, "| what | CPU ms | of the kpage read | ms by the clock | of the kpage read | goal |\n|---|---|---|---|---|---|\n")
	row("full read of kpageflags and kpagecgroup", m, least(m.kpage), "")
	row(fmt.Sprintf("census with files, names and slab, %d walkers", m.slices.Walkers), m, m.scan(), "0.32")
	row("median census", m, middle(m.scans), "")
	row("of it, read-out to Go", m, spent{out1, out1}, fmt.Sprintf("0.15 of the census; it is %.2f", float64(out1)/float64(m.scan().wall)))
	row("first census after loading", m, m.first[0], "")
	row("loading, with the self-test", m, m.load, "")
	row("census by one walker, beside its own kpage read", one, one.scan(), "")
	row("its median", one, middle(one.scans), "")
	fmt.Fprintf(out, "\nPasses in their order, CPU ms:")
	for _, s := range append(m.first[:1:1], m.scans...) {
		fmt.Fprintf(out, " %s", ms(s.cpu))
	}
	fmt.Fprintf(out, ".\n")
	fmt.Fprintf(out, "\nMemory: tables %.1f MiB, heap %.1f MiB, together %.1f MiB (goal: 64); by one walker %.1f MiB.\n", mib(m.maps), mib(m.heap), mib(m.maps+m.heap), mib(one.maps+one.heap))
	fmt.Fprintf(out, "Runs in the kernel of the worst pass: %d, median %v, p99 %v, longest %v (goal: 1 ms)", m.slices.Count, m.slices.Median, m.slices.P99, m.slices.Max)
	if m.slices.Long > 0 {
		fmt.Fprintf(out, "; %d above 1 ms, in which others got the processor %d times and the hypervisor took %v", m.slices.Long, m.slices.Switches, m.slices.Steal)
	}
	fmt.Fprintf(out, ".\n")
	for _, w := range m.wrong {
		fmt.Fprintf(out, "WRONG: %s\n", w)
	}
	estimate(out, m, one)
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }

func median(d []time.Duration) time.Duration {
	d = slices.Sorted(slices.Values(d))
	return d[len(d)/2]
}

// estimate scales what was measured to larger machines. It is arithmetic, not a
// measurement: frames that are skipped cost what they cost here, cached memory
// costs by folio and by file. What several walkers take more than one is looking at
// every frame, which each has to.
func estimate(out io.Writer, m, one *measured) {
	perByte := func(d time.Duration) float64 { return float64(d) / float64(m.frames*int64(os.Getpagesize())) }
	n := m.slices.Walkers
	all := one.scan().cpu
	look := max(0, m.scan().cpu-all) / time.Duration(max(1, n-1))
	four := look + (all-look)/4
	fmt.Fprintf(out, "\nOn paper, at the same mix of files and folios: 256 GiB %.1f s, 1 TiB %.1f s by one walker; ", perByte(all)*(256<<30)/1e9, perByte(all)*(1<<40)/1e9)
	fmt.Fprintf(out, "by the clock with four, each of which looks at every frame (%s ms of it here), %.1f s and %.1f s.\n", ms(look), perByte(four)*(256<<30)/1e9, perByte(four)*(1<<40)/1e9)
}

// peers are asked about the same files, by name, as many to a call as fit.
func peers(ctx context.Context, out io.Writer, t *tree, m *measured) {
	var names []string
	_ = t.each(func(path string) error { names = append(names, path); return nil })
	fmt.Fprintf(out, "\n| of the same files, without cgroups | CPU ms | of the census |\n|---|---|---|\n")
	for _, p := range [][]string{{"fincore", "-nb"}, {"vmtouch", "-q"}, {"pcstat", "-terse"}} {
		if _, err := exec.LookPath(p[0]); err != nil {
			fmt.Fprintf(out, "| %s | not installed | |\n", p[0])
			continue
		}
		var took []time.Duration
		for range 3 {
			var spent time.Duration
			for chunk := range slices.Chunk(names, 5000) {
				cmd := exec.CommandContext(ctx, p[0], append(p[1:], chunk...)...)
				if b, err := cmd.CombinedOutput(); err != nil {
					log.Printf("%s: %v: %.200s", p[0], err, b)
				}
				spent += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
			}
			took = append(took, spent)
		}
		best := slices.Min(took)
		fmt.Fprintf(out, "| %s | %s | %.1f |\n", strings.Join(p, " "), ms(best), float64(best)/float64(m.scan().cpu))
	}
}
