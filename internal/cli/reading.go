package cli

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/memwhy/memwhy/internal/render"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/wire"
)

const targetHelp = `TARGET is the name of a container, pod, namespace/pod[/container], the id of a
container or the beginning of one, a systemd unit, a cgroup path (/kubepods/...),
pid:N or self. With --from it may be left out: a capture knows what it was taken
of.

Names come from the sockets of containerd, CRI-O, cri-dockerd, docker and podman,
which are only read from, and from a kubelet with --kubelet-token-file. Without
any of them ids and paths do.`

// openCode tells a capture that cannot be used from a machine that cannot.
func openCode(err error) int {
	switch {
	case errors.Is(err, fs.ErrPermission):
		return exitNotAllowed
	case strings.Contains(err.Error(), "only be read on Linux"):
		return exitNotAllowed
	}
	return exitUsage
}

func (a *app) target(args []string) (string, error) {
	switch {
	case len(args) > 1:
		return "", usageError("one target at a time, got %q", args)
	case len(args) == 1 && args[0] != "":
		return args[0], nil
	case a.from != "" && len(args) == 0:
		return "", nil
	}
	return "", usageError("explain what? %s", strings.ReplaceAll(strings.SplitN(targetHelp, ".", 2)[0], "\n", " "))
}

func (a *app) explain() *cobra.Command {
	cmd := a.watching(a.counting(a.reading(&cobra.Command{
		Use:               "explain TARGET",
		Short:             "Explain the memory of one container or pod",
		ValidArgsFunction: a.complete,
		Long:              "Explain every byte that is charged to one memory cgroup.\n\n" + targetHelp + "\n\n" + exitHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := a.format("text", "wide", "json", "yaml"); err != nil {
				return err
			}
			target, err := a.target(args)
			if err != nil {
				return err
			}
			n, err := a.open(cmd.Context())
			if err != nil {
				return err
			}
			defer n.Close()
			r, err := n.Explain(target)
			if err != nil {
				return err
			}
			return a.write(r, r.NotSeen, func() []byte { return render.Text(r) }, func() []byte { return render.Wide(r) })
		},
	}, "text", "wide", "json", "yaml")))
	cmd.Flags().StringVar(&a.since, "since", "", "with --from: an earlier capture of the same target, to compare with")
	return cmd
}

func (a *app) format(known ...string) error {
	if !slices.Contains(known, a.output) {
		return usageError("-o %q: want one of %s", a.output, strings.Join(known, ", "))
	}
	return nil
}

// write prints the answer in the chosen form. With --strict, sources that
// refused or failed are named and change the exit code.
func (a *app) write(doc any, notSeen []report.NotSeen, text, wide func() []byte) error {
	var out []byte
	var err error
	switch a.output {
	case "json":
		out, err = render.JSON(doc)
	case "yaml":
		out, err = render.YAML(doc)
	case "wide":
		out = wide()
	default:
		out = text()
	}
	if err != nil {
		return err
	}
	if _, err := a.stdout.Write(out); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	if !a.strict {
		return nil
	}
	var missing []string
	for _, n := range notSeen {
		if n.State != "absent" {
			missing = append(missing, n.Source+" ("+n.State+")")
		}
	}
	if len(missing) > 0 {
		return &coded{exitPartial, fmt.Errorf("not seen: %s", strings.Join(missing, ", ")), ""}
	}
	return nil
}

func (a *app) capture() *cobra.Command {
	var opt wire.CaptureOptions
	var file string
	cmd := a.watching(a.counting(a.reading(&cobra.Command{
		ValidArgsFunction: a.complete,
		Use:               "capture TARGET -o FILE",
		Short:             "Record what explain and ps read, to replay it anywhere with --from",
		Long: `Record every answer of the node that explain and ps need, for replay with --from
on any machine. The file is readable by its owner only.

Command lines are cut to argv[0] and memory-related flags unless --with-args.
With --redact, names and path parts are replaced by keyed hashes whose key is
not kept.

` + targetHelp + "\n\n" + exitHelp,
		RunE: func(cmd *cobra.Command, args []string) error {
			target, err := a.target(args)
			if err != nil {
				return err
			}
			if file == "" {
				return usageError("capture: say where to write with -o FILE")
			}
			n, err := a.open(cmd.Context())
			if err != nil {
				return err
			}
			defer n.Close()
			opt.Version = Version()
			archive, err := n.Capture(target, opt)
			if err != nil {
				return err
			}
			if file == "-" {
				return archive.Write(a.stdout)
			}
			if err := archive.WriteFile(file); err != nil {
				return &coded{exitUsage, err, ""}
			}
			st, err := os.Stat(file)
			if err != nil {
				return err
			}
			fmt.Fprintln(a.stderr, a.say().Say("wrote %s, %d KiB; explain it with: memwhy explain --from %s", file, (st.Size()+1023)>>10, file))
			return nil
		},
	})))
	cmd.Flags().StringVarP(&file, "output", "o", "", "file to write; - for standard output")
	cmd.Flags().BoolVar(&opt.Redact, "redact", false, "replace names and path parts by keyed hashes")
	cmd.Flags().BoolVar(&opt.WithArgs, "with-args", false, "keep whole command lines, which may hold secrets")
	return cmd
}
