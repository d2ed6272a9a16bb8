// Package wire composes: it builds the source of a node for this machine or
// from a capture, bounds it in time, and runs the use cases on it. It is the
// only place where readers and use cases meet; it must not know flags or
// formats.
package wire

import (
	"cmp"
	"context"
	"io"
	"time"

	"github.com/memwhy/memwhy/internal/capture"
	"github.com/memwhy/memwhy/internal/explain"
	"github.com/memwhy/memwhy/internal/gather"
	"github.com/memwhy/memwhy/internal/kernel"
	"github.com/memwhy/memwhy/internal/names"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Options choose the node and bound the reading.
type Options struct {
	From     string        // a capture or a directory tree; empty for the running node
	HostRoot string        // where the running node's root file system is, "/" by default
	Timeout  time.Duration // for all reading together
	Reader   []string      // the command that runs ServeReads, see kernel.NewGuard
	Redact   bool          // hide names in reports, as a redacted capture does
	Census   string        // one of CensusModes; empty is CensusOff
	Counter  *Counter      // what is kept for further censuses; nil: nothing
	Words    words.Printer // the language of explanations
	Names    names.Options // whom to ask what containers are called

	Watch time.Duration // how long to look at what is explained or captured; 0: one look
	Since string        // an earlier capture of the same target, to compare From with
}

// ErrOutOfTime is returned when the time ran out before there was anything to
// explain.
var ErrOutOfTime = words.Errorf("out of time")

// Node is an opened source.
type Node struct {
	kernel.Source
	opt    gather.Options
	asker  *names.Asker // nil in replay
	redact bool
	words  words.Printer
	ctx    context.Context
	close  func()
}

// Close releases the node.
func (n *Node) Close() { n.close() }

// Open opens the node that opt chooses.
func Open(ctx context.Context, opt Options) (*Node, error) {
	if opt.From != "" {
		src, err := openSince(opt.From, opt.Since)
		if err != nil {
			return nil, err
		}
		return &Node{Source: src, redact: opt.Redact, words: opt.Words, ctx: ctx, close: func() {}}, nil
	}
	live, err := kernel.OpenLive(opt.HostRoot)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, opt.Timeout+opt.Watch)
	patience := min(500*time.Millisecond, opt.Timeout/8)
	guard := kernel.NewGuard(ctx, live, patience, opt.Reader)
	o := gather.Options{ForeignRoot: opt.HostRoot != "/", Watch: opt.Watch}
	opt.Names.Socket = live.Socket
	opt.Names.Patience = min(cmp.Or(opt.Names.Patience, names.Patience), opt.Timeout/2)
	asker := names.New(ctx, opt.Names)
	keep := opt.Counter
	if keep == nil {
		keep = &Counter{own: true, again: opt.Watch > 0}
	}
	return &Node{
		Source: &counting{named: named{guard, asker}, ctx: ctx, opt: o, mode: opt.Census, keep: keep}, asker: asker, redact: opt.Redact, words: opt.Words, ctx: ctx,
		opt: o,
		close: func() {
			cancel()
			if keep.own {
				_ = keep.Close()
			}
			asker.Close()
			guard.Close()
			live.Close()
		},
	}, nil
}

// ServeReads is the life of the reader process of a Guard.
func ServeReads(hostRoot string, in io.Reader, out io.Writer) error {
	live, err := kernel.OpenLive(hostRoot)
	if err != nil {
		return err
	}
	defer live.Close()
	return kernel.ServeAside(live, in, out)
}

// late replaces an error that only came of the deadline.
func (n *Node) late(err error) error {
	if err != nil && n.ctx.Err() != nil {
		return words.Errorf("%w: %w", ErrOutOfTime, err)
	}
	return err
}

// Explain explains one target.
func (n *Node) Explain(target string) (*report.Report, error) {
	n.askNames()
	s, err := n.read(target, func(src kernel.Source, target string) (*snapshot.Snapshot, error) {
		return gather.Explain(src, target, n.opt)
	})
	if err != nil {
		return nil, n.late(err)
	}
	r, err := explain.Report(n.words, s)
	return r, n.late(err)
}

// Want says what a list is to have.
type Want = gather.Want

// List ranks the containers; where there is none, or when all are wanted, the memory
// cgroups that hold processes.
func (n *Node) List(want Want, sel explain.Selection) (*report.List, error) {
	n.askNames()
	var l *gather.Listed
	_, err := n.read("", func(src kernel.Source, _ string) (_ *snapshot.Snapshot, err error) {
		if l, err = gather.List(src, n.opt, want); err != nil {
			return nil, err
		}
		return l.Base, nil
	})
	if err != nil {
		return nil, n.late(err)
	}
	list := explain.List(n.words, l.Base, l.Snapshots, l.Complete, sel)
	if !l.All {
		list.Scope = "containers"
	}
	return list, nil
}

// Files lists what is cached of which file: of one target, or of the node when
// target is nil.
func (n *Node) Files(target *string, opt explain.FileOptions) (*report.Files, error) {
	s, err := n.readFiles(target, true)
	if err != nil {
		return nil, n.late(err)
	}
	r, err := explain.Files(n.words, s, opt)
	return r, n.late(err)
}

// Stacks gives the same memory as stacks, for profiles and flame graphs.
func (n *Node) Stacks(target *string) ([]report.Stack, error) {
	s, err := n.readFiles(target, false)
	if err != nil {
		return nil, n.late(err)
	}
	stacks, err := explain.Stacks(s)
	return stacks, n.late(err)
}

func (n *Node) readFiles(target *string, users bool) (*snapshot.Snapshot, error) {
	n.askNames()
	if target == nil {
		return n.read("", func(src kernel.Source, _ string) (*snapshot.Snapshot, error) {
			return gather.Files(src, nil, users, n.opt)
		})
	}
	return n.read(*target, func(src kernel.Source, target string) (*snapshot.Snapshot, error) {
		return gather.Files(src, &target, users, n.opt)
	})
}

// Advisories applies the catalogue of known faults to the node.
func (n *Node) Advisories() (*report.Advisories, error) {
	s, err := n.readNode(gather.Node)
	if err != nil {
		return nil, err
	}
	return explain.Advisories(n.words, s)
}

// Whole says where the node's memory is, and which removed cgroups it still keeps.
func (n *Node) Whole() (*report.Node, error) {
	n.askNames()
	s, err := n.readNode(gather.Whole)
	if err != nil {
		return nil, err
	}
	return explain.Node(n.words, s), nil
}

// askNames begins to ask what containers are called, while the kernel is read.
func (n *Node) askNames() {
	if n.asker != nil {
		n.asker.Start()
	}
}

// readNode reads without a target.
func (n *Node) readNode(from func(kernel.Source, gather.Options) *snapshot.Snapshot) (*snapshot.Snapshot, error) {
	s, err := n.read("", func(src kernel.Source, _ string) (*snapshot.Snapshot, error) { return from(src, n.opt), nil })
	if err == nil {
		err = n.ctx.Err()
	}
	return s, n.late(err)
}

// read reads target from the node. With redaction it records what it reads, hides
// the names, and reads the recording, which knows its target.
func (n *Node) read(target string, from func(src kernel.Source, target string) (*snapshot.Snapshot, error)) (*snapshot.Snapshot, error) {
	if !n.redact {
		return from(n.Source, target)
	}
	rec := capture.NewRecorder(n.Source)
	s, err := from(rec, target)
	if err != nil {
		return nil, err
	}
	hidden, err := rec.Archive(meta(s)).Prepare(true, false)
	if err != nil {
		return nil, err
	}
	return from(hidden, "")
}

// CaptureOptions choose what a capture holds.
type CaptureOptions struct {
	Redact   bool
	WithArgs bool
	Version  string // of memwhy
}

// Capture records the answers that Explain, List, Advisories and Whole need.
func (n *Node) Capture(target string, opt CaptureOptions) (*capture.Archive, error) {
	n.askNames()
	rec := capture.NewRecorder(n.Source)
	s, err := gather.Explain(rec, target, n.opt)
	if err != nil {
		return nil, n.late(err)
	}
	if _, err := explain.Report(n.words, s); err != nil {
		return nil, n.late(err)
	}
	if _, err := gather.List(rec, n.opt, gather.Want{All: true}); err != nil {
		return nil, n.late(err)
	}
	gather.Whole(rec, n.opt)
	gather.Activity(rec, s, n.opt) // to be compared with a later capture
	m := meta(s)
	m.Memwhy = opt.Version
	return rec.Archive(m).Prepare(opt.Redact, opt.WithArgs)
}

// meta describes a recording of s, and of its target when it has one.
func meta(s *snapshot.Snapshot) capture.Meta {
	m := capture.Meta{Generated: s.Generated, PageSize: s.Host.PageSize, Cost: s.Cost}
	if len(s.Path) > 0 {
		m.Target = s.Target().Path
	}
	return m
}
