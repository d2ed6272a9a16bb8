package vm

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// plan is what a live test said of a plan and its result.
var plan = regexp.MustCompile(`reclaimed: (.*); (\S+); (\d+) steps; planned (\d+); freed (-?\d+); error (-?\d+)`)

// stop is what one said of a guard.
var stop = regexp.MustCompile(`reclaimed: (.*); stopped by (\S+): .*; of (\d+) were missing at the end (\d+); read again (\d+)`)

// plansOf is the table of plans against results, a row for each machine and knob. results
// are what the live tests printed there.
func plansOf(columns []*Column, results [][]byte) string {
	d := &markdown{}
	d.line("| kernel | what | knob | steps | planned KiB | freed KiB | error KiB | error |")
	d.line("|---|---|---|---|---|---|---|---|")
	for i, c := range columns {
		for _, m := range plan.FindAllStringSubmatch(string(results[i]), -1) {
			planned, off := amount(m[4]), amount(m[6])
			d.line("| %s | %s | `%s` | %s | %d | %d | %d | %.1f %% |", c.Name(), m[1], m[2], m[3], planned>>10, amount(m[5])>>10, off>>10, 100*float64(off)/float64(max(1, planned)))
		}
	}
	d.line("")
	d.line("| kernel | what | stopped by | hot MiB | missing at the end | read again |")
	d.line("|---|---|---|---|---|---|")
	for i, c := range columns {
		for _, m := range stop.FindAllStringSubmatch(string(results[i]), -1) {
			d.line("| %s | %s | %s | %d | %d | %d |", c.Name(), m[1], m[2], amount(m[3])>>20, amount(m[4])>>20, amount(m[5])>>20)
		}
	}
	return d.String()
}

func amount(digits string) int64 {
	n, _ := strconv.ParseInt(digits, 10, 64)
	return n
}

// between replaces what is between the marks of a key in a document.
func between(doc, key, said string) (string, error) {
	begin, end := fmt.Sprintf("<!-- %s -->\n", key), fmt.Sprintf("<!-- end of %s -->\n", key)
	before, rest, ok := strings.Cut(doc, begin)
	_, after, ok2 := strings.Cut(rest, end)
	if !ok || !ok2 {
		return "", fmt.Errorf("no marks %q and %q", begin, end)
	}
	return before + begin + "\n" + strings.TrimSpace(said) + "\n\n" + end + after, nil
}
