package trend

import (
	"slices"
	"time"
)

// Shape is what a row of amounts does within its window.
type Shape string

// The shapes.
const (
	Flat      Shape = "flat"      // within what the kernel's batching may hide
	Rising    Shape = "rising"    // all the time, or each time from a higher floor
	Plateau   Shape = "plateau"   // rose, then stayed
	Sawtooth  Shape = "sawtooth"  // up and down, over a floor that does not rise
	Falling   Shape = "falling"   // most of the time
	Unsettled Shape = "unsettled" // moved, and these samples do not tell more
)

// Few samples have no shape but flat, up, up and then flat, or down.
const fewSamples = 5

// Line is an amount over time.
type Line struct {
	Path  string // of an account, or of all in its class
	At    []time.Duration
	Bytes []int64
	Noise int64 // what a change has to exceed to be one
}

// Change is the last amount minus the first.
func (l *Line) Change() int64 {
	if len(l.Bytes) == 0 {
		return 0
	}
	return l.Bytes[len(l.Bytes)-1] - l.Bytes[0]
}

// Span is the largest amount minus the smallest.
func (l *Line) Span() int64 {
	if len(l.Bytes) == 0 {
		return 0
	}
	return slices.Max(l.Bytes) - slices.Min(l.Bytes)
}

// Slope is the median of the slopes of all pairs of samples, in bytes a second
// (Theil and Sen): up to a quarter of the samples may be wrong in any way.
func (l *Line) Slope() float64 {
	var slopes []float64
	l.pairs(func(dt time.Duration, d int64) { slopes = append(slopes, float64(d)/dt.Seconds()) })
	if len(slopes) == 0 {
		return 0
	}
	slices.Sort(slopes)
	return (slopes[(len(slopes)-1)/2] + slopes[len(slopes)/2]) / 2
}

// Monotone is Kendall's tau: the share of pairs that rise minus that of pairs that
// fall, -1 to 1.
func (l *Line) Monotone() float64 {
	var n, up int
	l.pairs(func(_ time.Duration, d int64) {
		n++
		switch {
		case d > 0:
			up++
		case d < 0:
			up--
		}
	})
	return float64(up) / float64(max(n, 1))
}

func (l *Line) pairs(each func(dt time.Duration, d int64)) {
	for i := range l.Bytes {
		for j := i + 1; j < len(l.Bytes); j++ {
			if dt := l.At[j] - l.At[i]; dt > 0 {
				each(dt, l.Bytes[j]-l.Bytes[i])
			}
		}
	}
}

// Shape tells what the line does. A turn counts when it is larger than the noise
// and than a tenth of the span, so that no single sample makes one by itself.
func (l *Line) Shape() Shape {
	span, change := l.Span(), l.Change()
	switch {
	case span <= l.Noise:
		return Flat
	case len(l.Bytes) < fewSamples && change > l.Noise:
		if len(l.Bytes) > 2 && l.stopped(span) {
			return Plateau
		}
		return Rising
	case len(l.Bytes) < fewSamples && -change > l.Noise:
		return Falling
	case len(l.Bytes) < fewSamples:
		return Unsettled
	}
	floors, up, down := l.turns(max(l.Noise, span/10))
	switch {
	case 4*down < up:
		return l.rise(span, change)
	case up == 0 || 4*up < down:
		return Falling
	case rises(floors, l.Noise):
		return Rising
	case len(floors) < 2 && change < 0:
		return Falling // up and once down: a peak
	}
	return Sawtooth
}

// rise tells a rise that goes on from one that ended, by thirds of the window.
func (l *Line) rise(span, change int64) Shape {
	least := max(l.Noise/4, span/10)
	end := l.At[len(l.At)-1]
	third := func(n time.Duration) int64 { return l.near(l.At[0] + (end-l.At[0])*n/3) }
	first, last := third(2)-third(0), third(3)-third(2)
	switch {
	case l.stopped(span) && change > l.Noise:
		return Plateau
	case first >= least && last >= least && change > l.Noise && l.Monotone() >= 0.5:
		return Rising
	}
	return Unsettled
}

// stopped reports that it did not grow in the last third of the window, of which there
// has to be a look but the last.
func (l *Line) stopped(span int64) bool {
	last := len(l.At) - 1
	window := l.At[last] - l.At[0]
	from := l.nearest(l.At[0] + window*2/3)
	return l.At[last]-l.At[from] >= window/6 && l.Bytes[last]-l.Bytes[from] < max(l.Noise/4, span/10)
}

// near is the amount at a time: that of the nearest sample.
func (l *Line) near(t time.Duration) int64 { return l.Bytes[l.nearest(t)] }

func (l *Line) nearest(t time.Duration) (best int) {
	for i := range l.At {
		if (l.At[i] - t).Abs() < (l.At[best] - t).Abs() {
			best = i
		}
	}
	return best
}

// turns sums the way up and the way down between turns of at least step, and gives
// the amounts at the turns upward.
func (l *Line) turns(step int64) (floors []int64, up, down int64) {
	from, best, way := l.Bytes[0], l.Bytes[0], int64(0) // way is 1 up, -1 down, 0 not known yet
	for _, v := range l.Bytes[1:] {
		switch {
		case way == 0 && max(v-from, from-v) > step:
			best, way = v, 1
			if v < from {
				way = -1
			}
		case way != 0 && way*(v-best) >= 0:
			best = v
		case way != 0 && way*(best-v) > step:
			if way > 0 {
				up += best - from
			} else {
				down += from - best
				floors = append(floors, best)
			}
			from, best, way = best, v, -way
		}
	}
	if way > 0 {
		up += best - from
	} else if way < 0 {
		down += from - best
	}
	return floors, up, down
}

// rises reports three floors or more, each above the one before it.
func rises(floors []int64, noise int64) bool {
	if len(floors) < 3 || floors[len(floors)-1]-floors[0] <= noise {
		return false
	}
	for i := 1; i < len(floors); i++ {
		if floors[i] <= floors[i-1] {
			return false
		}
	}
	return true
}
