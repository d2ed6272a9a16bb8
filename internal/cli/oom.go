package cli

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/memwhy/memwhy/internal/render"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/wire"
	"github.com/memwhy/memwhy/internal/words"
)

func (a *app) oom(stdin io.Reader) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "oom",
		Short: "Explain the OOM kills of a kernel log",
		Long: `Read OOM kills, slab and page allocations that failed, and cgroups that could not
be made, out of a kernel log, and say whose limit it was and what it was full of.

` + exitHelp,
		Example: `  memwhy oom list
  memwhy oom parse /var/log/messages
  journalctl -k -o short-iso | memwhy oom parse - -o json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("oom list or oom parse FILE; got %q", args[0])
			}
			return cmd.Help()
		},
	}
	cmd.AddCommand(a.oomParse(stdin), a.oomList())
	return cmd
}

func (a *app) oomFlags(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVarP(&a.output, "output", "o", "text", "text|wide|json|yaml")
	cmd.Flags().BoolVar(&a.redact, "redact", false, "replace names of processes and cgroups by keyed hashes")
	return cmd
}

func (a *app) oomParse(stdin io.Reader) *cobra.Command {
	pageSize := "4096"
	cmd := a.oomFlags(&cobra.Command{
		Use:   "parse FILE",
		Short: "Explain a saved log, of any kernel since 3.10, on any system",
		Long: `Explain a saved log; - is standard input. What stands around the kernel's lines
may be that of dmesg, dmesg -T, /dev/kmsg, a journal, syslog or a serial console.

` + exitHelp,
		Example: `  memwhy oom parse /var/log/messages
  dmesg -T | memwhy oom parse -
  journalctl -k -b -1 | memwhy oom parse - -o wide`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.format("text", "wide", "json", "yaml"); err != nil {
				return err
			}
			if len(args) != 1 || args[0] == "" {
				return usageError("oom parse: want one file, or - for standard input")
			}
			page, err := size.Parse(pageSize)
			if err != nil || page < 1024 || page > 1<<20 || page&(page-1) != 0 {
				return usageError("--page-size %q: want a power of two from 1K to 1M", pageSize)
			}
			say, err := a.words()
			if err != nil {
				return err
			}
			in := stdin
			if args[0] != "-" {
				f, err := openLog(args[0])
				if err != nil {
					return err
				}
				defer f.Close()
				in = f
			}
			o, err := wire.ParseLog(cmd.Context(), in, page, a.redact, a.stateDir(), say)
			if err != nil {
				return err
			}
			return a.writeOOM(o)
		},
	})
	a.remembering(cmd)
	cmd.Flags().StringVar(&pageSize, "page-size", pageSize, "of the machine that wrote the log, which does not say")
	return cmd
}

func openLog(path string) (*os.File, error) {
	f, err := os.Open(path)
	if err == nil {
		var st fs.FileInfo
		if st, err = f.Stat(); err == nil && st.IsDir() {
			err = &fs.PathError{Op: "read", Path: path, Err: errors.New("is a directory")}
		}
	}
	switch {
	case errors.Is(err, fs.ErrPermission):
		return nil, &coded{exitNotAllowed, err, ""}
	case err != nil:
		return nil, &coded{exitUsage, err, ""}
	}
	return f, nil
}

func (a *app) oomList() *cobra.Command {
	cmd := a.oomFlags(&cobra.Command{
		Use:   "list",
		Short: "Explain what the kernel remembers",
		Long: `Explain the OOM kills that the running kernel's ring of messages still holds:
/dev/kmsg, read up to its end. Older ones are in the journal or in syslog. Of a
capture, or of a directory tree of a node's files, what was recorded of it.

` + exitHelp,
		Example: `  memwhy oom list
  memwhy oom list --from FILE
  memwhy oom list --host-root /host -o json`,
		Args: noArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := a.format("text", "wide", "json", "yaml"); err != nil {
				return err
			}
			if a.timeout <= 0 {
				return usageError("--timeout %s: must be positive", a.timeout)
			}
			whom, err := a.names()
			if err != nil {
				return err
			}
			say, err := a.words()
			if err != nil {
				return err
			}
			o, err := wire.NodeLog(cmd.Context(), wire.Options{From: a.from, HostRoot: a.hostRoot, Timeout: a.timeout, Redact: a.redact, Names: whom, Words: say})
			if err != nil {
				return logError(err, a.from != "")
			}
			return a.writeOOM(o)
		},
	})
	cmd.Flags().StringVar(&a.from, "from", "", "read the log of this capture, or directory tree of a node's files")
	cmd.Flags().StringVar(&a.hostRoot, "host-root", "/", "where the node's root file system is mounted")
	cmd.Flags().DurationVar(&a.timeout, "timeout", 10*time.Second, "for all reading")
	a.naming(cmd)
	return cmd
}

// logError tells what reading the ring would show, where that is refused.
func logError(err error, from bool) error {
	var none *wire.NoLog
	switch {
	case errors.As(err, &none):
		return &coded{exitNotAllowed, err, words.Key("a tree has it as the file dmesg beside proc and sys; a capture, when its taker could read it")}
	case from:
		return &coded{openCode(err), err, ""}
	case errors.Is(err, wire.ErrOutOfTime):
		return err
	case errors.Is(err, fs.ErrPermission):
		return &coded{exitNotAllowed, err, words.Key("root, or CAP_SYSLOG, would show every OOM kill that the kernel still remembers; a saved log needs no rights: memwhy oom parse FILE")}
	}
	return &coded{exitNotAllowed, err, words.Key("a saved log needs no rights: memwhy oom parse FILE")}
}

func (a *app) writeOOM(o *report.OOM) error {
	return a.write(o, nil, func() []byte { return render.OOM(o, false) }, func() []byte { return render.OOM(o, true) })
}
