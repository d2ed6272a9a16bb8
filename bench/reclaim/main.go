//go:build linux

// Command reclaim measures what giving memory back costs those who did not ask for
// it. A target holds cold page cache, and a hot file of its own that it reads all
// the time. Beside it one neighbour reads a hot file of its own, and another one a
// file that the target is charged for. The target's cold cache is then taken back in
// turns: by memwhy reclaim, by the cgroup's own knob for all of it (memory.force_empty,
// memory.reclaim, or memory.high where there is neither), by dropping the caches of
// the whole node, and, as a control, by nothing. Each time the stage is made anew.
//
// Ratios of one run are what counts. A reader times each of its reads, counts what
// was read from disk for it (/proc/self/io) and looks how much of its file is in
// memory (mincore), so that what was lost shows even when it was read again at once.
//
// Dropping the caches of a node is refused unless the kernel was started with the
// word memwhy.disposable, as only the machines of e2e/vm are.
//
// It makes files below -dir and cgroups below its own (cgroup v1) or below the
// root (v2), and removes both.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/memwhy/memwhy/bench/document"
)

type options struct {
	bytes           int64
	rounds          int
	dir, memwhy     string
	doc             string
	observe, before time.Duration
	dropCaches      bool
}

func main() {
	log.SetFlags(0)
	if role := os.Getenv(roleVar); role != "" {
		if err := play(role, os.Args[1:]); err != nil {
			log.Fatalf("%s: %v", role, err)
		}
		return
	}
	o := options{}
	mib := flag.Int64("mib", 1024, "cold cache of the target, and size of the neighbour's hot file, in MiB")
	flag.IntVar(&o.rounds, "rounds", 3, "how often each way is measured")
	flag.StringVar(&o.dir, "dir", "/var/tmp", "where the files go; not a tmpfs")
	flag.StringVar(&o.memwhy, "memwhy", "../bin/memwhy", "the binary")
	flag.DurationVar(&o.observe, "observe", 2*time.Second, "how long memwhy watches")
	flag.DurationVar(&o.before, "before", 3*time.Second, "how long readers are measured before anything is done")
	flag.StringVar(&o.doc, "doc", "", "a file to write the table into, between its marks")
	flag.BoolVar(&o.dropCaches, "drop-caches", false, "also drop the caches of the whole machine, which has to be a disposable one")
	flag.Parse()
	if o.bytes = *mib << 20; *mib < 16 || *mib > 1<<20 || o.rounds < 1 {
		log.Fatal("-mib: want 16 or more, -rounds 1 or more")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var said strings.Builder
	err := run(ctx, o, io.MultiWriter(os.Stdout, &said))
	if err == nil && o.doc != "" {
		err = document.Replace(o.doc, "<!-- go run ./reclaim -doc -->\n", "<!-- end of go run ./reclaim -doc -->\n", said.String())
	}
	if err != nil {
		stop()
		log.Fatal(err)
	}
}

func run(ctx context.Context, o options, out io.Writer) (err error) {
	s, err := newStage(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.remove()) }()
	ways, err := s.ways()
	if err != nil {
		return err
	}
	got := make([][]measured, len(ways))
	for range o.rounds {
		for i, w := range ways {
			m, err := s.measure(ctx, w)
			if err != nil {
				return fmt.Errorf("%s: %w", w.name, err)
			}
			got[i] = append(got[i], m)
		}
	}
	table(out, s, ways, got)
	return nil
}

// measured is one way, once. Bytes.
type measured struct {
	wall                time.Duration
	planned             int64 // by memwhy; 0: it was not memwhy
	gave                int64 // by how much the target's usage fell
	workingSet          [2]int64
	usage               [2]int64
	stopped             string
	near, sharing, self seen
}

// seen is what a reader saw.
type seen struct {
	lost     int64 // of its file, at the worst moment
	read     int64 // from disk
	p50, p99 float64
	p99Worst time.Duration
}

// measure sets the stage, and takes the target's cache back in one way.
func (s *stage) measure(ctx context.Context, w way) (m measured, err error) {
	if err := s.set(ctx); err != nil {
		return m, err
	}
	defer func() { err = errors.Join(err, s.clear()) }()
	readers := []*reader{s.near, s.sharing, s.self}
	for _, r := range readers {
		if err := r.mark(); err != nil {
			return m, err
		}
	}
	if !sleep(ctx, s.o.before) {
		return m, ctx.Err()
	}
	before := make([]window, len(readers))
	for i, r := range readers {
		if before[i], err = r.report(); err != nil {
			return m, err
		}
		if err := r.mark(); err != nil {
			return m, err
		}
	}
	if m.usage[0], m.workingSet[0], err = s.target.usage(); err != nil {
		return m, err
	}
	start := time.Now()
	err = w.do(ctx, &m)
	m.wall = time.Since(start)
	if err != nil {
		return m, err
	}
	if m.usage[1], m.workingSet[1], err = s.target.usage(); err != nil {
		return m, err
	}
	m.gave = m.usage[0] - m.usage[1]
	if !sleep(ctx, 2*time.Second) { // in which what was lost is missed
		return m, ctx.Err()
	}
	for i, to := range []*seen{&m.near, &m.sharing, &m.self} {
		after, err := readers[i].report()
		if err != nil {
			return m, err
		}
		*to = compare(before[i], after)
	}
	return m, nil
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}

// compare takes the worst half second of the window against the median one before:
// over all of it, a short harm would hide.
func compare(before, after window) seen {
	of := func(w window, pick func(bucket) time.Duration) (all []time.Duration) {
		for _, b := range w.Buckets {
			all = append(all, pick(b))
		}
		return all
	}
	ratio := func(pick func(bucket) time.Duration) (float64, time.Duration) {
		was, is := of(before, pick), of(after, pick)
		if len(was) == 0 || len(is) == 0 {
			return -1, 0
		}
		return float64(slices.Max(is)) / float64(max(1, median(was))), slices.Max(is)
	}
	s := seen{lost: before.Resident - after.Lowest, read: after.Read}
	s.p50, _ = ratio(func(b bucket) time.Duration { return b.P50 })
	s.p99, s.p99Worst = ratio(func(b bucket) time.Duration { return b.P99 })
	return s
}

func median[T int64 | float64 | time.Duration](all []T) T {
	all = slices.Sorted(slices.Values(all))
	return all[len(all)/2]
}

// table writes the table: medians of the rounds, ways side by side.
func table(out io.Writer, s *stage, ways []way, got [][]measured) {
	release, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	fmt.Fprintf(out, "Linux %s, cgroup v%d. Target: %s of cold cache and %s that it reads all the time; neighbours read %s of their own, and %s that the target is charged for. Medians of %d rounds.\n\n",
		strings.TrimSpace(string(release)), s.target.version, mib(s.o.bytes), mib(s.small()), mib(s.o.bytes), mib(s.small()), len(got[0]))
	head, rule := "| |", "|---|"
	for _, w := range ways {
		head, rule = head+" "+w.name+" |", rule+"---|"
	}
	fmt.Fprintf(out, "%s\n%s\n", head, rule)
	row := func(name string, cell func(all []measured) string) {
		line := "| " + name + " |"
		for i := range ways {
			line += " " + cell(got[i]) + " |"
		}
		fmt.Fprintln(out, line)
	}
	bytes := func(pick func(m measured) int64) func([]measured) string {
		return func(all []measured) string { return mib(of(all, pick)) }
	}
	row("target gave back", bytes(func(m measured) int64 { return m.gave }))
	row("of its plan", func(all []measured) string {
		if all[0].planned == 0 {
			return "no plan"
		}
		return fmt.Sprintf("%.1f %%", of(all, func(m measured) float64 { return 100 * float64(m.gave) / float64(max(1, m.planned)) }))
	})
	row("its working set, before", bytes(func(m measured) int64 { return m.workingSet[0] }))
	row("its working set, after", bytes(func(m measured) int64 { return m.workingSet[1] }))
	for _, r := range []struct {
		who  string
		pick func(m measured) seen
	}{
		{"its own hot file", func(m measured) seen { return m.self }},
		{"neighbour's hot file", func(m measured) seen { return m.near }},
		{"shared file", func(m measured) seen { return m.sharing }},
	} {
		row(r.who+": lost", bytes(func(m measured) int64 { return r.pick(m).lost }))
		row(r.who+": read from disk", bytes(func(m measured) int64 { return r.pick(m).read }))
		row(r.who+": p50 of a read", func(all []measured) string { return times(of(all, func(m measured) float64 { return r.pick(m).p50 })) })
		row(r.who+": p99 of a read", func(all []measured) string { return times(of(all, func(m measured) float64 { return r.pick(m).p99 })) })
	}
	row("took", func(all []measured) string {
		return fmt.Sprintf("%.2f s", of(all, func(m measured) time.Duration { return m.wall }).Seconds())
	})
	for i, w := range ways {
		for _, m := range got[i] {
			if m.stopped != "" {
				fmt.Fprintf(out, "\n%s was stopped: %s\n", w.name, m.stopped)
			}
		}
	}
	fmt.Fprintf(out, "\nlost: at the worst moment, by mincore. p50, p99: of the worst half second, from the beginning of the way to 2 s after its end, as a multiple of the median half second before. memwhy took %s of its time to watch.\n", s.o.observe)
	if damon() {
		fmt.Fprintf(out, "\nThis kernel takes idle pages back by itself (DAMON), and at times others: the first column shows how many.\n")
	}
}

// damon reports whether a thread of DAMON runs.
func damon() bool {
	names, _ := filepath.Glob("/proc/[0-9]*/comm")
	return slices.ContainsFunc(names, func(name string) bool {
		b, _ := os.ReadFile(name)
		return strings.HasPrefix(string(b), "kdamond.")
	})
}

func of[T int64 | float64 | time.Duration](all []measured, pick func(measured) T) T {
	var values []T
	for _, m := range all {
		values = append(values, pick(m))
	}
	return median(values)
}

func mib(n int64) string {
	switch a := max(n, -n); {
	case n == 0:
		return "0"
	case a < 1<<20:
		return fmt.Sprintf("%.0f KiB", float64(n)/(1<<10))
	case a < 10<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
}

func times(x float64) string {
	if x < 0 {
		return "no reads"
	}
	return fmt.Sprintf("x %.1f", x)
}

// word reports whether the kernel was started with a word.
func word(w string) bool {
	b, err := os.ReadFile("/proc/cmdline")
	return err == nil && slices.Contains(strings.Fields(string(b)), w)
}

func absolute(file string) string {
	p, err := filepath.Abs(file)
	if err != nil {
		return file
	}
	return p
}
