package cli

import (
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/memwhy/memwhy/internal/explain"
	"github.com/memwhy/memwhy/internal/render"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/wire"
)

type psFlags struct {
	order, selector string
	census          string
	all             bool
	watch           time.Duration
	sel             explain.Selection
}

func (a *app) ps() *cobra.Command {
	p := &psFlags{order: string(explain.Sorts()[0])}
	cmd := a.reading(&cobra.Command{
		Use:   "ps",
		Short: "Rank the containers by memory",
		Long: `Rank the containers, with what is below each; with -A, or where there is none,
all memory cgroups that hold processes. % is what cannot be taken back of the
limit nearest to killing, siblings under that limit included. COLD<= is how much
file cache may be cold at most: inactive, clean and not mapped. With --census, which
counts page by page, COLD>= is how much is cold at least: nearly always all of it.

` + exitHelp,
		Example: `  memwhy ps
  memwhy ps -n payments --sort working_set
  memwhy ps -l app=render,image=nginx -o name
  memwhy ps --census
  memwhy ps --watch`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := p.parse(a); err != nil {
				return err
			}
			// It allocates much and keeps little: to collect every 4 MiB took a tenth of it.
			debug.SetGCPercent(400)
			if p.watch > 0 {
				a.counter = &wire.Counter{}
				defer a.counter.Close()
			}
			for {
				if err := a.psOnce(cmd, p); err != nil || p.watch == 0 {
					return err
				}
				select {
				case <-cmd.Context().Done():
					return nil
				case <-time.After(p.watch):
				}
			}
		},
	}, "text", "wide", "json", "yaml", "name")
	f := cmd.Flags()
	f.StringVar(&p.order, "sort", p.order, strings.Join(orders(explain.Sorts()), "|"))
	choices(cmd, "sort", orders(explain.Sorts()))
	f.BoolVarP(&p.all, "all", "A", false, "all memory cgroups that hold processes: units, sandboxes of pods, what runs in a container's own cgroups")
	f.StringVarP(&p.sel.Namespace, "namespace", "n", "", "pods of this namespace only")
	f.StringVarP(&p.selector, "selector", "l", "", "labels of the container or its pod: KEY=VALUE, KEY!=VALUE, KEY, !KEY; image=NAME")
	f.StringVar(&p.census, "census", wire.CensusOff, "count the file cache that is cold, page by page: "+strings.Join(wire.CensusModes(), "|"))
	f.Lookup("census").NoOptDefVal = wire.CensusAuto
	choices(cmd, "census", wire.CensusModes())
	f.DurationVar(&p.watch, "watch", 0, "again and again, with this time between (2s when none is given)")
	f.Lookup("watch").NoOptDefVal = "2s"
	return cmd
}

func orders(sorts []explain.Sort) (list []string) {
	for _, s := range sorts {
		list = append(list, string(s))
	}
	return list
}

func (p *psFlags) parse(a *app) error {
	if err := a.format("text", "wide", "json", "yaml", "name"); err != nil {
		return err
	}
	p.sel.Sort = explain.Sort(p.order)
	if !slices.Contains(explain.Sorts(), p.sel.Sort) {
		return usageError("--sort %q: want one of %v", p.order, explain.Sorts())
	}
	if p.selector != "" {
		var err error
		if p.sel.Labels, err = explain.ParseSelector(p.selector); err != nil {
			return usageError("%w", err)
		}
	}
	switch {
	case a.redact && (p.selector != "" || p.sel.Namespace != ""):
		return usageError("--redact hides what -n and -l select by")
	case p.watch < 0 || p.watch > 0 && a.from != "":
		return usageError("--watch wants a running node and a time above 0")
	}
	return nil
}

// psOnce reads the node and prints it; with --watch each time in one write.
func (a *app) psOnce(cmd *cobra.Command, p *psFlags) error {
	a.census = p.census
	n, err := a.open(cmd.Context())
	if err != nil {
		return err
	}
	defer n.Close()
	l, err := n.List(wire.Want{All: p.all, Census: p.census != wire.CensusOff}, p.sel)
	if err != nil {
		return err
	}
	if a.output == "name" {
		_, err := a.stdout.Write(render.ListNames(l))
		return err
	}
	return a.write(l, l.NotSeen, func() []byte { return a.refresh(p, l, render.List(l, false)) },
		func() []byte { return a.refresh(p, l, render.List(l, true)) })
}

// refresh puts the time above a screen that is one of many, and on a terminal
// puts it where the one before was.
func (a *app) refresh(p *psFlags, l *report.List, screen []byte) []byte {
	if p.watch == 0 {
		return screen
	}
	head := ""
	if isTerminal(a.stdout) {
		head = "\x1b[H\x1b[2J"
	}
	if l.Generated != nil {
		head += l.Generated.Format(time.RFC3339) + "\n"
	}
	return append([]byte(head), screen...)
}

// isTerminal reports whether w is one: a character device will do.
func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0
}
