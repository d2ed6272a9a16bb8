package explain

import (
	"cmp"
	"slices"
	"strconv"
	"time"

	"github.com/memwhy/memwhy/internal/mounts"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/trend"
	"github.com/memwhy/memwhy/internal/words"
)

func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1000 }

// works are the amounts of a trend by their kinds in a report.
func works(t *trend.Trend) []struct {
	kind string
	a    trend.Amount
} {
	return []struct {
		kind string
		a    trend.Amount
	}{{"cpu", t.CPU}, {"disk-read", t.Read}, {"disk-written", t.Written}, {"calls", t.Calls}}
}

func trendOf(p words.Printer, s *snapshot.Snapshot, t *trend.Trend) *report.Trend {
	if t == nil {
		return nil
	}
	r := &report.Trend{
		From: t.From.UTC().Truncate(time.Millisecond), To: t.To.UTC().Truncate(time.Millisecond), Seconds: seconds(t.Window), Captures: t.Since,
		Lines: []report.Line{}, Counts: []report.Count{}, Movers: []report.Mover{}, Started: len(t.Started), Ended: len(t.Ended),
	}
	for i := range t.Lines {
		l := &t.Lines[i]
		row := report.Line{Path: l.Path, Shape: string(l.Shape()), BytesPerSecond: int64(l.Slope()), ChangeBytes: l.Change(), NoiseBytes: l.Noise}
		step := (len(l.Bytes) + report.MaxSamples - 1) / report.MaxSamples
		for i := 0; i < len(l.Bytes); i += step {
			row.Samples = append(row.Samples, report.Sample{Seconds: seconds(l.At[i]), Bytes: l.Bytes[i]})
		}
		r.Lines = append(r.Lines, row)
	}
	for _, c := range t.Counts {
		source, _ := name(c.Source)
		r.Counts = append(r.Counts, report.Count{Name: c.Name, Source: source, Count: c.N})
	}
	for _, x := range works(t) {
		source, _ := name(x.a.Source)
		row := report.Work{Kind: x.kind, Source: source}
		if x.a.Known {
			row.Amount = ptr(x.a.N)
		}
		r.Activity = append(r.Activity, row)
	}
	movers := slices.Clone(t.Movers)
	slices.SortStableFunc(movers, func(a, b trend.Mover) int {
		return cmp.Or(cmp.Compare(max(b.Anon, -b.Anon), max(a.Anon, -a.Anon)), cmp.Compare(b.Calls, a.Calls))
	})
	for _, m := range movers[:min(len(movers), report.MaxMovers)] {
		row := report.Mover{PID: m.Process.PID, AnonBytes: m.Anon, PartBytes: m.Grew}
		row.Name, _ = name(m.Process.Status.Value.Name)
		row.Part, _ = name(m.Part)
		if m.Calls >= 0 {
			row.ReadBytes = ptr(m.Calls)
		}
		r.Movers = append(r.Movers, row)
	}
	r.Restarted = t.Restarted
	names := mounts.New(s.Mounts)
	for i := range t.Files[:min(len(t.Files), report.MaxMovers)] {
		r.Files = append(r.Files, fileMove(&t.Files[i], names))
	}
	return r
}

func fileMove(m *trend.FileMove, names *mounts.Names) report.FileMove {
	const most = 4
	row := report.FileMove{BeforeBytes: m.Before, AfterBytes: m.After, UsedBytes: m.Used}
	f := &cached{in: m.Inode}
	p := names.Locate(m.Inode, m.Cgroup)
	file, _ := shown(f, p)
	row.Path, row.PathBytes = name(file)
	row.Name, _ = name(label(f, p, file))
	guessed := []*snapshot.Process{}
	if m.Guess != nil {
		guessed = append(guessed, m.Guess)
	}
	for _, x := range []struct {
		how string
		ps  []*snapshot.Process
	}{{"writes", m.Writers}, {"reads", m.Readers}, {"io", guessed}} {
		for _, p := range x.ps[:min(len(x.ps), most-len(row.By))] {
			row.By = append(row.By, report.User{PID: p.PID, How: x.how})
		}
	}
	return row
}

// activity says why an amount of a trend is null.
func (l *missingList) activity(t *trend.Trend) {
	if t == nil {
		return
	}
	for i, x := range works(t) {
		if !x.a.Known {
			l.add("trend.activity["+strconv.Itoa(i)+"].amount", x.a.Source, snapshot.Absent, l.Of(cmp.Or(x.a.Why, words.Key("it does not go on"))), l.Say("what its tasks did meanwhile: %s", x.kind))
		}
	}
}
