//go:build linux

// Command procs measures what memwhy reads of processes: the list of the
// mappings of a process that has many, beside the bare read of the same file, and
// the shares (PSS) of many small processes, beside smem. It prints ratios of one
// run; the times are those of the machine and of the moment.
//
// With -costs it measures what the kernel takes for a mapping and for a page:
// the constants of internal/gather.
package main

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/procfs"
)

func main() {
	if role := os.Getenv("MEMWHY_BENCH_ROLE"); role != "" {
		play(role)
		return
	}
	mappings := flag.Int("mappings", 20_000, "of the process that has many")
	processes := flag.Int("processes", 2000, "small ones")
	rounds := flag.Int("rounds", 15, "of each way")
	onlyCosts := flag.Bool("costs", false, "measure the constants of internal/gather instead")
	flag.Parse()
	var err error
	if *onlyCosts {
		err = costs(*rounds)
	} else if err = listing(*mappings, *rounds); err == nil {
		err = shares(*processes, *rounds)
	}
	if err != nil {
		log.Fatal(err)
	}
}

// listing compares the ways to list the mappings of one process.
func listing(mappings, rounds int) error {
	pid, end, err := actor("mappings", mappings)
	if err != nil {
		return err
	}
	defer end()
	live, err := kernel.OpenLive("/")
	if err != nil {
		return err
	}
	defer live.Close()
	guard := kernel.NewGuard(context.Background(), live, time.Second, reader())
	defer guard.Close()
	file := fmt.Sprintf("/proc/%d/smaps", pid)
	buf := make([]byte, 1<<20)
	ways := []*way{
		{name: "bare read of smaps, one buffer", pass: func() error { return bare(file, buf) }},
		{name: "memwhy: read and parsed", pass: func() error { return list(live, file) }},
		{name: "memwhy: by the reader process", pass: func() error { return list(guard, file) }, cpu: func() time.Duration { return guard.Origin().Cost.CPU }},
		{name: "memwhy: the same, counted in maps before", pass: func() error {
			r := kernel.Value(guard, fmt.Sprintf("/proc/%d/maps", pid), 4<<20, procfs.CountMaps)
			if n, ok := r.Get(); !ok || n < mappings {
				return errors.New("maps: " + r.Err)
			}
			return list(guard, file)
		}, cpu: func() time.Duration { return guard.Origin().Cost.CPU }},
		{name: "bare read of maps", pass: func() error { return bare(fmt.Sprintf("/proc/%d/maps", pid), buf) }},
		{name: "bare read of smaps_rollup", pass: func() error { return bare(fmt.Sprintf("/proc/%d/smaps_rollup", pid), buf) }},
	}
	fmt.Printf("a process of %d mappings, CPU and wall time\n", mappings)
	if err := turns(ways, rounds); err != nil {
		return err
	}
	fmt.Printf("memwhy's list is %.2fx the CPU of the bare read (goal: at most 1.3); as explain asks, counted before and by the reader process, %.2fx\n",
		ratio(ways[1].cpus, ways[0].cpus), ratio(ways[3].cpus, ways[0].cpus))
	return nil
}

func list(src kernel.Source, file string) error {
	r := kernel.Value(src, file, 32<<20, procfs.ParseSmaps)
	if s, ok := r.Get(); !ok || len(s.Maps) == 0 {
		return errors.New("smaps: " + r.Err)
	}
	return nil
}

// shares compares the ways to sum the PSS of many small processes.
func shares(n, rounds int) error {
	var pids []int
	for range n {
		cmd := exec.Command("/bin/sleep", "3600")
		if err := cmd.Start(); err != nil {
			return err
		}
		defer func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}()
		pids = append(pids, cmd.Process.Pid)
	}
	live, err := kernel.OpenLive("/")
	if err != nil {
		return err
	}
	defer live.Close()
	guard := kernel.NewGuard(context.Background(), live, time.Second, reader())
	defer guard.Close()
	buf := make([]byte, 1<<20)
	ways := []*way{
		{name: "memwhy: smaps_rollup by the reader process", pass: func() error { return rollups(guard, pids) }, cpu: func() time.Duration { return guard.Origin().Cost.CPU }},
		{name: "bare read of smaps_rollup", pass: func() error {
			for _, pid := range pids {
				if err := bare(fmt.Sprintf("/proc/%d/smaps_rollup", pid), buf); err != nil {
					return err
				}
			}
			return nil
		}},
		{name: "smaps with os.ReadFile and strings.Fields", pass: func() error { return naive(pids) }, every: 5},
	}
	if smem, err := exec.LookPath("smem"); err == nil {
		ways = append(ways, &way{
			name: "smem -t, of all processes of this machine", every: 8, cpu: childrenCPU,
			pass: func() error { return exec.Command(smem, "-t").Run() },
		})
	}
	fmt.Printf("shares (PSS) of %d small processes, CPU and wall time\n", n)
	if err := turns(ways, rounds); err != nil {
		return err
	}
	if len(ways) < 4 {
		fmt.Println("smem is not installed: no comparison with it")
		return nil
	}
	fmt.Printf("memwhy takes %.1fx less CPU than smem (goal: at least 20; the bare reads alone take %.1fx less)\n",
		ratio(ways[3].cpus, ways[0].cpus), ratio(ways[3].cpus, ways[1].cpus))
	return nil
}

func rollups(src kernel.Source, pids []int) error {
	var pss int64
	for chunk := range slices.Chunk(pids, 16) { // as many as gather asks for together
		var qs []kernel.Question
		for _, pid := range chunk {
			qs = append(qs, kernel.Question{Op: kernel.Read, Path: fmt.Sprintf("/proc/%d/smaps_rollup", pid), Max: 64 << 10})
		}
		for i, a := range kernel.AskAll(src, qs) {
			st, ok := kernel.Parsed(a, qs[i].Path, procfs.ParseSmapsRollup).Get()
			n, found := st.Get("Pss")
			if !ok || !found {
				return fmt.Errorf("%s: %s", qs[i].Path, a.Err)
			}
			pss += n
		}
	}
	if pss == 0 {
		return errors.New("no PSS")
	}
	return nil
}

func naive(pids []int) error {
	sum := 0
	for _, pid := range pids {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/smaps", pid))
		if err != nil {
			return err
		}
		for line := range strings.Lines(string(b)) {
			if f := strings.Fields(line); f[0] == "Pss:" {
				kb, err := strconv.Atoi(f[1])
				if err != nil {
					return err
				}
				sum += kb
			}
		}
	}
	return nil
}

func bare(file string, buf []byte) error {
	fd, err := syscall.Open(file, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer syscall.Close(fd)
	for {
		n, err := syscall.Read(fd, buf)
		if n <= 0 {
			return err
		}
	}
}

// costs measures processes of many mappings and of many pages.
func costs(rounds int) error {
	buf := make([]byte, 1<<20)
	for _, c := range []struct {
		role string
		n    int
		unit string
	}{{"mappings", 20_000, "mapping"}, {"pages", 131_072, "page"}, {"mappings", 2, "file"}} {
		pid, end, err := actor(c.role, c.n)
		if err != nil {
			return err
		}
		per := c.n
		if c.unit == "file" {
			per = 1
		}
		for _, name := range []string{"maps", "smaps_rollup", "smaps"} {
			w := &way{name: name, pass: func() error { return bare(fmt.Sprintf("/proc/%d/%s", pid, name), buf) }}
			for i := range rounds {
				if err := w.measure(i); err != nil {
					return err
				}
			}
			fmt.Printf("%-14s %10.1f ns a %s, of %d\n", name, 1e6*slices.Min(w.cpus)/float64(per), c.unit, c.n)
		}
		end()
	}
	return nil
}

// way is one way of reading, and what its passes took in milliseconds.
type way struct {
	name        string
	pass        func() error
	cpu         func() time.Duration // of this process where nil
	every       int                  // rounds; 0 is each
	cpus, walls []float64
}

func turns(ways []*way, rounds int) error {
	for i := range rounds {
		for _, w := range ways {
			if err := w.measure(i); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	for _, w := range ways {
		fmt.Printf("  %-44s CPU min %8.2f ms  median %8.2f ms  wall min %8.2f ms  %6.2fx\n",
			w.name, slices.Min(w.cpus), median(w.cpus), slices.Min(w.walls), ratio(w.cpus, ways[0].cpus))
	}
	return nil
}

func (w *way) measure(round int) error {
	if w.every > 0 && round%w.every != 1 {
		return nil
	}
	spent := w.cpu
	if spent == nil {
		spent = func() time.Duration { return usage(syscall.RUSAGE_SELF) }
	}
	before, start := spent(), time.Now()
	if err := w.pass(); err != nil {
		return err
	}
	wall, cpu := time.Since(start), spent()-before
	if round > 0 { // the first round warms up
		w.cpus = append(w.cpus, float64(cpu.Nanoseconds())/1e6)
		w.walls = append(w.walls, float64(wall.Nanoseconds())/1e6)
	}
	return nil
}

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

func ratio(a, b []float64) float64 { return slices.Min(a) / slices.Min(b) }

func childrenCPU() time.Duration { return usage(syscall.RUSAGE_CHILDREN) }

func usage(who int) time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(who, &ru); err != nil {
		log.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// reader is the command of this program as a reader process.
func reader() []string { return []string{"/usr/bin/env", "MEMWHY_BENCH_ROLE=reader", executable()} }

// actor starts this program as a process to be read.
func actor(role string, n int) (pid int, end func(), err error) {
	cmd := exec.Command("/proc/self/exe", strconv.Itoa(n))
	cmd.Env = append(os.Environ(), "MEMWHY_BENCH_ROLE="+role)
	in, err1 := cmd.StdinPipe()
	out, err2 := cmd.StdoutPipe()
	if err := errors.Join(err1, err2, cmd.Start()); err != nil {
		return 0, nil, err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return 0, nil, fmt.Errorf("a process of %d %s: %w", n, role, err)
	}
	return cmd.Process.Pid, func() {
		in.Close()
		_ = cmd.Wait()
	}, nil
}

func play(role string) {
	if role == "reader" {
		live, err := kernel.OpenLive("/")
		if err == nil {
			err = kernel.ServeAside(live, os.Stdin, os.Stdout)
		}
		if err != nil {
			log.Fatal(err)
		}
		return
	}
	n, err := strconv.Atoi(os.Args[1])
	if err != nil {
		log.Fatal(err)
	}
	const private = syscall.MAP_PRIVATE | syscall.MAP_ANON
	if role == "pages" {
		b, err := syscall.Mmap(-1, 0, n*4096, syscall.PROT_READ|syscall.PROT_WRITE, private)
		if err != nil {
			log.Fatal(err)
		}
		_ = syscall.Madvise(b, syscall.MADV_NOHUGEPAGE)
		for i := range n {
			b[i*4096] = 1
		}
	}
	for i := 0; role == "mappings" && i < n/2; i++ {
		b, err := syscall.Mmap(-1, 0, 2*4096, syscall.PROT_READ|syscall.PROT_WRITE, private)
		if err != nil {
			log.Fatal(err)
		}
		b[0] = 1
		if err := syscall.Mprotect(b[4096:], syscall.PROT_NONE); err != nil {
			log.Fatal(err)
		}
	}
	fmt.Println("ready")
	_, _ = io.Copy(io.Discard, os.Stdin)
}

// executable is this program by a path that env understands too.
func executable() string {
	path, err := os.Executable()
	if err != nil {
		log.Fatal(err)
	}
	return path
}
