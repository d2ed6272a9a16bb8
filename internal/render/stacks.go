package render

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"github.com/google/pprof/profile"

	"github.com/memwhy/memwhy/internal/printable"
	"github.com/memwhy/memwhy/internal/report"
)

// Folded renders stacks as lines of frames and bytes, as flame graph programs read
// them. Equal stacks are one line.
func Folded(stacks []report.Stack) []byte {
	sums := map[string]int64{}
	var order []string
	for _, s := range stacks {
		frames := make([]string, len(s.Frames))
		for i, f := range s.Frames {
			frames[i] = strings.ReplaceAll(printable.Text(f), ";", `\x3b`)
		}
		key := strings.Join(frames, ";")
		if _, ok := sums[key]; !ok {
			order = append(order, key)
		}
		sums[key] += s.Bytes
	}
	slices.Sort(order)
	var b bytes.Buffer
	for _, key := range order {
		fmt.Fprintf(&b, "%s %d\n", key, sums[key])
	}
	return b.Bytes()
}

// Pprof renders stacks as a profile of bytes, of those that can be reclaimed and of
// those that are dirty.
func Pprof(stacks []report.Stack) ([]byte, error) {
	p := &profile.Profile{DefaultSampleType: "bytes"}
	for _, kind := range []string{"bytes", "reclaimable", "dirty"} {
		p.SampleType = append(p.SampleType, &profile.ValueType{Type: kind, Unit: "bytes"})
	}
	known := map[string]*profile.Location{}
	location := func(name string) *profile.Location {
		l := known[name]
		if l == nil {
			text := printable.Text(name)
			f := &profile.Function{ID: uint64(len(p.Function) + 1), Name: text, SystemName: text}
			l = &profile.Location{ID: uint64(len(p.Location) + 1), Line: []profile.Line{{Function: f}}}
			p.Function, p.Location = append(p.Function, f), append(p.Location, l)
			known[name] = l
		}
		return l
	}
	for _, s := range stacks {
		sample := &profile.Sample{Value: []int64{s.Bytes, s.Reclaimable, s.Dirty}}
		for i, f := range slices.Backward(s.Frames) { // the innermost first
			if i == len(s.Frames)-1 {
				f = s.File // equal names of several files are several functions
			}
			sample.Location = append(sample.Location, location(f))
		}
		p.Sample = append(p.Sample, sample)
	}
	if err := p.CheckValid(); err != nil {
		return nil, fmt.Errorf("make a profile: %w", err)
	}
	var b bytes.Buffer
	if err := p.Write(&b); err != nil {
		return nil, fmt.Errorf("write the profile: %w", err)
	}
	return b.Bytes(), nil
}
