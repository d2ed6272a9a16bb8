//go:build linux

// Command census measures the page census beside what else can be asked about
// the page cache, in turns in one run: a full read of kpageflags and kpagecgroup,
// which knows no file, and fincore, vmtouch and pcstat as far as they are
// installed, which know no cgroup. Then it lets the number of pages, of files and
// of cgroups grow, one at a time. Ratios are what counts; times are those of the
// machine and of the moment.
//
// It makes files below -dir and cgroups below its own (cgroup v1) or below the
// root (v2), and removes both.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/memwhy/memwhy/bench/document"
)

func main() {
	if spec := os.Getenv("MEMWHY_BENCH_WRITE"); spec != "" {
		if err := writeFiles(spec); err != nil {
			log.Fatal(err)
		}
		return
	}
	o := options{}
	flag.IntVar(&o.files, "files", 150000, "files")
	flag.IntVar(&o.groups, "groups", 200, "cgroups")
	flag.IntVar(&o.bytes, "bytes", 24<<10, "mean size of a file; they have half to one and a half of it")
	flag.IntVar(&o.rounds, "rounds", 7, "passes of each")
	flag.StringVar(&o.dir, "dir", os.TempDir(), "where the files go")
	flag.StringVar(&o.doc, "doc", "", "a file to write the figures into, between its marks")
	flag.BoolVar(&o.growth, "growth", true, "measure the growth too")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	var said strings.Builder
	if err := run(ctx, o, io.MultiWriter(os.Stdout, &said)); err != nil {
		log.Fatal(err)
	}
	if o.doc != "" {
		if err := document.Replace(o.doc, "<!-- go run ./census -doc -->\n", "<!-- end of the figures -->\n", said.String()); err != nil {
			log.Fatal(err)
		}
	}
}

type options struct {
	files, groups, bytes, rounds int
	dir, doc                     string
	growth                       bool
}

func run(ctx context.Context, o options, out io.Writer) error {
	tree, err := newTree(o.dir)
	if err != nil {
		return err
	}
	defer tree.remove()
	if err := tree.grow(ctx, shape{o.files, o.groups, o.bytes}); err != nil {
		return err
	}
	m, err := measure(ctx, tree, o.rounds, 2)
	if err != nil {
		return err
	}
	one, err := measure(ctx, tree, o.rounds, 1)
	if err != nil {
		return err
	}
	m.print(out, o, one)
	peers(ctx, out, tree, m)
	if err := tree.clear(); err != nil {
		return err
	}
	if !o.growth {
		return nil
	}
	return growth(ctx, out, tree, o)
}

// growth varies one number at a time.
func growth(ctx context.Context, out io.Writer, tree *tree, o options) error {
	tables := []struct {
		title  string
		shapes []shape
	}{
		{"pages, 4000 files in 20 cgroups", []shape{{4000, 20, 64 << 10}, {4000, 20, 256 << 10}, {4000, 20, 1 << 20}}},
		{"files of 16 KiB in 20 cgroups", []shape{{10000, 20, 16 << 10}, {40000, 20, 16 << 10}, {160000, 20, 16 << 10}}},
		{"cgroups, 8000 files of 16 KiB", []shape{{8000, 20, 16 << 10}, {8000, 200, 16 << 10}, {8000, 2000, 16 << 10}}},
	}
	fmt.Fprintf(out, "\nGrowth, one number at a time; what was there before is in every row.\n\n")
	fmt.Fprintf(out, "| varied | files | cgroups | cached MiB | census, CPU ms | of the kpage read | ms by the clock | of the kpage read | of it read-out |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, t := range tables {
		for _, s := range t.shapes {
			if err := tree.grow(ctx, s); err != nil {
				return err
			}
			m, err := measure(ctx, tree, 3, 2)
			if err != nil {
				return err
			}
			s := m.scan()
			cpu, wall := m.ratios(s)
			fmt.Fprintf(out, "| %s | %d | %d | %d | %s | %.2f | %s | %.2f | %s |\n", t.title, m.files, m.groups, m.fileBytes>>20, ms(s.cpu), cpu, ms(s.wall), wall, ms(m.readOut()))
			if err := tree.clear(); err != nil {
				return err
			}
		}
	}
	return nil
}
