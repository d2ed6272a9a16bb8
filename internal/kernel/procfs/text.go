package procfs

import (
	"fmt"
	"math"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// blank separates columns. Not unicode.IsSpace: names are raw bytes.
const blank = " \t\n"

// column cuts the first column off s.
func column(s string) (first, rest string) {
	s = strings.TrimLeft(s, blank)
	if i := strings.IndexAny(s, blank); i >= 0 {
		return s[:i], s[i+1:]
	}
	return s, ""
}

// lastColumn cuts the last column off s.
func lastColumn(s string) (rest, last string) {
	s = strings.TrimRight(s, blank)
	i := strings.LastIndexAny(s, blank) + 1
	return s[:i], s[i:]
}

// numbers fills into from the columns of s and returns what follows them.
func numbers(s string, into ...*int64) (rest string, ok bool) {
	for _, n := range into {
		var digits string
		digits, s = column(s)
		if *n, ok = snapshot.Number(digits); !ok {
			return s, false
		}
	}
	return s, true
}

// scale multiplies, unless the product does not fit.
func scale(n, unit int64) (int64, bool) {
	if unit <= 0 || n > math.MaxInt64/unit || n < math.MinInt64/unit {
		return 0, false
	}
	return n * unit, true
}

// amount parses "123 kB" into bytes, or a bare number. kB says which it was.
func amount(s string) (n int64, kB, ok bool) {
	digits, kB := strings.CutSuffix(strings.Trim(s, blank), " kB")
	if n, ok = snapshot.Number(strings.TrimRight(digits, " ")); kB && ok {
		n, ok = scale(n, 1024)
	}
	return n, kB, ok
}

// small narrows a number that is at most 31 bits wide in the kernel.
func small(n int64) (int, bool) {
	return int(n), n >= math.MinInt32 && n <= math.MaxInt32
}

// wanted is the error of a table's line, counted from 1.
func wanted(line int, what string) error {
	return fmt.Errorf("line %d: expected %s", line, what)
}

// positive refuses a page size that cannot be one.
func positive(pageSize int64) error {
	if pageSize <= 0 {
		return fmt.Errorf("page size %d: expected a positive number", pageSize)
	}
	return nil
}
