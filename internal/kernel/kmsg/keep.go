package kmsg

import (
	"bytes"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// hidden begins what Hide makes of a log. No log begins like this: its first line
// would have to be nothing but these words.
const hidden = "memwhy: the records of a log, names replaced\n"

// Read takes a whole log, or what Keep or Hide made of one. The error is about the
// latter: a log is read whatever it holds.
func Read(b []byte, pageSize int64) (snapshot.KernelLog, error) {
	if doc, is := bytes.CutPrefix(b, []byte(hidden)); is {
		return unhide(doc)
	}
	p := New(pageSize)
	_, _ = p.Write(b)
	return p.Close(), nil
}

// Keep leaves of a log the lines that a record is made of, as they are. The others,
// which may say anything about a node, become empty, so that what is left reads as
// before. What Hide made stays.
func Keep(b []byte) []byte {
	if bytes.HasPrefix(b, []byte(hidden)) {
		return b
	}
	p := New(4096) // nothing here depends on it
	kept := make([]byte, 0, min(len(b), 4<<10))
	for line := range bytes.Lines(b) {
		p.taken = false
		before := p.log.Suppressed
		_, _ = p.Write(line)
		if !bytes.HasSuffix(line, newline) {
			p.finishTail()
		}
		if p.taken || p.log.Suppressed != before {
			kept = append(kept, line...)
		} else if bytes.HasSuffix(line, newline) {
			kept = append(kept, '\n')
		}
	}
	return kept
}

// Hide gives the records of a log for other eyes: their names go through path and
// name, and of the text nothing is left. Read understands it.
func Hide(b []byte, pageSize int64, path, name func(string) string) ([]byte, error) {
	log, err := Read(b, pageSize)
	if err != nil {
		return nil, err
	}
	for i := range log.Records {
		r := &log.Records[i]
		for _, p := range []*string{&r.LimitOwner, &r.TaskCgroup, &r.Path} {
			*p = path(*p)
		}
		r.TriggerComm = name(r.TriggerComm)
		if r.Named != nil {
			r.Named.Comm, r.Named.Memcg = name(r.Named.Comm), path(r.Named.Memcg)
		}
		for j := range r.Victims {
			v := &r.Victims[j]
			v.Comm, v.Memcg = name(v.Comm), path(v.Memcg)
		}
		if r.Slab != nil {
			r.Slab.Cgroup = path(r.Slab.Cgroup)
			if !word.MatchString(r.Slab.Cache) {
				r.Slab.Cache = name(r.Slab.Cache)
			}
		}
		for key := range r.Stats {
			if !word.MatchString(key) {
				delete(r.Stats, key)
			}
		}
		if !stamp.MatchString(r.Time) {
			r.Time = ""
		}
		for _, p := range []*string{&r.Kernel, &r.GFP, &r.NodeMask} {
			if !mark.MatchString(*p) {
				*p = ""
			}
		}
	}
	doc, err := json.Marshal(log)
	return append([]byte(hidden), doc...), err
}

var (
	// word is a name that only the kernel gives.
	word = regexp.MustCompile(`^[a-z][a-z0-9_:-]*$`)
	// mark is a release, flags or a mask.
	mark = regexp.MustCompile(`^[0-9A-Za-z._+~|(),-]*$`)
	// stamp is the time before a line: figures, and names of days, months and zones.
	stamp = regexp.MustCompile(`^([0-9.,:+ TZ-]|Mon|Tue|Wed|Thu|Fri|Sat|Sun|Jan|Feb|Mar|Apr|May|Jun|Jul|Aug|Sep|Oct|Nov|Dec)*$`)
)

// unhide reads what Hide wrote. A file is anybody's: words that are in a message
// have to be its own.
func unhide(doc []byte) (snapshot.KernelLog, error) {
	var log snapshot.KernelLog
	if err := json.Unmarshal(doc, &log); err != nil {
		return snapshot.KernelLog{}, fmt.Errorf("the records of a log: %w", err)
	}
	if len(log.Records) > MaxRecords {
		return snapshot.KernelLog{}, fmt.Errorf("the records of a log: %d of them", len(log.Records))
	}
	for i := range log.Records {
		r := &log.Records[i]
		switch {
		case !slices.Contains(kinds, r.Kind),
			!slices.Contains(constraints, r.Constraint),
			!slices.Contains(outcomes, r.Outcome),
			r.Cgroup < 0 || r.Cgroup > snapshot.V2,
			len(r.Victims) > maxVictims, len(r.Stats) > maxStats:
			return snapshot.KernelLog{}, fmt.Errorf("the records of a log: %d is none", i)
		}
	}
	return log, nil
}

var (
	kinds = []snapshot.LogKind{
		snapshot.LogMemcgOOM, snapshot.LogGlobalOOM, snapshot.LogUnknownOOM, snapshot.LogSlub, snapshot.LogPageAlloc, snapshot.LogMkdir,
	}
	constraints = []string{"", "none", "cpuset", "mempolicy", "memcg"}
	outcomes    = []string{"", "killed", "no-victim", "panic", "already-exiting"}
)
