package procfs

import (
	"bytes"
	"errors"
	"strconv"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// ParseVersion returns the release in /proc/version.
func ParseVersion(b []byte) (string, error) {
	rest, ok := strings.CutPrefix(string(b), "Linux version ")
	release, _ := column(rest)
	if !ok || release == "" {
		return "", errors.New(`expected "Linux version" and a release`)
	}
	return release, nil
}

// maxCPUs bounds a CPU's number: far above any NR_CPUS.
const maxCPUs = 1 << 20

// ParseOnline counts the CPUs of a list such as "0-3,5".
func ParseOnline(b []byte) (int, error) {
	count, next := 0, int64(0)
	for part := range strings.SplitSeq(strings.TrimSuffix(string(b), "\n"), ",") {
		from, to, isRange := strings.Cut(part, "-")
		if !isRange {
			to = from
		}
		first, ok1 := snapshot.Number(from)
		last, ok2 := snapshot.Number(to)
		if !ok1 || !ok2 || first < next || last < first || last >= maxCPUs {
			return 0, errors.New("expected ascending CPU numbers and ranges, such as 0-3,5")
		}
		count += int(last - first + 1)
		next = last + 1
	}
	return count, nil
}

// ParseMGLRU reports whether /sys/kernel/mm/lru_gen/enabled has the main switch
// on, bit 0. Writers may use y and n; kernels print the hexadecimal mask.
func ParseMGLRU(b []byte) (bool, error) {
	switch b = bytes.TrimSuffix(b, []byte("\n")); string(b) {
	case "y", "Y":
		return true, nil
	case "n", "N":
		return false, nil
	}
	digits, ok := strings.CutPrefix(string(b), "0x")
	mask, err := strconv.ParseUint(digits, 16, 64)
	if !ok || err != nil {
		return false, errors.New("expected a mask such as 0x0007, y or n")
	}
	return mask&1 != 0, nil
}
