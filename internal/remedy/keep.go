package remedy

import (
	"time"

	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Keep is a wish: usage shall stay at To, looked at every so often.
type Keep struct {
	To    int64
	Every time.Duration
}

// Felt is what became of a target since it was last looked at. An amount that nothing
// tells is snapshot.Unknown: it is no sign of harm, and none of health.
type Felt struct {
	Past  time.Duration
	Usage int64
	Freed int64  // by what was done before that; 0: nothing was
	Guard string // that stopped it, in words; empty: none did

	Reread      int64 // bytes of what had been given back that are in memory again
	Refaults    int64 // bytes of files that were read again after they were evicted
	MajorFaults int64
	ReadBytes   int64         // from devices
	Stall       time.Duration // on memory; negative: unknown
}

// Turn is what to do now, and when to look again.
type Turn struct {
	Bytes int64 // to be given back; 0: nothing
	Wait  time.Duration
	Hurt  string // why it backs off; empty: it does not
}

// Pace probes how much can be given back: steps double while nothing is felt, and halve,
// with longer pauses between them, when something is. The limits are those of senpai, as
// of the published defaults of oomd: a tenth of a percent of stalls.
type Pace struct {
	words.Printer

	keep  Keep
	step  int64
	pause int // times Every, after harm

	faults, reads rate // of the target when nothing was done to it
}

// What a turn may cost.
const (
	mildStall    = 1000 // a stall of one part in so many is felt
	mildReread   = 10   // so is one part in so many of what was given back, read again
	leastReread  = 1 << 20
	leastFaults  = 20
	longestPause = 8
)

// rate is a count a second, the highest that was seen.
type rate struct {
	perSecond float64
	known     bool
}

func (r *rate) learn(n int64, past time.Duration) {
	if n == snapshot.Unknown || past <= 0 {
		return
	}
	r.perSecond, r.known = max(r.perSecond, float64(n)/past.Seconds()), true
}

// above is what of n is more than usual; 0 when what is usual is not known.
func (r *rate) above(n int64, past time.Duration) int64 {
	if n == snapshot.Unknown || !r.known {
		return 0
	}
	return n - int64(r.perSecond*past.Seconds())
}

// NewPace begins with small steps.
func NewPace(w words.Printer, k Keep) *Pace { return &Pace{Printer: w, keep: k} }

// Next decides the next turn.
func (p *Pace) Next(f Felt) Turn {
	if p.step == 0 {
		p.step = max(squeeze, f.Usage/100)
	}
	if hurt := p.hurt(&f); hurt != "" {
		p.step = max(squeeze, p.step/2)
		p.pause = min(max(1, 2*p.pause), longestPause)
		return Turn{Wait: time.Duration(1+p.pause) * p.keep.Every, Hurt: hurt}
	}
	if f.Freed <= 0 {
		p.faults.learn(f.MajorFaults, f.Past)
		p.reads.learn(f.ReadBytes, f.Past)
	} else {
		p.step *= 2
		p.pause /= 2
	}
	above := f.Usage - p.keep.To
	p.step = max(squeeze, min(p.step, max(above, squeeze)))
	return Turn{Bytes: max(0, min(above, p.step)), Wait: p.keep.Every}
}

// hurt says what the target felt of the last turn, or what it feels at all.
func (p *Pace) hurt(f *Felt) string {
	costs := max(f.Freed/mildReread, leastReread)
	switch {
	case f.Guard != "":
		return p.Say("a guard stopped it: %s", f.Guard)
	case f.Stall >= 0 && f.Stall > f.Past/mildStall:
		return p.Say("it waited for memory for %s of %s", f.Stall.Round(100*time.Microsecond), f.Past.Round(time.Millisecond))
	case f.Reread > costs:
		return p.Say("%s of what was given back is in memory again", size.Text(f.Reread))
	case f.Freed <= 0:
		return ""
	case f.Refaults > costs:
		return p.Say("it read %s again that had been evicted", size.Text(f.Refaults))
	case p.reads.above(f.ReadBytes, f.Past) > costs:
		return p.Say("it read %s from disks, more than before", size.Text(f.ReadBytes))
	case p.faults.above(f.MajorFaults, f.Past) > leastFaults:
		return p.Say("it had %d major faults, more than before", f.MajorFaults)
	}
	return ""
}
