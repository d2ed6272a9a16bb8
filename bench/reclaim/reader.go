//go:build linux

package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// A process of this program with a role joins a cgroup, and becomes itself again, so
// that all of its memory is charged there.
const (
	roleVar = "MEMWHY_BENCH_ROLE"
	joinVar = "MEMWHY_BENCH_JOIN"
)

const (
	block  = 64 << 10
	burst  = 1 << 20
	length = 500 * time.Millisecond // of a bucket
	look   = 25 * time.Millisecond  // between two looks at what is in memory
)

func play(role string, args []string) error {
	if dir := os.Getenv(joinVar); dir != "" {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
			return err
		}
		if err := os.Unsetenv(joinVar); err != nil {
			return err
		}
		self, err := os.Executable()
		if err != nil {
			return err
		}
		return syscall.Exec(self, os.Args, os.Environ())
	}
	switch role {
	case "holder": // reads files once, and stays
		for _, name := range args {
			if err := readOnce(name); err != nil {
				return err
			}
		}
		fmt.Println("ready")
		_, err := io.Copy(io.Discard, os.Stdin)
		return err
	case "reader":
		return readAgain(args[0])
	case "write": // FILE VALUE: one write, in a process that can be ended
		f, err := os.OpenFile(args[0], os.O_WRONLY, 0)
		if err != nil {
			return err
		}
		defer f.Close()
		_, err = syscall.Write(int(f.Fd()), []byte(args[1])) // Fd makes it a blocking one
		if errors.Is(err, syscall.EAGAIN) {                  // less than was asked
			return nil
		}
		return err
	}
	return errors.New("no such role")
}

func readOnce(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, burst)
	for {
		if _, err := f.Read(buf); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
	}
}

// window is what a reader saw since the last mark.
type window struct {
	Resident int64 // of its file in memory, now
	Lowest   int64 // at the worst moment
	Read     int64 // from disk, for this process
	Buckets  []bucket
}

// bucket is the reads of half a second.
type bucket struct {
	Reads    int
	P50, P99 time.Duration
}

// watched is a file that is read over and over.
type watched struct {
	fd     int
	size   int64
	mapped []byte // never touched: for mincore
	vector []byte

	now     window
	samples []time.Duration
	ends    time.Time
	looked  time.Time
	base    int64
}

// readAgain reads a file in a loop, two thirds of the time at rest, and answers to the
// words mark and report.
func readAgain(name string) error {
	fd, err := syscall.Open(name, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	var st syscall.Stat_t
	if err := syscall.Fstat(fd, &st); err != nil {
		return err
	}
	w := &watched{fd: fd, size: st.Size, samples: make([]time.Duration, 0, 1<<17)}
	if w.mapped, err = syscall.Mmap(fd, 0, int(w.size), syscall.PROT_READ, syscall.MAP_SHARED); err != nil {
		return err
	}
	w.vector = make([]byte, (len(w.mapped)+os.Getpagesize()-1)/os.Getpagesize())
	words := make(chan string)
	go func() {
		for sc := bufio.NewScanner(os.Stdin); sc.Scan(); {
			words <- sc.Text()
		}
		close(words)
	}()
	buf := make([]byte, block)
	for pass, at := 0, int64(0); ; at += burst {
		if at >= w.size {
			if at, pass = 0, pass+1; pass == 2 {
				fmt.Println("ready")
			}
		}
		start := time.Now()
		if err := w.burst(buf, at); err != nil {
			return err
		}
		took := time.Since(start)
		if err := w.turn(time.Now()); err != nil {
			return err
		}
		select {
		case text, ok := <-words:
			if !ok {
				return nil
			}
			if err := w.obey(text); err != nil {
				return err
			}
		case <-time.After(2 * took):
		}
	}
}

// burst reads a part of the file, and times each read.
func (w *watched) burst(buf []byte, from int64) error {
	for at := from; at < min(from+burst, w.size); at += int64(len(buf)) {
		start := time.Now()
		n, err := syscall.Pread(w.fd, buf, at)
		if err != nil || n == 0 {
			return fmt.Errorf("%d bytes at %d: %w", n, at, err)
		}
		w.samples = append(w.samples, time.Since(start))
	}
	return nil
}

// turn ends a bucket, and looks at memory, when it is time.
func (w *watched) turn(now time.Time) error {
	if now.After(w.ends) {
		w.end(now)
	}
	if now.Sub(w.looked) < look {
		return nil
	}
	return w.see(now)
}

func (w *watched) end(now time.Time) {
	if n := len(w.samples); n > 0 && !w.ends.IsZero() {
		slices.Sort(w.samples)
		w.now.Buckets = append(w.now.Buckets, bucket{n, w.samples[n/2], w.samples[n*99/100]})
	}
	w.samples, w.ends = w.samples[:0], now.Add(length)
}

func (w *watched) see(now time.Time) error {
	w.looked = now
	if _, _, e := syscall.Syscall(syscall.SYS_MINCORE, uintptr(unsafe.Pointer(&w.mapped[0])), uintptr(len(w.mapped)), uintptr(unsafe.Pointer(&w.vector[0]))); e != 0 {
		return fmt.Errorf("mincore: %w", e)
	}
	var pages int64
	for _, b := range w.vector {
		pages += int64(b & 1)
	}
	w.now.Resident = min(w.size, pages*int64(os.Getpagesize()))
	w.now.Lowest = min(w.now.Lowest, w.now.Resident)
	return nil
}

func (w *watched) obey(text string) error {
	now := time.Now()
	read, err := blockReads()
	if err != nil {
		return err
	}
	switch text {
	case "mark":
		w.now, w.base, w.samples, w.ends = window{Lowest: w.size}, read, w.samples[:0], now.Add(length)
		return w.see(now)
	case "report":
		w.end(now)
		if err := w.see(now); err != nil {
			return err
		}
		w.now.Read = read - w.base
		return json.NewEncoder(os.Stdout).Encode(w.now)
	}
	return fmt.Errorf("what is %q?", text)
}

// blockReads is what was read from disks for this process.
func blockReads() (n int64, err error) {
	b, err := os.ReadFile("/proc/self/io")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "read_bytes:"); ok {
			_, err = fmt.Sscan(rest, &n)
			return n, err
		}
	}
	return 0, errors.New("/proc/self/io has no read_bytes: the kernel accounts no I/O of tasks")
}

// actor is a process with a role.
type actor struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func start(role, dir string, args ...string) (*actor, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	a := &actor{cmd: exec.Command(self, args...)}
	a.cmd.Env = append(os.Environ(), roleVar+"="+role, joinVar+"="+dir)
	a.cmd.Stderr = os.Stderr
	if a.in, err = a.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := a.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	a.out = bufio.NewReader(out)
	if err := a.cmd.Start(); err != nil {
		return nil, err
	}
	if line, err := a.out.ReadString('\n'); line != "ready\n" {
		a.stop()
		return nil, fmt.Errorf("%s said %q: %w", role, line, cmp.Or(err, errors.ErrUnsupported))
	}
	return a, nil
}

// stop ends the process and waits for its end.
func (a *actor) stop() {
	a.in.Close()
	timer := time.AfterFunc(10*time.Second, func() { _ = a.cmd.Process.Kill() })
	defer timer.Stop()
	_, _ = io.Copy(io.Discard, a.out)
	_ = a.cmd.Wait()
}

type reader struct{ *actor }

func (r *reader) mark() error {
	_, err := io.WriteString(r.in, "mark\n")
	return err
}

func (r *reader) report() (w window, err error) {
	if _, err := io.WriteString(r.in, "report\n"); err != nil {
		return w, err
	}
	line, err := r.out.ReadBytes('\n')
	if err != nil {
		return w, err
	}
	return w, json.Unmarshal(line, &w)
}
