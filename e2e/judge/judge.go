// Package judge owns the comparison of what a lab planted with what memwhy
// reported: one memwhy.truth/v1 against one memwhy.report/v1. It is pure, and it
// must not know how either was made, nor use any package of the project.
//
// Amounts are bytes.
package judge

import (
	"cmp"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Verdict is what a report is worth against a truth.
type Verdict struct {
	Scenario         string   `json:"scenario"`
	NotHere          string   `json:"notHere,omitempty"` // why the kernel cannot show it; then there are no cells
	Cells            []Cell   `json:"cells"`
	UnexplainedBytes int64    `json:"unexplainedBytes"`
	BoundBytes       int64    `json:"boundBytes"` // of it, by the report; -1 when it has none
	Problems         []string `json:"problems"`   // none: the report is right
}

// Cell is one amount that was compared.
type Cell struct {
	Account   string `json:"account"`          // of the truth; those that the report has in one are joined by " + "
	Compared  string `json:"compared"`         // the report's account, or class
	State     string `json:"state,omitempty"`  // the margin; empty: the account itself
	Unseen    string `json:"unseen,omitempty"` // why this kernel cannot show it; then nothing was compared
	Planted   int64  `json:"planted"`
	Reported  int64  `json:"reported"`
	Error     int64  `json:"error"` // reported minus planted
	Tolerance int64  `json:"tolerance"`
}

// OK says whether the amount is the planted one.
func (c Cell) OK() bool { return c.Error <= c.Tolerance && c.Error >= -c.Tolerance }

func (c Cell) String() string {
	name := c.Account
	if c.Compared != c.Account {
		name += " in " + c.Compared
	}
	if c.State != "" {
		name += ", " + c.State
	}
	return fmt.Sprintf("%s: planted %d, reported %d, off by %d of %d", name, c.Planted, c.Reported, c.Error, c.Tolerance)
}

type truth struct {
	Schema, Scenario, Cgroup, NotHere string
	Accounts                          []planting
	Holders                           []holder
	ToleranceBytes                    int64
	LimitOwner, KillAtLeast, Throttle string
	OOMKills                          int
	Findings                          []string
	Cause                             *cause
	Also                              []cause
	Healthy                           bool
	Watch                             *watch
}

type planting struct {
	Path   string
	Bytes  int64
	State  map[string]int64
	Unseen map[string]string
	Within []string

	BytesPerSecond int64
}

type cause struct {
	Code   string
	Bytes  int64
	Census bool

	BytesPerSecond, ToleranceBytes int64
	SinceBegin, Asks               bool
	Names                          []string
}

type finding struct {
	Code, Severity, Title, PartOf string
	Bytes                         *int64
}

type holder struct {
	Kind, Name, Account string
	Bytes               int64
	Deleted             bool
}

type account struct {
	Path  string
	Bytes int64
	State map[string]int64
}

type report struct {
	Schema string
	Host   struct {
		CPUs   int
		Kernel string
	}
	Target struct{ Cgroup string }
	// A number that could not be had is null.
	Numbers struct {
		UsageBytes *int64
		LimitOwner *string
	}
	Accounts    []account
	Holders     []holder
	Census      *struct{ Complete bool }
	Unexplained struct {
		Bytes      int64
		BoundBytes *int64
	}
	Risks struct {
		Kill, Throttle struct{ Level, Because string }
	}
	Findings   []finding
	Suspicions []suspicion
	Trend      *trend
	NotSeen    []notSeen
}

type notSeen struct{ Source, Why string }

type suspicion struct{ ID, Answer, Because string }

// Compare judges a report by a truth. The error is about the messages themselves;
// what is wrong with the report is in the verdict. Where the truth says that the
// kernel cannot show it, the report may be missing.
func Compare(truthJSON, reportJSON []byte) (Verdict, error) {
	var t truth
	if err := decode(truthJSON, &t, func() string { return t.Schema }, "memwhy.truth/v1"); err != nil {
		return Verdict{}, err
	}
	c := &comparison{t: t, v: Verdict{Scenario: t.Scenario, NotHere: t.NotHere, BoundBytes: -1, Cells: []Cell{}, Problems: []string{}}}
	if len(reportJSON) == 0 && t.NotHere != "" {
		return c.v, nil
	}
	if err := decode(reportJSON, &c.r, func() string { return c.r.Schema }, "memwhy.report/v1"); err != nil {
		return Verdict{}, err
	}
	if c.r.Target.Cgroup != t.Cgroup {
		c.problem("the report is about %q, the truth about %q", c.r.Target.Cgroup, t.Cgroup)
	}
	c.balance()
	switch {
	case t.NotHere == "":
		c.accounts()
		c.holders()
		c.risks()
		c.findings()
		c.cause()
		c.also()
		c.watched()
	case len(t.Accounts) > 0:
		c.problem("the truth has accounts of what it says is not here")
	}
	return c.v, nil
}

func decode(b []byte, into any, schema func() string, want string) error {
	if err := json.Unmarshal(b, into); err != nil {
		return fmt.Errorf("%s: %w", want, err)
	}
	if got := schema(); got != want {
		return fmt.Errorf("a message of schema %q, want %s", got, want)
	}
	return nil
}

type comparison struct {
	t truth
	r report
	v Verdict
}

func (c *comparison) problem(format string, args ...any) {
	c.v.Problems = append(c.v.Problems, fmt.Sprintf(format, args...))
}

// balance checks what holds for every report.
func (c *comparison) balance() {
	var sum int64
	seen := map[string]bool{}
	for _, a := range c.r.Accounts {
		sum += a.Bytes
		if a.Bytes < 0 && a.Path != "unexplained" {
			c.problem("account %s is negative: %d", a.Path, a.Bytes)
		}
		if seen[a.Path] {
			c.problem("account %s is there twice", a.Path)
		}
		seen[a.Path] = true
	}
	switch usage := c.r.Numbers.UsageBytes; {
	case usage == nil:
		c.problem("the report has no usage")
	case sum != *usage:
		c.problem("the accounts sum to %d, usage is %d", sum, *usage)
	}
	u := c.r.Unexplained.Bytes
	c.v.UnexplainedBytes = u
	if a, ok := c.find("unexplained"); !ok || a.Bytes != u {
		c.problem("unexplained is %d, its account says otherwise", u)
	}
	if bound := c.r.Unexplained.BoundBytes; bound == nil {
		c.problem("unexplained has no bound")
	} else {
		c.v.BoundBytes = *bound
		if max(u, -u) > *bound {
			c.problem("unexplained %d is beyond its bound %d", u, *bound)
		}
	}
	// Every lab's cgroup is a leaf, and at rest.
	if c.r.Host.CPUs <= 2 && max(u, -u) > 1<<20 {
		c.problem("unexplained %d is more than 1 MiB on %d CPUs", u, c.r.Host.CPUs)
	}
}

// find returns the account with that path, or the sum of those below it.
func (c *comparison) find(path string) (sum account, found bool) {
	sum = account{Path: path, State: map[string]int64{}}
	for _, a := range c.r.Accounts {
		if a.Path == path {
			return a, true
		}
		if strings.HasPrefix(a.Path, path+"/") {
			found = true
			sum.Bytes += a.Bytes
			for k, v := range a.State {
				sum.State[k] += v
			}
		}
	}
	return sum, found
}

// accounts compares the amounts. Accounts of the truth that the report has in one
// are compared as one.
func (c *comparison) accounts() {
	if len(c.t.Accounts) == 0 {
		c.problem("the truth has no account")
	}
	cells := map[string]*Cell{}
	var order []string
	for _, a := range c.t.Accounts {
		got, ok := c.resolve(a.Path, a.Within)
		if !ok {
			c.problem("the report has no account %s, nor any of %q", a.Path, a.Within)
			continue
		}
		bytes := a.Bytes + c.grown(a.BytesPerSecond)
		if cell := cells[got.Path]; cell != nil {
			cell.Account += " + " + a.Path
			cell.Planted += bytes
		} else {
			cells[got.Path] = &Cell{Account: a.Path, Compared: got.Path, Planted: bytes, Reported: got.Bytes}
			order = append(order, got.Path)
		}
		for _, name := range keys(a.State) {
			margin, ok := got.State[name]
			if !ok {
				c.problem("account %s has no %q in its state", got.Path, name)
				continue
			}
			at := got.Path + "\x00" + name
			cells[at] = &Cell{Account: a.Path, Compared: got.Path, State: name, Planted: a.State[name], Reported: margin}
			order = append(order, at)
		}
		for _, name := range keys(a.Unseen) {
			c.v.Cells = append(c.v.Cells, Cell{Account: a.Path, Compared: got.Path, State: name, Unseen: a.Unseen[name]})
		}
	}
	c.cells(cells, order)
}

func (c *comparison) cells(cells map[string]*Cell, order []string) {
	var most int64
	for _, at := range order {
		cell := cells[at]
		cell.Error, cell.Tolerance = cell.Reported-cell.Planted, c.t.ToleranceBytes
		c.v.Cells = append(c.v.Cells, *cell)
		most = max(most, cell.Planted)
		if !cell.OK() {
			c.problem("%s", cell)
		}
	}
	if len(order) > 0 && (c.t.ToleranceBytes <= 0 || c.t.ToleranceBytes > most/2) {
		c.problem("a tolerance of %d proves nothing about %d", c.t.ToleranceBytes, most)
	}
}

// holders checks that files and removed cgroups are named with what they hold.
func (c *comparison) holders() {
	for _, want := range c.t.Holders {
		if want.Kind != "file" && want.Kind != "cgroup" || want.Kind == "cgroup" && handsOn(c.r.Host.Kernel) {
			continue
		}
		if c.r.Census == nil || !c.r.Census.Complete {
			c.problem("%s is to be named, and there is no complete census", want.Name)
			return
		}
		i := slices.IndexFunc(c.r.Holders, func(h holder) bool { return h.Kind == want.Kind && h.Name == want.Name })
		switch {
		case i < 0 && !c.beyondTheList(want):
			c.problem("%s %s is no holder", want.Kind, want.Name)
		case i < 0:
		case max(c.r.Holders[i].Bytes-want.Bytes, want.Bytes-c.r.Holders[i].Bytes) > c.t.ToleranceBytes:
			c.problem("%s %s: planted %d, reported %d", want.Kind, want.Name, want.Bytes, c.r.Holders[i].Bytes)
		case c.r.Holders[i].Deleted != want.Deleted:
			c.problem("%s %s: deleted is %v", want.Kind, want.Name, c.r.Holders[i].Deleted)
		}
	}
}

// beyondTheList reports a holder that is not larger than the last of those that the
// report lists, 50 of a kind and account.
func (c *comparison) beyondTheList(want holder) bool {
	var listed []int64
	for _, h := range c.r.Holders {
		if h.Kind == want.Kind && h.Account == want.Account {
			listed = append(listed, h.Bytes)
		}
	}
	return len(listed) >= 50 && want.Bytes <= slices.Min(listed)+c.t.ToleranceBytes/50
}

// handsOn reports a kernel that hands what a removed cgroup is charged for on to
// its parent: from 7.1 on.
func handsOn(release string) bool {
	var major, minor int
	n, _ := fmt.Sscanf(release, "%d.%d", &major, &minor)
	return n == 2 && (major > 7 || major == 7 && minor >= 1)
}

// resolve returns the report's account for one of the truth: itself or its class,
// else the first listed of those that hold it on lesser kernels.
func (c *comparison) resolve(path string, within []string) (account, bool) {
	for _, p := range append([]string{path}, within...) {
		if a, ok := c.find(p); ok {
			return a, true
		}
	}
	return account{}, false
}

func keys[V any](m map[string]V) []string {
	var names []string
	for k := range m {
		names = append(names, k)
	}
	slices.Sort(names)
	return names
}

// planted are the beginnings of codes that every lab knows the truth of: what the
// kernel did to it and what it keeps. One that the truth does not name is made up.
var planted = []string{"oom.", "cgroup.", "kmem.", "kernel.advisory/", "limit.", "throttle."}

// ofTheNode reports a notice about removed cgroups of the whole node, which other
// labs may have left.
func (f finding) ofTheNode() bool {
	return f.Bytes == nil && f.Severity == "notice" && (f.Code == "cgroup.dying" || f.PartOf == "cgroup.dying")
}

// wanted is the planted cause. Where the kernel, or no census, shows the planted
// account there is none to find, and why says so.
func (c *comparison) wanted() (want *cause, why string) {
	switch {
	case c.t.Cause == nil:
		return nil, ""
	case c.fewLooks() != "":
		return nil, c.t.Cause.Code + ": " + c.fewLooks()
	case c.t.Cause.Asks && c.unread():
		return nil, c.t.Cause.Code + ": a process of it could not be asked"
	case c.t.Cause.Census && (c.r.Census == nil || !c.r.Census.Complete):
		return nil, c.t.Cause.Code + " takes a census, and there is none"
	case len(c.t.Accounts) > 0 && !slices.ContainsFunc(c.t.Accounts, func(a planting) bool { _, ok := c.find(a.Path); return ok }):
		return nil, c.t.Accounts[0].Path + " is no account here"
	}
	return c.t.Cause, ""
}

// first is the first finding that has bytes of its own.
func (c *comparison) first() *finding {
	i := slices.IndexFunc(c.r.Findings, func(f finding) bool { return f.Bytes != nil && f.PartOf == "" })
	if i < 0 {
		return nil
	}
	return &c.r.Findings[i]
}

// cause checks that the first finding that has bytes of its own is the planted one.
func (c *comparison) cause() {
	want, _ := c.wanted()
	if want == nil || len(c.t.Accounts) == 0 {
		return
	}
	switch first := c.first(); {
	case first == nil:
		c.problem("no cause is found, want %s", want.Code)
	case first.Code != want.Code:
		c.problem("the first cause is %s (%s), want %s", first.Code, first.Title, want.Code)
	default:
		c.amount(want, first)
	}
}

// amount checks the bytes of a finding, and what its title names.
func (c *comparison) amount(want *cause, got *finding) {
	cell := Cell{Account: want.Code, Compared: want.Code, Planted: c.watchedBytes(want), Reported: *got.Bytes, Tolerance: cmp.Or(want.ToleranceBytes, c.t.ToleranceBytes)}
	cell.Error = cell.Reported - cell.Planted
	c.v.Cells = append(c.v.Cells, cell)
	if !cell.OK() {
		c.problem("%s", cell)
	}
	for _, name := range want.Names {
		if !strings.Contains(got.Title, name) && !c.unread() {
			c.problem("%s does not name %q: %s", got.Code, name, got.Title)
		}
	}
}

// unread reports that a process of the target did not answer in time, and that the
// report says so: then nothing of it can be told.
func (c *comparison) unread() bool {
	return slices.ContainsFunc(c.r.NotSeen, func(n notSeen) bool {
		return strings.HasPrefix(n.Source, "/proc/") && (strings.Contains(n.Why, "got no answer") || strings.Contains(n.Source, "/smaps") && strings.HasPrefix(n.Why, "not asked"))
	})
}

// also checks the findings that have to be there, wherever.
func (c *comparison) also() {
	for i := range c.t.Also {
		want := &c.t.Also[i]
		if want.Census && (c.r.Census == nil || !c.r.Census.Complete) || c.fewLooks() != "" {
			continue
		}
		at := slices.IndexFunc(c.r.Findings, func(f finding) bool { return f.Code == want.Code && f.Bytes != nil })
		if at < 0 {
			c.problem("%s is not found", want.Code)
			continue
		}
		c.amount(want, &c.r.Findings[at])
	}
}

// findings checks that what has to be found is, and that what is not there is not.
func (c *comparison) findings() {
	for _, want := range c.t.Findings {
		if !slices.ContainsFunc(c.r.Findings, func(f finding) bool { return f.Code == want }) {
			c.problem("%s is not found", want)
		}
	}
	for _, f := range c.r.Findings {
		if c.unwanted(f) {
			c.problem("%s %s is found: %s", f.Severity, f.Code, f.Title)
		}
	}
}

// unwanted reports a finding that is more than info and that the truth knows
// nothing of.
func (c *comparison) unwanted(f finding) bool {
	known := slices.ContainsFunc(planted, func(p string) bool { return strings.HasPrefix(f.Code, p) })
	wanted := slices.Contains(c.t.Findings, f.Code) || c.t.Cause != nil && f.Code == c.t.Cause.Code ||
		slices.ContainsFunc(c.t.Also, func(a cause) bool { return a.Code == f.Code }) || f.ofTheNode()
	return f.Severity != "info" && !wanted && (known || c.t.Healthy)
}

var levels = []string{"none", "low", "raised", "high", "critical"}

var killed = regexp.MustCompile(`([0-9]+) process(?:es)? of it OOM-killed`)

func (c *comparison) risks() {
	if want := c.t.LimitOwner; want != "" {
		if got := c.r.Numbers.LimitOwner; got == nil || *got != want {
			c.problem("the deciding limit is not that of %s", want)
		}
	}
	kill, throttle := c.r.Risks.Kill, c.r.Risks.Throttle
	if want := c.t.KillAtLeast; want != "" && (!slices.Contains(levels, want) || slices.Index(levels, kill.Level) < slices.Index(levels, want)) {
		c.problem("the risk of being killed is %q, want %q or worse", kill.Level, want)
	}
	if want := c.t.Throttle; want != "" && throttle.Level != want {
		c.problem("the risk of being throttled is %q, want %q", throttle.Level, want)
	}
	count := 0
	if m := killed.FindStringSubmatch(kill.Because); m != nil {
		count, _ = strconv.Atoi(m[1])
	}
	if count != c.t.OOMKills {
		c.problem("%d processes were OOM-killed, the report says %q", c.t.OOMKills, kill.Because)
	}
}
