package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/remedy"
	"github.com/memwhy/memwhy/internal/render"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/wire"
	"github.com/memwhy/memwhy/internal/words"
)

// Exit codes of reclaim alone.
const (
	exitMissed  = 6
	exitStopped = 7
)

// longestAnswer is how long a plan holds that somebody is asked about.
const longestAnswer = 10 * time.Minute

// untilActing is a context that ends with ctx until acting is called. Steps that are
// under way when somebody interrupts are seen to their end, and looked at.
func untilActing(ctx context.Context) (until context.Context, acting func(), cancel context.CancelFunc) {
	until, cancel = context.WithCancel(context.WithoutCancel(ctx))
	stop := context.AfterFunc(ctx, cancel)
	return until, func() { stop() }, cancel
}

// reclaiming is what the flags of reclaim say.
type reclaiming struct {
	opt              wire.ReclaimOptions
	keeps            wire.KeepOptions
	to, keep         string
	cold, yes        bool
	dying            bool
	history, recover bool
}

func (a *app) reclaim(stdin io.Reader) *cobra.Command {
	r := &reclaiming{opt: wire.ReclaimOptions{State: wire.DefaultState, Journal: wire.DefaultJournal}}
	cmd := a.counting(a.reading(&cobra.Command{
		ValidArgsFunction: a.complete,
		Use:               "reclaim TARGET | reclaim --dying [TARGET]",
		Short:             "Give memory back that a container does not use, and only of that container",
		Long: `Plan how one container gives back page cache that it does not use, show the plan,
and with --yes, or when asked on a terminal, do it: never by dropping the caches of
the node. Without --yes nothing is changed.

Single files are given back (POSIX_FADV_DONTNEED) where nobody else is charged for
them, uses them or mounts what they are on. What is left goes by a knob of the
cgroup, the mildest of this kernel; those that may hurt have to be allowed. Guards
look before and after every step; what a step changes is put back, also when memwhy
is killed.

Just before a file is dropped it is looked at once more who uses it.

With --keep usage is held at an amount for a while, little by little, less when the
target feels it; an interrupt ends that, with a summary. With --dying the target keeps
what it has, and removed cgroups below it, or of the whole node, are released.

TARGET is spelled out: a cgroup path, pid:N, self, or the whole id or name of a
container (namespace/pod/container) or unit. Pods, slices, the runtimes' and memwhy's
own cgroup are refused without --really.

Exit codes: 0 plan shown or goal met, 2 usage or target not found, 3 not permitted or
not supported here, 5 internal error, 6 applied but goal missed, 7 stopped by a guard.`,
		RunE: func(cmd *cobra.Command, args []string) error { return a.runReclaim(cmd, stdin, r, args) },
	}, "text", "wide", "json", "yaml"))
	f := cmd.Flags()
	f.BoolVar(&r.cold, "cold", false, "files that were not used while they were watched (the default)")
	f.StringArrayVar(&r.opt.Files, "file", nil, "these files: a path, a directory or a pattern, as the container sees them")
	f.BoolVar(&r.opt.All, "all-cache", false, "all page cache, used or not")
	f.StringVar(&r.to, "to", "", "come down to this usage: bytes (200MiB), or per cent of the limit (60%)")
	f.StringVar(&r.keep, "keep", "", "keep usage at this, as --to, for a while: little by little, and less when the target feels it")
	f.DurationVar(&r.keeps.Every, "every", 30*time.Second, "--keep: look so often")
	f.DurationVar(&r.keeps.For, "for", 10*time.Minute, "--keep: for so long; interrupting it ends it too")
	f.DurationVar(&r.opt.Observe, "observe", 10*time.Second, "watch for so long which files are used; 0 does not watch")
	f.DurationVar(&r.opt.Verify, "verify", 0, "look again after so long what was read again")
	f.BoolVar(&r.yes, "yes", false, "do it")
	f.BoolVar(&r.opt.Sync, "sync", false, "write dirty files to disk first")
	f.BoolVar(&r.opt.IncludeShared, "include-shared", false, "also what others use or are charged for")
	f.BoolVar(&r.opt.AllowSwap, "allow-swap", false, "the kernel may swap")
	f.BoolVar(&r.opt.AllowLimit, "allow-limit", false, "v1: lower the limit for moments; a burst meanwhile can be OOM-killed")
	f.BoolVar(&r.dying, "dying", false, "release removed cgroups that the kernel still keeps: of the node, or below TARGET")
	f.BoolVar(&r.opt.AllowAncestor, "allow-ancestor", false, "--dying: also by a knob of a cgroup above, though living ones lose by it")
	f.BoolVar(&r.opt.AllowForceEmpty, "allow-force-empty", false, "v1: memory.force_empty takes hot pages too")
	f.BoolVar(&r.opt.Really, "really", false, "also a pod, a slice, a runtime")
	f.BoolVar(&r.history, "history", false, "print what was done before, and stop")
	f.BoolVar(&r.recover, "recover", false, "put back what an earlier reclaim left changed, and stop")
	f.StringVar(&r.opt.State, "record", r.opt.State, "directory of the record of what was done")
	f.StringVar(&r.opt.Journal, "journal", r.opt.Journal, "directory of the journal")
	return cmd
}

func (a *app) runReclaim(cmd *cobra.Command, stdin io.Reader, r *reclaiming, args []string) error {
	if err := a.format("text", "wide", "json", "yaml"); err != nil {
		return err
	}
	switch {
	case r.history:
		return a.reclaimHistory(r)
	case r.recover:
		return a.reclaimRecover(r)
	case a.from != "":
		return usageError("reclaim acts on the running node: it takes no --from")
	case a.redact:
		return usageError("reclaim has nothing to redact: it takes no --redact")
	}
	if r.dying && len(args) == 0 {
		args = []string{"/"}
	}
	target, err := a.target(args)
	if err != nil {
		return err
	}
	if err := r.amounts(cmd.Flags().Changed); err != nil {
		return err
	}
	a.timeout += r.opt.Observe + r.opt.Verify + 2*time.Minute // for the steps
	if !r.yes {
		a.timeout += longestAnswer
	}
	if r.keep != "" {
		a.timeout += r.keeps.For
	}
	r.opt.Root = a.hostRoot
	r.opt.Guardian = []string{"/proc/self/exe", guardianCommand}
	r.opt.Writer = []string{"/proc/self/exe", writerCommand}
	r.opt.Why = "memwhy " + strings.Join(a.typed, " ")
	r.opt.Progress = func(text string) { fmt.Fprintln(a.stderr, text) }
	ctx, acting, cancel := untilActing(cmd.Context())
	defer cancel()
	n, err := a.open(ctx)
	if err != nil {
		return err
	}
	defer n.Close()
	plan, as := n.PlanReclaim, render.Reclaim
	switch {
	case r.dying:
		plan, as = n.PlanRelease, render.Release
	case r.keep != "":
		plan = func(target string, opt wire.ReclaimOptions) (*wire.Reclaiming, error) {
			return n.PlanKeep(target, opt, r.keeps)
		}
		as = render.Keep
	}
	planned := time.Now()
	p, err := plan(target, r.opt)
	if err != nil {
		return reclaimError(err)
	}
	show := func() error {
		return a.write(p.Report, nil, func() []byte { return as(p.Report, false) }, func() []byte { return as(p.Report, true) })
	}
	if p.Empty() && r.keep == "" {
		missed := p.Missed()
		if err := show(); err != nil || !r.yes || missed.Format == "" {
			return err
		}
		return &coded{exitMissed, words.Errorf("%s", missed), ""}
	}
	if !r.yes {
		if err := show(); err != nil || !a.asks(stdin, p.Report.Plan.ExpectBytes) {
			return err
		}
		if time.Since(planned) > r.opt.Observe+longestAnswer {
			return &coded{exitNotAllowed, words.Errorf("the plan is older than %s: nothing was changed", longestAnswer), words.Key("plan again")}
		}
	}
	acting()
	if r.keep != "" {
		err = p.Keep(cmd.Context(), r.keeps)
	} else {
		err = p.Apply(cmd.Context())
	}
	if err != nil {
		return reclaimError(err)
	}
	if err := show(); err != nil {
		return err
	}
	if r.keep != "" {
		return kept(p)
	}
	return outcome(p)
}

// kept is the exit code of keeping usage at an amount.
func kept(p *wire.Reclaiming) error {
	switch k := p.Report.Keep; {
	case k.Stopped != "":
		return &coded{exitStopped, words.Errorf("ended by a guard: %s", k.Stopped), ""}
	case !k.Met:
		return &coded{exitMissed, words.Errorf("usage is more than was to be kept"), ""}
	}
	return nil
}

// outcome is the exit code of what was done.
func outcome(p *wire.Reclaiming) error {
	switch res := p.Report.Result; {
	case res.Stopped != "":
		return &coded{exitStopped, words.Errorf("stopped by a guard: %s", res.Stopped), ""}
	case !res.Met && p.Report.Plan.ToBytes != nil:
		return &coded{exitMissed, words.Errorf("usage is more than was asked for"), ""}
	case !res.Met:
		return &coded{exitMissed, words.Errorf("less was given back than planned"), ""}
	}
	return nil
}

// asks asks on a terminal, and only there.
func (a *app) asks(stdin io.Reader, bytes int64) bool {
	f, ok := stdin.(*os.File)
	if !ok || a.output == "json" || a.output == "yaml" {
		return false
	}
	st, err := f.Stat()
	if null, nerr := os.Stat(os.DevNull); err != nil || nerr != nil || st.Mode()&os.ModeCharDevice == 0 || os.SameFile(st, null) {
		return false
	}
	fmt.Fprint(a.stderr, a.say().Say("Give back %s? [y/N] ", size.Text(bytes)))
	line, _ := bufio.NewReader(io.LimitReader(f, 64)).ReadString('\n')
	return strings.EqualFold(strings.TrimSpace(line), "y")
}

// amounts reads the amounts of the flags, of which some were given: an empty one is none.
func (r *reclaiming) amounts(given func(string) bool) error {
	one := 0
	for _, is := range []bool{len(r.opt.Files) > 0, r.opt.All, given("to"), given("keep"), r.cold} {
		if is {
			one++
		}
	}
	switch {
	case one > 1:
		return usageError("one of --cold, --file, --all-cache, --to, --keep")
	case r.dying && (given("to") || given("keep")):
		return usageError("--dying releases what is removed: it takes no --to or --keep")
	case r.keeps.Every < time.Second || r.keeps.Every > time.Hour || r.keeps.For < r.keeps.Every || r.keeps.For > 7*24*time.Hour:
		return usageError("--every, --for: want 1s to 1h, and up to a week")
	case r.opt.AllowAncestor && !r.dying:
		return usageError("--allow-ancestor: of --dying alone")
	case r.opt.Observe < 0 || r.opt.Observe > time.Hour || r.opt.Verify < 0 || r.opt.Verify > time.Hour:
		return usageError("--observe, --verify: want up to an hour")
	}
	if text := r.to + r.keep; given("to") || given("keep") {
		to, percent, err := amount(text)
		if err != nil {
			return err
		}
		if r.opt.ToPercent = percent; percent == 0 {
			r.opt.To = &to
		}
	}
	return nil
}

var units = map[string]float64{
	"": 1, "b": 1, "k": 1 << 10, "kib": 1 << 10, "ki": 1 << 10, "kb": 1e3, "m": 1 << 20, "mib": 1 << 20, "mi": 1 << 20, "mb": 1e6,
	"g": 1 << 30, "gib": 1 << 30, "gi": 1 << 30, "gb": 1e9, "t": 1 << 40, "tib": 1 << 40, "ti": 1 << 40, "tb": 1e12,
}

// amount reads bytes, or per cent.
func amount(text string) (bytes int64, percent float64, err error) {
	bad := usageError("%q is no amount: want 200MiB, 1.5GiB or 60%%", text)
	digits := strings.TrimRight(text, "abgiktmABGIKTM%")
	n, perr := strconv.ParseFloat(digits, 64)
	if perr != nil || math.IsNaN(n) || math.IsInf(n, 0) || n < 0 || strings.ContainsAny(digits, "eExXpP_+-") {
		return 0, 0, bad
	}
	unit := strings.ToLower(text[len(digits):])
	if unit == "%" {
		if n <= 0 || n > 100 {
			return 0, 0, bad
		}
		return 0, n, nil
	}
	by, ok := units[unit]
	if n *= by; !ok || n > 1<<56 {
		return 0, 0, bad
	}
	return int64(n), 0, nil
}

// reclaimError picks exit codes.
func reclaimError(err error) error {
	switch {
	case errors.Is(err, remedy.ErrPattern), errors.Is(err, remedy.ErrAmount), errors.Is(err, remedy.ErrNoMatch), errors.Is(err, wire.ErrNoLimit):
		return &coded{exitUsage, err, words.Key("memwhy files TARGET lists the files")}
	case errors.Is(err, wire.ErrInexact):
		return &coded{exitUsage, err, ""}
	case errors.Is(err, wire.ErrNoDying):
		return &coded{exitNotAllowed, err, words.Key("memwhy doctor says what a census needs")}
	case errors.Is(err, wire.ErrGuarded), errors.Is(err, wire.ErrReplayed), errors.Is(err, wire.ErrBusy):
		return &coded{exitNotAllowed, err, ""}
	case errors.Is(err, wire.ErrPending):
		return &coded{exitNotAllowed, err, words.Key("memwhy reclaim --recover")}
	case errors.Is(err, wire.ErrJournal), errors.Is(err, wire.ErrRecord):
		return &coded{exitNotAllowed, err, words.Key("run as root, with room in --journal and --record")}
	}
	return err
}

func (a *app) reclaimHistory(r *reclaiming) error {
	all, err := wire.History(r.opt.State)
	if err != nil && len(all) == 0 {
		return &coded{exitNotAllowed, err, ""}
	}
	if a.output == "json" {
		out, err := render.JSON(all)
		if err == nil {
			_, err = a.stdout.Write(out)
		}
		return err
	}
	say := a.say()
	for i := range all {
		h := &all[i]
		freed, ended := say.Say("an unknown amount"), h.Stopped
		if h.Freed != nil {
			freed = size.Text(*h.Freed)
		}
		switch {
		case h.Ended.IsZero():
			ended = say.Say("its end was not noted")
		case ended == "" && h.Missed:
			ended = say.Say("missed")
		case ended == "":
			ended = say.Say("done")
		}
		fmt.Fprintln(a.stdout, say.Say("%s  %9s of %9s  %s  uid %d %s  %s", h.Started.Format(time.RFC3339), freed, size.Text(h.Want), ended, h.UID,
			printable.Text(h.Caller), printable.Text(h.Path)))
	}
	if len(all) == 0 {
		fmt.Fprintln(a.stdout, say.Say("Nothing is noted."))
	}
	return err
}

func (a *app) reclaimRecover(r *reclaiming) error {
	lines, failed, err := wire.Recover(a.say(), r.opt.Journal)
	for _, l := range lines {
		fmt.Fprintln(a.stdout, printable.Text(l))
	}
	if len(lines) == 0 && err == nil {
		fmt.Fprintln(a.stdout, a.say().Say("Nothing is left changed."))
	}
	if err != nil {
		return &coded{exitNotAllowed, err, ""}
	}
	if failed {
		return &coded{exitInternal, words.Errorf("some settings are still not what they were"), ""}
	}
	return nil
}

// warnPending says, at any start, that an earlier reclaim left something changed.
func (a *app) warnPending() {
	for _, l := range wire.Pending(a.say(), wire.DefaultJournal) {
		fmt.Fprintln(a.stderr, a.say().Say("memwhy: an earlier reclaim was ended half way: %s; memwhy reclaim --recover puts it back", printable.Text(l)))
	}
}
