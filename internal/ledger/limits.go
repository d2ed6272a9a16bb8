package ledger

import (
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Level grades a risk.
type Level string

// The levels, in order; NoRisk where nothing limits.
const (
	NoRisk      Level = "none"
	Low         Level = "low"
	Raised      Level = "raised"
	High        Level = "high"
	Critical    Level = "critical"
	UnknownRisk Level = "unknown"
)

// level is the one place of the thresholds.
func level(unreclaimable, limit int64) Level {
	switch share := float64(unreclaimable) / float64(max(limit, 1)); {
	case share < 0.70:
		return Low
	case share < 0.85:
		return Raised
	case share < 0.95:
		return High
	default:
		return Critical
	}
}

// Limit is one limit on the way from the target to the root.
type Limit struct {
	Cgroup           string
	Knob             string // the file
	Kills            bool   // exceeding it ends in the OOM killer; otherwise in throttling
	Bytes            int64
	Usage            int64
	UnreclaimableMin int64 // the cgroup's own, as this limit counts it
	UnreclaimableMax int64
}

// Margin is what the cgroup can still grow by before reclaim cannot help.
func (l Limit) Margin() int64 { return l.Bytes - l.UnreclaimableMax }

// Level is the risk at this limit.
func (l Limit) Level() Level { return level(l.UnreclaimableMax, l.Bytes) }

// share orders limits by risk.
func (l Limit) share() float64 { return float64(l.UnreclaimableMax) / float64(max(l.Bytes, 1)) }

// Whole is the ledger of the target and every limit above it.
type Whole struct {
	*Ledger
	target  string
	Path    []*Ledger // of each cgroup of the snapshot's path; nil where usage could not be read
	Limits  []Limit   // target to root
	Unknown []Missing // limits that could not be read
}

// Explain balances the target and every ancestor.
func Explain(s *snapshot.Snapshot) (*Whole, error) { return Shared{}.Explain(s) }

// Shared are the ledgers of the ancestors of many targets that were read at one time,
// by path: each is balanced once. Nobody may change them.
type Shared map[string]*Ledger

// Explain is Explain for one of many targets.
func (known Shared) Explain(s *snapshot.Snapshot) (*Whole, error) {
	w := &Whole{target: s.Target().Path}
	for i := range s.Path {
		l, ok := known[s.Path[i].Path]
		var err error
		if i == 0 || !ok {
			l, err = Balance(&s.Path[i], envOf(s, i))
		}
		if i > 0 {
			known[s.Path[i].Path] = l
		}
		if i == 0 {
			if err != nil {
				return nil, err
			}
			w.Ledger = l
		}
		w.Path = append(w.Path, l)
		if i > 0 && !s.Path[i].Hierarchical() {
			break // without hierarchy neither its limit nor those above bind the target
		}
		w.limits(&s.Path[i], l)
	}
	return w, nil
}

func (w *Whole) limits(c *snapshot.Cgroup, l *Ledger) {
	if l != nil {
		w.limit(c, l, c.Limit, true, l.UnreclaimableMax, l.Usage)
		w.limit(c, l, c.High, false, l.UnreclaimableMax, l.Usage)
		if usage, ok := c.MemswUsage.Get(); ok && size.Plausible(usage) {
			// Swapping moves bytes from one half of this counter to the other.
			w.limit(c, l, c.MemswLimit, true, max(0, usage-l.ReclaimableFile-l.ReclaimableSlab), usage)
		}
		return
	}
	if n, ok := c.Limit.Get(); ok && n != size.Unlimited {
		w.Unknown = append(w.Unknown, Missing{"limits" + c.Path, c.Usage.Source, c.Usage.State, words.Later("%s", c.Usage.Err), words.Later("how full this limit is")})
	}
}

func (w *Whole) limit(c *snapshot.Cgroup, l *Ledger, r snapshot.Reading[int64], kills bool, unreclaimable, usage int64) {
	n, ok := r.Get()
	if !ok {
		if r.State != snapshot.Absent {
			w.Unknown = append(w.Unknown, Missing{"limits" + c.Path, r.Source, r.State, words.Later("%s", r.Err), words.Later("a limit that may decide")})
		}
		return
	}
	if n < 0 || n >= size.Unlimited {
		return
	}
	w.Limits = append(w.Limits, Limit{
		Cgroup: c.Path, Knob: r.Source, Kills: kills, Bytes: n, Usage: usage,
		UnreclaimableMin: max(0, unreclaimable-(l.UnreclaimableMax-l.UnreclaimableMin)), UnreclaimableMax: unreclaimable,
	})
}

// Deciding returns the limit that is nearest to killing (or, with kills false,
// to throttling) the target; false when nothing limits it. Of two that are
// equally near, the one nearer to the target decides.
func (w *Whole) Deciding(kills bool) (Limit, bool) {
	best, found := Limit{}, false
	for _, l := range w.Limits {
		if l.Kills == kills && (!found || l.share() > best.share()) {
			best, found = l, true
		}
	}
	return best, found
}

// Risk grades the risk of being killed (or throttled), with its reason.
func (w *Whole) Risk(p words.Printer, kills bool) (Level, Limit, string) {
	l, ok := w.Deciding(kills)
	if !ok {
		if len(w.Unknown) > 0 {
			return UnknownRisk, l, p.Say("a limit on the path could not be read")
		}
		if kills {
			return NoRisk, l, p.Say("no limit on the path to the root; only the node's own OOM killer")
		}
		return NoRisk, l, p.Say("no memory.high on the path to the root")
	}
	amount := size.Text(l.UnreclaimableMax)
	if l.UnreclaimableMin < l.UnreclaimableMax {
		amount = p.Say("up to %s", amount)
	}
	whose := ""
	if l.Cgroup != w.target {
		whose = p.Say(" of an ancestor, siblings included,")
	}
	return l.Level(), l, p.Say("%s%s cannot be taken back, %s of the limit %s",
		amount, whose, size.Percent(l.UnreclaimableMax, l.Bytes), size.Text(l.Bytes))
}

// envOf gathers what the ledger of the i-th cgroup of the path depends on.
func envOf(s *snapshot.Snapshot, i int) Env {
	env := Env{CPUs: s.Host.CPUs, PageSize: s.Host.PageSize, LazyFree: true}
	env.SwapLeft, env.SwapOn = swapLeft(s, i)
	if c, ok := s.Census.Get(); ok {
		if n, known := Count(c, s.Path[i].Path, !s.Path[i].Hierarchical()); known {
			env.Counted = &n
		}
	}
	if vm, ok := s.Node.Vmstat.Get(); ok {
		// MADV_FREE came with 4.5, its counter with 4.12; el7 has neither.
		_, env.LazyFree = vm.Get("pglazyfreed")
	}
	return env
}

// swapLeft is how much the i-th cgroup of the path can still swap out: what the
// node has left, bounded by every limit from there to the root.
func swapLeft(s *snapshot.Snapshot, i int) (left int64, on bool) {
	mem, ok := s.Node.Meminfo.Get()
	if !ok {
		return 0, true
	}
	total, haveTotal := mem.Get("SwapTotal")
	free, haveFree := mem.Get("SwapFree")
	if !haveTotal || !haveFree {
		return 0, true
	}
	left, on = free, total > 0
	if sw, ok := s.Path[i].Swappiness.Get(); ok && sw == 0 && s.Path[i].Version == snapshot.V1 {
		return 0, on // linux mm/vmscan.c get_scan_count: cgroup reclaim never swaps at 0
	}
	for ; i < len(s.Path); i++ {
		left = min(left, ownSwapLeft(&s.Path[i]))
		if i+1 < len(s.Path) && !s.Path[i+1].Hierarchical() {
			break
		}
	}
	return max(0, left), on
}

func ownSwapLeft(c *snapshot.Cgroup) int64 {
	if c.Version == snapshot.V2 {
		limit, ok := c.SwapLimit.Get()
		if !ok || limit == size.Unlimited {
			return size.Unlimited
		}
		used, _ := c.SwapUsage.Get()
		return limit - used
	}
	memsw, ok := c.MemswLimit.Get()
	if !ok || memsw == size.Unlimited {
		return size.Unlimited
	}
	// When memory and swap together reach their limit no later than memory
	// alone, swapping out gains nothing (try_charge_memcg clears MAY_SWAP).
	limit, _ := c.Limit.Get()
	used, _ := c.MemswUsage.Get()
	usage, _ := c.Usage.Get()
	if limit == 0 || memsw-used <= limit-usage {
		return 0
	}
	return memsw - used
}
