// Package size owns bytes: their arithmetic, their parsing and the only
// printing of units. It must not know what the bytes are for.
package size

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Powers of two, in bytes.
const (
	KiB int64 = 1 << (10 * (iota + 1))
	MiB
	GiB
	TiB
)

// Unlimited is the value of a limit that does not limit.
const Unlimited int64 = math.MaxInt64

// Plausible reports whether n can be a number of bytes of real memory: not
// negative, and below 64 PiB (x86-64 and arm64 address 4 PiB at most). What is
// outside is a broken counter, and sums of plausible numbers cannot overflow.
func Plausible(n int64) bool { return n >= 0 && n <= 1<<56 }

// Text prints n in MiB with one decimal, or in KiB or bytes when that would
// say 0.0 of something that is not nothing. Negative numbers keep their sign.
func Text(n int64) string {
	switch a := math.Abs(float64(n)); {
	case n == Unlimited:
		return "unlimited"
	case n == 0:
		return "0"
	case a < float64(KiB):
		return strconv.FormatInt(n, 10) + " B"
	case a < float64(MiB)/10:
		return fmt.Sprintf("%.0f KiB", float64(n)/float64(KiB))
	case a < 100*float64(GiB):
		return fmt.Sprintf("%.1f MiB", float64(n)/float64(MiB))
	default:
		return fmt.Sprintf("%.1f GiB", float64(n)/float64(GiB))
	}
}

// Span prints an interval, both ends in the unit that Text gives to hi.
func Span(lo, hi int64) string {
	unit := MiB
	if hi >= 100*GiB {
		unit = GiB
	}
	if hi < MiB/10 {
		return Text(lo) + "-" + Text(hi)
	}
	return fmt.Sprintf("%.1f-%s", float64(lo)/float64(unit), Text(hi))
}

// MiBs prints n as a bare number of MiB, for tables whose heading names the
// unit: with one decimal, but for what would be wider than seven characters.
func MiBs(n int64) string {
	if n >= 100_000*MiB {
		return strconv.FormatInt(n/MiB, 10)
	}
	return fmt.Sprintf("%.1f", float64(n)/float64(MiB))
}

// Like returns the unit for amounts that are parts of whole, and prints them in it
// with one decimal.
func Like(whole int64) (unit string, text func(int64) string) {
	scale, unit := MiB, "MiB"
	if whole >= 4*GiB {
		scale, unit = GiB, "GiB"
	}
	return unit, func(n int64) string {
		return strings.Replace(fmt.Sprintf("%.1f", float64(n)/float64(scale)), "-0.0", "0.0", 1)
	}
}

// Percent prints part of whole as a whole percentage, "?" when whole is 0.
func Percent(part, whole int64) string {
	if whole <= 0 {
		return "?"
	}
	return strconv.FormatInt(int64(math.Round(100*float64(part)/float64(whole))), 10) + "%"
}

var units = map[string]int64{
	"": 1, "b": 1,
	"k": KiB, "kb": KiB, "ki": KiB, "kib": KiB,
	"m": MiB, "mb": MiB, "mi": MiB, "mib": MiB,
	"g": GiB, "gb": GiB, "gi": GiB, "gib": GiB,
	"t": TiB, "tb": TiB, "ti": TiB, "tib": TiB,
}

// Parse reads a size as people write it: 64M, 1.5GiB, 4096. All units are
// powers of two, as in the cgroup files.
func Parse(s string) (int64, error) {
	t := strings.TrimSpace(s)
	i := strings.IndexFunc(t, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
	if i < 0 {
		i = len(t)
	}
	unit, ok := units[strings.ToLower(strings.TrimSpace(t[i:]))]
	n, err := strconv.ParseFloat(t[:i], 64)
	if err != nil || !ok || n*float64(unit) > 1<<56 {
		return 0, fmt.Errorf("size %q: want a number with a unit, such as 64M or 1.5GiB", s)
	}
	return int64(n * float64(unit)), nil
}
