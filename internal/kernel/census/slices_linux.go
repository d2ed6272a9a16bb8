package census

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// sliceLong is what a slice should stay below.
const sliceLong = time.Millisecond

// sliceLog is how long the slices of a scan took. The clock that they read goes on
// while the processor does something else: when one was long, it is said how often
// the thread was switched out and how much time the hypervisor took.
type sliceLog struct {
	times    []time.Duration
	long     int
	switches int64
	steal    time.Duration

	switched int64 // before the slice
	stolen   time.Duration
}

func (l *sliceLog) begin() {
	*l = sliceLog{times: l.times[:0], stolen: stolen()}
}

// here says that slices are run by this thread from now on.
func (l *sliceLog) here() { l.switched = involuntary() }

func (l *sliceLog) add(took time.Duration) {
	l.times = append(l.times, took)
	n := involuntary()
	if took > sliceLong {
		l.long++
		l.switches += n - l.switched
		now := stolen()
		l.steal += now - l.stolen
		l.stolen = now
	}
	l.switched = n
}

// summary is of the slices of all shards.
func (e *Engine) summary() snapshot.CensusSlices {
	var l sliceLog
	for _, s := range e.shards() {
		l.times = append(l.times, s.slices.times...)
		l.long += s.slices.long
		l.switches += s.slices.switches
		l.steal += s.slices.steal
	}
	if len(l.times) == 0 {
		return snapshot.CensusSlices{}
	}
	slices.Sort(l.times)
	sorted := l.times
	s := snapshot.CensusSlices{
		Walkers: len(e.shards()), Count: len(sorted), Median: sorted[len(sorted)/2], P99: sorted[len(sorted)*99/100], Max: sorted[len(sorted)-1],
		Long: l.long, Switches: l.switches, Steal: l.steal,
	}
	for _, d := range sorted {
		s.Total += d
	}
	return s
}

// involuntary is how often this thread was switched out against its will.
func involuntary() int64 {
	var ru unix.Rusage
	if unix.Getrusage(unix.RUSAGE_THREAD, &ru) != nil {
		return 0
	}
	return ru.Nivcsw
}

// stolen is the time that the hypervisor gave to others, of all processors: the
// eighth number of the first line of /proc/stat, in hundredths of a second.
func stolen() time.Duration {
	b, _ := os.ReadFile("/proc/stat")
	line, _, _ := strings.Cut(string(b), "\n")
	if f := strings.Fields(line); len(f) > 8 {
		if n, err := strconv.ParseInt(f[8], 10, 64); err == nil {
			return time.Duration(n) * 10 * time.Millisecond
		}
	}
	return 0
}
