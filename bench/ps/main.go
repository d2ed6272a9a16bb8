//go:build linux

// Command ps measures the list of many containers, names included, beside the
// bare reads of the same files: open, read, close, one after the other. The names
// come from a daemon that this program plays in another process. It prints ratios
// of one run; the times are those of the machine and of the moment.
//
// It makes cgroups below its own (cgroup v1) or below the root (v2), each with a
// sleeping process, and removes them.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/memwhy/memwhy/internal/explain"
	"github.com/memwhy/memwhy/internal/gather"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/render"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/wire"
)

func main() {
	if socket := os.Getenv("MEMWHY_BENCH_DAEMON"); socket != "" {
		log.Fatal(play(socket, os.Getenv("MEMWHY_BENCH_CONTAINERS")))
	}
	n := flag.Int("containers", 500, "each a cgroup with one process")
	rounds := flag.Int("rounds", 20, "of each way")
	flag.Parse()
	debug.SetGCPercent(400) // as the command does
	if err := run(*n, *rounds); err != nil {
		log.Fatal(err)
	}
}

func run(n, rounds int) error {
	remove, err := containers(n)
	defer remove()
	if err != nil {
		return err
	}
	socket, stop, err := daemon(n)
	if err != nil {
		return err
	}
	defer stop()
	files, err := asked()
	if err != nil {
		return err
	}
	buf := make([]byte, 64<<10)
	ways := []*way{
		{name: "bare: open, read, close", pass: func() error { return bare(files, buf) }},
		{name: "memwhy ps, nobody asked for names", pass: func() error { return ps(n, wire.Naming{Endpoints: []string{"none"}}) }},
		{name: "memwhy ps, with names", pass: func() error { return ps(n, wire.Naming{Endpoints: []string{"/nonexistent"}, Docker: socket}) }},
	}
	for i := range rounds + 1 {
		for _, w := range ways {
			if err := w.measure(i > 0); err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
		}
	}
	fmt.Printf("%d containers, %d files\n", n, len(files))
	for _, w := range ways {
		fmt.Printf("  %-36s wall min %7.2f ms  median %7.2f ms  CPU min %7.2f ms  %5.2fx\n",
			w.name, slices.Min(w.walls), median(w.walls), slices.Min(w.cpus), slices.Min(w.walls)/slices.Min(ways[0].walls))
	}
	fmt.Printf("with names it takes %.2fx the bare reads at best, %.2fx in the median (goal: at most 1.5)\n",
		slices.Min(ways[2].walls)/slices.Min(ways[0].walls), median(ways[2].walls)/median(ways[0].walls))
	return nil
}

func id(i int) string { return fmt.Sprintf("%064x", 0xbe7c4<<40+i) }

// containers makes the cgroups and their processes.
func containers(n int) (remove func(), err error) {
	var undo []func()
	remove = func() {
		for _, f := range slices.Backward(undo) {
			f()
		}
	}
	live, err := kernel.OpenLive("/")
	if err != nil {
		return remove, err
	}
	defer live.Close()
	h, err := cgroupfs.Find(live, false)
	if err != nil {
		return remove, err
	}
	parent := h.Point
	if members, ok := kernel.Value(live, "/proc/self/cgroup", 64<<10, cgroupfs.ParseMembership).Get(); ok && h.Version == 1 {
		own, _ := h.Membership(members)
		parent, _ = h.Dir(own)
	}
	parent = filepath.Join(parent, fmt.Sprintf("memwhy-bench-%d", os.Getpid()))
	for i := -1; i < n; i++ {
		dir := parent
		if i >= 0 {
			dir = filepath.Join(parent, id(i))
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return remove, err
		}
		undo = append(undo, func() {
			for range 100 {
				if syscall.Rmdir(dir) == nil {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
		})
		if i < 0 {
			if h.Version == 2 {
				_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory"), 0)
			}
			continue
		}
		cmd := exec.Command("/bin/sleep", "3600")
		if err := cmd.Start(); err != nil {
			return remove, err
		}
		undo = append(undo, func() {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		})
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
			return remove, err
		}
	}
	return remove, nil
}

// daemon starts this program as docker.
func daemon(n int) (socket string, stop func(), err error) {
	dir, err := os.MkdirTemp("", "ps")
	if err != nil {
		return "", nil, err
	}
	socket = filepath.Join(dir, "s")
	cmd := exec.Command("/proc/self/exe")
	cmd.Env = append(os.Environ(), "MEMWHY_BENCH_DAEMON="+socket, "MEMWHY_BENCH_CONTAINERS="+strconv.Itoa(n))
	if err := cmd.Start(); err != nil {
		return "", nil, err
	}
	stop = func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		os.RemoveAll(dir)
	}
	for range 500 {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return socket, stop, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	stop()
	return "", nil, errors.New("the daemon does not listen")
}

// play answers as docker does of so many containers, with eight labels each.
func play(socket, containers string) error {
	n, err := strconv.Atoi(containers)
	if err != nil {
		return err
	}
	var list []map[string]any
	for i := range n {
		labels := map[string]string{}
		for k := range 8 {
			labels[fmt.Sprintf("com.example.label-%d", k)] = fmt.Sprintf("value %d of %d", k, i)
		}
		list = append(list, map[string]any{
			"Id": id(i), "Names": []string{fmt.Sprintf("/web-%d", i)}, "Image": "registry.example.com/team/web:1.2.3", "Labels": labels,
			"State": "running", "Status": "Up 3 hours", "HostConfig": map[string]string{"NetworkMode": "bridge"},
		})
	}
	answer, err := json.Marshal(list)
	if err != nil {
		return err
	}
	http.HandleFunc("/version", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, `{"Version":"20.10.24","ApiVersion":"1.41"}`)
	})
	http.HandleFunc("/containers/json", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(answer) })
	l, err := net.Listen("unix", socket)
	if err != nil {
		return err
	}
	return http.Serve(l, nil)
}

// noted is a source that notes which files are read.
type noted struct {
	kernel.Source
	sync.Mutex
	files []string
}

func (s *noted) Ask(q kernel.Question) kernel.Answer {
	a := s.Source.Ask(q)
	if q.Op == kernel.Read && len(a.Data) > 0 {
		s.Lock()
		s.files = append(s.files, q.Path)
		s.Unlock()
	}
	return a
}

// asked is the files that a list reads.
func asked() ([]string, error) {
	live, err := kernel.OpenLive("/")
	if err != nil {
		return nil, err
	}
	defer live.Close()
	s := &noted{Source: live}
	_, err = gather.List(s, gather.Options{}, gather.Want{})
	return s.files, err
}

func bare(files []string, buf []byte) error {
	for _, f := range files {
		fd, err := syscall.Open(f, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		for {
			n, err := syscall.Read(fd, buf)
			if err != nil {
				return fmt.Errorf("%s: %w", f, err)
			}
			if n == 0 {
				break
			}
		}
		syscall.Close(fd)
	}
	return nil
}

// ps is all that the command does but for starting.
func ps(n int, whom wire.Naming) error {
	node, err := wire.Open(context.Background(), wire.Options{HostRoot: "/", Timeout: time.Minute, Names: whom})
	if err != nil {
		return err
	}
	defer node.Close()
	l, err := node.List(wire.Want{}, explain.Selection{Sort: explain.ByUnreclaimable})
	if err != nil {
		return err
	}
	named := slices.ContainsFunc(l.Containers, func(c report.Listed) bool { return c.Target.ID == id(0) && c.Target.Name == "web-0" })
	if len(l.Containers) < n || named != (whom.Docker != "") || len(render.List(l, false)) == 0 {
		return fmt.Errorf("%d rows, named %v", len(l.Containers), named)
	}
	return nil
}

type way struct {
	name        string
	pass        func() error
	cpus, walls []float64
}

func (w *way) measure(keep bool) error {
	before, start := usage(), time.Now()
	if err := w.pass(); err != nil {
		return err
	}
	if keep {
		w.walls = append(w.walls, float64(time.Since(start).Nanoseconds())/1e6)
		w.cpus = append(w.cpus, float64((usage()-before).Nanoseconds())/1e6)
	}
	return nil
}

func median(v []float64) float64 { return slices.Sorted(slices.Values(v))[len(v)/2] }

func usage() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		log.Fatal(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}
