// Package cli owns the command line: subcommands, flags, exit codes, hints. It
// must not know how anything is read or computed.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/memwhy/memwhy/internal/gather"
	"github.com/memwhy/memwhy/internal/kernel/cgroupfs"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/wire"
	"github.com/memwhy/memwhy/internal/words"
	"github.com/memwhy/memwhy/lab"
)

// Exit codes.
const (
	exitDone       = 0
	exitUsage      = 2 // usage, or target not found
	exitNotAllowed = 3 // not permitted, or not supported here
	exitPartial    = 4 // --strict: an answer was given, sources are missing
	exitInternal   = 5
)

const exitHelp = `Exit codes: 0 done, 2 usage or target not found, 3 not permitted or not supported
here, 4 an answer with sources missing (--strict only), 5 internal error.`

// Hidden first arguments: other lives of this executable.
const (
	readerCommand   = "__reads"
	guardianCommand = "__guard"
	writerCommand   = "__write"
)

// coded is an error with its exit code and a hint.
type coded struct {
	code int
	err  error
	hint string
}

func (e *coded) Error() string { return e.err.Error() }
func (e *coded) Unwrap() error { return e.err }

// app is what every command needs.
type app struct {
	typed          []string // the whole command line
	stdout, stderr io.Writer
	output         string
	from, hostRoot string
	timeout        time.Duration
	strict, redact bool
	census         string
	counter        *wire.Counter // of what is done over and over
	lang           string
	watch          time.Duration
	since          string

	patience                                 time.Duration
	state                                    string
	endpoints                                []string
	kubeletEndpoint, kubeletToken, kubeletCA string
}

// Run runs one command line and returns its exit code.
func Run(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	if code, ok := otherLife(args, stdin, stdout); ok {
		return code
	}
	if len(args) > 0 && args[0] == lab.HolderCommand {
		return lab.Hold(args[1:], stdin, stdout)
	}
	a := &app{typed: args, stdout: stdout, stderr: stderr}
	a.warnPending()
	cmd := a.root(stdin)
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	if code, answered := a.checkFailed(args, err); answered {
		return code
	}
	return a.report(err)
}

// otherLife serves another process of this executable, if that is what args ask for.
func otherLife(args []string, stdin io.Reader, stdout io.Writer) (code int, served bool) {
	var err error
	switch {
	case len(args) > 1 && args[0] == readerCommand:
		err = wire.ServeReads(args[1], stdin, stdout)
	case len(args) == 1 && args[0] == guardianCommand:
		err = wire.ServeGuardian(stdin, stdout)
	case len(args) == 1 && args[0] == writerCommand:
		err = wire.ServeWriter(stdin, stdout)
	default:
		return exitDone, false
	}
	if err != nil {
		return exitInternal, true
	}
	return exitDone, true
}

// report says what went wrong, for people, and picks the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return exitDone
	}
	c := classify(err)
	if c.err != nil {
		fmt.Fprintf(a.stderr, "memwhy: %s\n", printable.Text(a.say().SayError(c.err)))
	}
	var t *gather.TargetError
	if errors.As(err, &t) {
		for _, path := range t.Candidates {
			fmt.Fprintf(a.stderr, "  %s\n", printable.Text(path))
		}
	}
	if c.hint != "" {
		fmt.Fprintln(a.stderr, a.say().Say("  hint: %s", printable.Text(a.say().Of(c.hint))))
	}
	return c.code
}

func classify(err error) *coded {
	var c *coded
	var t *gather.TargetError
	switch {
	case errors.As(err, &c):
		return c
	case errors.Is(err, wire.ErrOutOfTime):
		return &coded{exitInternal, err, words.Key("give it more with --timeout")}
	case errors.As(err, &t):
		code := exitUsage
		switch t.Kind {
		case gather.Denied, gather.Unsupported:
			code = exitNotAllowed
		case gather.Unreadable:
			code = exitInternal
		}
		return &coded{code, err, t.Hint}
	case errors.Is(err, cgroupfs.ErrNoController):
		return &coded{exitNotAllowed, err, ""}
	case errors.Is(err, ledger.ErrNoUsage) && errors.Is(err, fs.ErrPermission):
		return &coded{exitNotAllowed, err, words.Key("run as root, or as a user who may read it")}
	case errors.Is(err, ledger.ErrNoUsage):
		return &coded{exitInternal, err, words.Key("the kernel's own total is the one number that nothing can replace")}
	}
	return &coded{exitInternal, err, ""}
}

func usageError(format string, args ...any) error {
	return &coded{exitUsage, fmt.Errorf(format, args...), words.Key("memwhy --help")}
}

// Version is the version of this build.
func Version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok || info.Main.Version == "" || info.Main.Version == "(devel)" {
		return "devel"
	}
	return info.Main.Version
}

func (a *app) root(stdin io.Reader) *cobra.Command {
	root := &cobra.Command{
		Use:   "memwhy",
		Short: "Why is this container's memory high?",
		Long: `memwhy says why a container's memory stays high: every byte that the kernel
charges to its memory cgroup, in accounts that sum to its usage, and what of it
can be taken back. It only reads, but for memwhy reclaim --yes.

` + exitHelp,
		SilenceErrors: true, SilenceUsage: true,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError("unknown command %q", args[0])
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&a.lang, "lang", "", "of explanations: "+strings.Join(words.Languages(), "|")+" (default: that of LC_ALL, LC_MESSAGES, LANG)")
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError("%w", err) })
	root.AddCommand(a.explain(), a.check(), a.files(), a.node(), a.ps(), a.oom(stdin), a.advisories(), a.codes(), a.capture(), a.doctor(), a.reclaim(stdin), a.lab(stdin), a.version())
	completion(root)
	return root
}

// reading adds the flags of every command that reads a node.
func (a *app) reading(cmd *cobra.Command, formats ...string) *cobra.Command {
	f := cmd.Flags()
	if len(formats) > 0 {
		f.StringVarP(&a.output, "output", "o", formats[0], strings.Join(formats, "|"))
		choices(cmd, "output", formats)
		f.BoolVar(&a.redact, "redact", false, "replace names and path parts by keyed hashes, to show the answer to others")
		f.BoolVar(&a.strict, "strict", false, "exit 4 when a source refused or failed")
	}
	f.StringVar(&a.from, "from", "", "read this capture, or directory tree of a node's files, instead of the running node")
	f.StringVar(&a.hostRoot, "host-root", "/", "where the node's root file system is mounted")
	f.DurationVar(&a.timeout, "timeout", 10*time.Second, "for all reading together")
	a.naming(cmd)
	return cmd
}

// counting adds the flag of commands that want a census.
func (a *app) counting(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&a.census, "census", wire.CensusAuto, "count pages by file and cgroup: "+strings.Join(wire.CensusModes(), "|"))
	choices(cmd, "census", wire.CensusModes())
	return cmd
}

// watching adds the flag of commands that can look at a target for a while.
func (a *app) watching(cmd *cobra.Command) *cobra.Command {
	cmd.Flags().DurationVar(&a.watch, "watch", 0, "look for so long (1s to 1h), to tell what grows, what is busy and what is idle")
	return cmd
}

// open opens the node that the flags choose.
func (a *app) open(ctx context.Context) (*wire.Node, error) {
	if a.timeout <= 0 {
		return nil, usageError("--timeout %s: must be positive", a.timeout)
	}
	if a.census != "" && !slices.Contains(wire.CensusModes(), a.census) {
		return nil, usageError("--census %q: want one of %s", a.census, strings.Join(wire.CensusModes(), ", "))
	}
	switch {
	case a.watch != 0 && (a.watch < time.Second || a.watch > time.Hour):
		return nil, usageError("--watch %s: want 1s to 1h", a.watch)
	case a.watch != 0 && a.from != "":
		return nil, usageError("--watch: a capture stands still; one of a watch has its looks")
	case a.since != "" && a.from == "":
		return nil, usageError("--since: compares two captures, say the later one with --from")
	}
	whom, err := a.names()
	if err != nil {
		return nil, err
	}
	say, err := a.words()
	if err != nil {
		return nil, err
	}
	n, err := wire.Open(ctx, wire.Options{
		From: a.from, HostRoot: a.hostRoot, Timeout: a.timeout, Redact: a.redact, Names: whom, Census: a.census, Counter: a.counter, Words: say, Watch: a.watch, Since: a.since,
		Reader: []string{"/proc/self/exe", readerCommand, a.hostRoot},
	})
	if err != nil {
		return nil, &coded{openCode(err), err, ""}
	}
	return n, nil
}

// words is the language that the flag, else the environment chooses.
func (a *app) words() (words.Printer, error) {
	lang := a.lang
	if lang == "" {
		lang = words.Preferred(os.Getenv)
	}
	if !slices.Contains(words.Languages(), lang) {
		return words.Printer{}, usageError("--lang %q: want one of %s", a.lang, strings.Join(words.Languages(), ", "))
	}
	return words.In(lang), nil
}

// say is the same where a language that is none is no reason to stop.
func (a *app) say() words.Printer {
	say, _ := a.words()
	return say
}

func (a *app) version() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(a.stdout, "memwhy", Version())
			return err
		},
	}
}

func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usageError("%s takes no argument, got %q", cmd.Name(), args[0])
	}
	return nil
}
