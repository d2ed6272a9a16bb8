package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/memwhy/memwhy/internal/explain"
	"github.com/memwhy/memwhy/internal/render"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/wire"
	"github.com/memwhy/memwhy/internal/words"
)

// screenFiles is how many rows fit on a screen.
const screenFiles = 16

func (a *app) files() *cobra.Command {
	var opt explain.FileOptions
	var node bool
	max := -1
	order := string(explain.FileSorts()[0])
	orders := make([]string, 0, len(explain.FileSorts()))
	for _, s := range explain.FileSorts() {
		orders = append(orders, string(s))
	}
	formats := []string{"text", "wide", "json", "yaml", "pprof", "folded"}
	cmd := a.counting(a.reading(&cobra.Command{
		ValidArgsFunction: a.complete,
		Use:               "files TARGET|--node",
		Short:             "List what is cached of which file",
		Long: `List the files, tmpfs files and shared memory that a memory cgroup is charged for,
the largest first, as the container sees them: which part is dirty, active or
mapped, whether it is of the image, of the writable layer or of a volume, to whom
else the file is charged, and which processes have it open or mapped.

-o pprof is a profile for go tool pprof, -o folded is for flame graph programs.

` + targetHelp + "\n\n" + exitHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.format(formats...); err != nil {
				return err
			}
			if !slices.Contains(orders, order) {
				return usageError("--sort %q: want one of %s", order, strings.Join(orders, ", "))
			}
			if opt.Depth < 0 || max < -1 {
				return usageError("--depth and -n: want a number from 0 on")
			}
			target, err := a.filesTarget(args, node)
			if err != nil {
				return err
			}
			opt.Sort, opt.Max = explain.FileSort(order), max
			switch {
			case max >= 0:
			case a.output == "text":
				opt.Max = screenFiles
			default:
				opt.Max = report.MaxFiles
			}
			n, err := a.open(cmd.Context())
			if err != nil {
				return err
			}
			defer n.Close()
			if a.output == "pprof" || a.output == "folded" {
				return a.stacks(n, target)
			}
			r, err := n.Files(target, opt)
			if err != nil {
				return noFiles(err)
			}
			return a.write(r, r.NotSeen, func() []byte { return render.Files(r, false) }, func() []byte { return render.Files(r, true) })
		},
	}, formats...))
	f := cmd.Flags()
	f.BoolVar(&node, "node", false, "of the whole node")
	f.StringVar(&order, "sort", order, strings.Join(orders, "|"))
	f.IntVar(&opt.Depth, "depth", 0, "sum by directories of so many parts")
	f.IntVarP(&max, "number", "n", -1, "rows, 0 for all (default 16 as text, else 1000)")
	return cmd
}

func (a *app) filesTarget(args []string, node bool) (*string, error) {
	if node {
		if len(args) > 0 {
			return nil, usageError("files: a target or --node, not both")
		}
		return nil, nil
	}
	target, err := a.target(args)
	return &target, err
}

// stacks prints all files as a profile.
func (a *app) stacks(n *wire.Node, target *string) error {
	stacks, err := n.Stacks(target)
	if err != nil {
		return noFiles(err)
	}
	out := render.Folded(stacks)
	if a.output == "pprof" {
		if out, err = render.Pprof(stacks); err != nil {
			return err
		}
	}
	if _, err := a.stdout.Write(out); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

func noFiles(err error) error {
	if errors.Is(err, explain.ErrNoFiles) {
		return &coded{exitNotAllowed, err, words.Key("memwhy explain shows the accounts without the files; memwhy doctor says what is missing")}
	}
	return err
}
