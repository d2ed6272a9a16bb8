package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/lab"
)

func (a *app) lab(stdin io.Reader) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "lab",
		Short: "Put memory in a known place, to see what memwhy says of it",
		Long: `Scenarios that put memory in a known place of a cgroup of their own and write
down the truth. Needs root, or a delegated cgroup.

` + exitHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("lab list, lab run NAME or lab clean; got %q", args[0])
			}
			return cmd.Help()
		},
	}
	list := &cobra.Command{
		Use: "list", Short: "List the scenarios", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			if len(lab.All()) == 0 {
				return &coded{exitNotAllowed, errors.New("labs need Linux"), ""}
			}
			for _, s := range lab.All() {
				fmt.Fprintf(a.stdout, "%-16s %s\n", s.Name, s.Summary)
			}
			return nil
		},
	}
	clean := &cobra.Command{
		Use: "clean", Short: "Remove what killed labs left behind", Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			removed, err := lab.Clean(cmd.Context())
			for _, path := range removed {
				fmt.Fprintln(a.stdout, "removed", path)
			}
			if err != nil {
				return &coded{exitNotAllowed, err, ""}
			}
			return nil
		},
	}
	cmd.AddCommand(list, a.labRun(stdin), clean)
	return cmd
}

func (a *app) labRun(stdin io.Reader) *cobra.Command {
	var opt lab.Options
	var bytes, limit, truth string
	var duration time.Duration
	cmd := &cobra.Command{
		Use:   "run NAME",
		Short: "Run one scenario until Enter, or --for a while",
		Long: `Run one scenario: make a cgroup, plant the memory, write the truth as JSON to
standard output, hold until Enter (or for the time of --for), remove everything.

` + exitHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usageError("lab run: want one scenario, see `memwhy lab list`")
			}
			if _, ok := lab.Find(args[0]); !ok {
				return usageError("no scenario %q, see `memwhy lab list`", args[0])
			}
			for text, n := range map[string]*int64{bytes: &opt.Bytes, limit: &opt.Limit} {
				if text == "" {
					continue
				}
				var err error
				if *n, err = size.Parse(text); err != nil {
					return usageError("%w", err)
				}
			}
			err := lab.Run(cmd.Context(), args[0], opt, func(t lab.Truth) error {
				if err := a.writeTruth(t, truth); err != nil {
					return err
				}
				if t.NotHere != "" {
					fmt.Fprintf(a.stderr, "holding nothing: %s\n", t.NotHere)
				} else {
					fmt.Fprintf(a.stderr, "holding; try: memwhy explain %s\n", t.Cgroup)
				}
				hold(cmd.Context(), stdin, duration)
				return nil
			})
			if err != nil {
				return &coded{exitNotAllowed, err, ""}
			}
			return nil
		},
	}
	f := cmd.Flags()
	f.StringVar(&bytes, "bytes", "64M", "how much to plant")
	f.StringVar(&limit, "limit", "", "limit of the cgroup")
	f.StringVar(&opt.Dir, "dir", "", "where files go (a real disk; default /var/tmp)")
	f.StringVar(&opt.Parent, "parent", "", "cgroup below which to make one (v1: default this process's; v2: default the root)")
	f.StringVar(&truth, "truth", "", "write the truth to this file instead of standard output")
	f.DurationVar(&duration, "for", 0, "hold this long, instead of until Enter")
	return cmd
}

func (a *app) writeTruth(t lab.Truth, file string) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	b = append(b, '\n')
	if file == "" {
		_, err = a.stdout.Write(b)
		return err
	}
	return os.WriteFile(file, b, 0o600)
}

// hold waits. The end of standard input is no key: a lab in the background waits
// for its signal.
func hold(ctx context.Context, stdin io.Reader, d time.Duration) {
	if d > 0 {
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
		return
	}
	enter := make(chan struct{})
	go func() {
		if _, err := bufio.NewReader(stdin).ReadString('\n'); err == nil {
			close(enter)
		}
	}()
	select {
	case <-ctx.Done():
	case <-enter:
	}
}
