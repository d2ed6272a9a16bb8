package vm

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/memwhy/memwhy/e2e/judge"
)

// Column is what one machine showed.
type Column struct {
	Machine
	Release  string
	LRU      string
	Accounts map[string]string // account: counter, derived
	Missing  map[string]string // account: why it is not there
	Labs     []judge.Verdict
}

// Name is short and holds as long as the series does: 6.12 v2, 6.12 arm64.
func (c *Column) Name() string {
	part := strings.SplitN(c.Release, ".", 3)
	name := strings.Join(part[:min(2, len(part))], ".") + " " + c.Cgroup
	if c.Arch != "amd64" {
		name += " " + c.Arch
	}
	if c.Flavour != "" {
		name += " " + c.Flavour
	}
	return name
}

// see takes note of what a report lists and misses.
func (c *Column) see(report []byte) error {
	var r struct {
		Host     struct{ LRU string }
		Accounts []struct {
			Path    string
			Derived bool
			How     string
		}
		NotSeen []struct{ Key, Why string }
	}
	if err := json.Unmarshal(report, &r); err != nil {
		return err
	}
	c.LRU = r.Host.LRU
	for _, a := range r.Accounts {
		c.Accounts[a.Path] = "counter"
		if a.How != "" {
			c.Accounts[a.Path] = a.How
		}
		if a.Derived {
			c.Accounts[a.Path] = "derived"
		}
	}
	for _, n := range r.NotSeen {
		if path, ok := strings.CutPrefix(n.Key, "accounts/"); ok {
			c.Missing[path] = n.Why
		}
	}
	return nil
}

// without says where an account is on a kernel that does not have it.
func (c *Column) without(path string) string {
	if strings.HasPrefix(path, "kernel/") {
		for _, rest := range []string{"kernel/undivided", "kernel/other"} {
			if how := c.Accounts[rest]; rest != path && (how == "derived" || how != "" && rest == "kernel/undivided") {
				return "in `" + rest + "`"
			}
		}
	}
	return "-"
}

// document is docs/kernels.md. The first two tables say what is shown, and hold
// from run to run; the last one has the figures of one run.
func document(columns []*Column) string {
	d := &markdown{}
	d.line("# Kernels")
	d.line("")
	d.line("Made by `make kernels`, which boots every kernel below with the shipped binary and")
	d.line("two emulated processors and runs every lab of `memwhy lab list` in it, with 24 MiB")
	d.line("planted where the lab lets one choose. The labs write down the truth without the")
	d.line("engine; `e2e/judge` compares. `make test` does the same and fails where a report is")
	d.line("off by more than a lab allows (4 MiB or 2 %%, less where that is said), or where")
	d.line("more than 1 MiB of a cgroup at rest is unexplained.")
	d.accounts(columns)
	d.labs(columns)
	d.line("")
	d.line("## How exact")
	d.line("")
	d.figures(columns)
	return d.String()
}

type markdown struct {
	strings.Builder
	notes []string
}

func (d *markdown) line(format string, args ...any) { fmt.Fprintf(d, format+"\n", args...) }

// note is the mark of a footnote of this text.
func (d *markdown) note(text string) string {
	i := slices.Index(d.notes, text)
	if i < 0 {
		i, d.notes = len(d.notes), append(d.notes, text)
	}
	return fmt.Sprintf("(%d)", i+1)
}

func (d *markdown) footnotes() {
	d.line("")
	for i, n := range d.notes {
		d.line("%d. %s", i+1, n)
	}
	d.notes = nil
}

func (d *markdown) head(first string, columns []*Column) {
	row, rule := "| "+first+" |", "|---|"
	for _, c := range columns {
		row, rule = row+" "+c.Name()+" |", rule+"---|"
	}
	d.line("%s\n%s", row, rule)
}

func (d *markdown) accounts(columns []*Column) {
	all := map[string]bool{}
	for _, c := range columns {
		for path := range c.Accounts {
			all[path] = true
		}
	}
	d.line("")
	d.line("## Accounts")
	d.line("")
	d.line("`counter`: the kernel counts it. `derived`: what nothing else explains. `-`: the")
	d.line("kernel has no such thing, or charges it to nobody.")
	d.line("")
	d.head("account", columns)
	for _, path := range slices.Sorted(maps.Keys(all)) {
		row := "| `" + path + "` |"
		for _, c := range columns {
			cell := c.Accounts[path]
			if cell == "" {
				cell = c.without(path)
				if why := c.Missing[path]; why != "" {
					cell += " " + d.note(why)
				}
			}
			row += " " + cell + " |"
		}
		d.line("%s", row)
	}
	d.footnotes()
}

// labs has one row for each account of each lab.
func (d *markdown) labs(columns []*Column) {
	d.line("")
	d.line("## Labs")
	d.line("")
	d.line("`shown`: in that account. Otherwise the account that holds it on this kernel, or")
	d.line("n/a and the kernel's reason.")
	d.line("")
	d.head("lab: account", columns)
	var rows []string
	cells := map[string]map[*Column]string{}
	put := func(row string, c *Column, cell string) {
		if cells[row] == nil {
			cells[row] = map[*Column]string{}
			rows = append(rows, row)
		}
		cells[row][c] = cell
	}
	planted := map[string][]string{} // the rows of a lab, for where it is n/a
	for _, c := range columns {
		for _, v := range c.Labs {
			for _, x := range v.Cells {
				cell := "shown"
				if x.Compared != x.Account {
					cell = "in `" + x.Compared + "`"
				}
				if x.Unseen != "" {
					cell = "n/a " + d.note(x.Unseen)
				}
				row := v.Scenario + ": `" + label(x) + "`"
				put(row, c, cell)
				if !slices.Contains(planted[v.Scenario], row) {
					planted[v.Scenario] = append(planted[v.Scenario], row)
				}
			}
		}
	}
	for _, c := range columns {
		for _, v := range c.Labs {
			if v.NotHere == "" {
				continue
			}
			list := planted[v.Scenario]
			if len(list) == 0 {
				list = []string{v.Scenario}
			}
			for _, row := range list {
				put(row, c, "n/a "+d.note(v.NotHere))
			}
		}
	}
	slices.Sort(rows)
	for _, row := range rows {
		out := "| " + row + " |"
		for _, c := range columns {
			out += " " + cmp.Or(cells[row][c], "-") + " |"
		}
		d.line("%s", out)
	}
	d.footnotes()
}

func (d *markdown) figures(columns []*Column) {
	d.line("| kernel | release | LRU | labs | n/a | worst error against truth | worst unexplained |")
	d.line("|---|---|---|---|---|---|---|")
	for _, c := range columns {
		na := 0
		worst, unexplained := "", ""
		var error, most int64 = -1, -1
		for _, v := range c.Labs {
			if v.NotHere != "" {
				na++
				continue
			}
			for _, x := range v.Cells {
				if e := abs(x.Error); x.Unseen == "" && e > error {
					error = e
					worst = fmt.Sprintf("%d KiB of %d (%s: `%s`)", x.Error>>10, x.Planted>>10, v.Scenario, label(x))
				}
			}
			if u := abs(v.UnexplainedBytes); u > most {
				most = u
				unexplained = fmt.Sprintf("%d KiB of %d allowed (%s)", v.UnexplainedBytes>>10, v.BoundBytes>>10, v.Scenario)
			}
		}
		d.line("| %s | %s | %s | %d | %d | %s | %s |", c.Name(), c.Release, c.LRU, len(c.Labs), na, worst, unexplained)
	}
}

// label names what a cell compares.
func label(x judge.Cell) string {
	if x.State != "" {
		return x.Account + ", " + x.State
	}
	return x.Account
}

func abs(n int64) int64 { return max(n, -n) }

// cells reads the tables of a document that hold from run to run, footnotes
// resolved: "row | column" to cell.
func cells(page string) map[string]string {
	found := map[string]string{}
	for _, section := range strings.Split(page, "\n## ") {
		title, _, _ := strings.Cut(section, "\n")
		if title != "Accounts" && title != "Labs" {
			continue
		}
		notes := map[string]string{}
		var head []string
		for line := range strings.Lines(section) {
			line = strings.TrimSpace(line)
			if n, text, ok := strings.Cut(line, ". "); ok && !strings.ContainsAny(n, "|` ") {
				notes["("+n+")"] = text
			}
		}
		for line := range strings.Lines(section) {
			row, isRow := strings.CutPrefix(strings.TrimSpace(line), "| ")
			switch col := strings.Split(strings.TrimSuffix(row, " |"), " | "); {
			case !isRow || strings.HasPrefix(line, "|---"):
			case head == nil:
				head = col
			default:
				for i, cell := range col[1:min(len(col), len(head))] {
					if at := strings.LastIndex(cell, " ("); at > 0 {
						cell = cell[:at] + ": " + notes[cell[at+1:]]
					}
					found[col[0]+" | "+head[i+1]] = cell
				}
			}
		}
	}
	return found
}
