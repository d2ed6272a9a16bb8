package remedy

import (
	"strings"
	"testing"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// felt is a quiet time of ten seconds.
func felt(usage, freed int64) Felt {
	return Felt{Past: 10 * time.Second, Usage: usage * mib, Freed: freed * mib}
}

func with(f Felt, change func(*Felt)) Felt {
	change(&f)
	return f
}

func TestPace(t *testing.T) {
	const no = snapshot.Unknown
	k := Keep{To: 200 * mib, Every: 10 * time.Second}
	for name, c := range map[string]struct {
		felt []Felt
		want []int64 // MiB of each turn
		wait []int   // times Every; nil: always one
		hurt string  // of the last turn
	}{
		"below it nothing is done": {felt: []Felt{felt(150, 0), felt(200, 0)}, want: []int64{0, 0}},
		"steps double while nothing is felt": {
			felt: []Felt{felt(1000, 0), felt(984, 16), felt(952, 32), felt(888, 64)}, want: []int64{16, 32, 64, 128},
		},
		"not below what shall be kept": {felt: []Felt{felt(220, 0), felt(204, 16), felt(201, 0)}, want: []int64{16, 4, 1}},
		"a hundredth of what is large": {felt: []Felt{felt(8000, 0)}, want: []int64{80}},
		"nothing known, nothing felt": {
			felt: []Felt{felt(500, 0), with(felt(484, 16), func(f *Felt) { f.Stall, f.Reread, f.Refaults, f.MajorFaults, f.ReadBytes = -1, no, no, no, no })},
			want: []int64{16, 32},
		},
		"stalls": {
			felt: []Felt{felt(500, 0), with(felt(484, 16), func(f *Felt) { f.Stall = 11 * time.Millisecond })}, want: []int64{16, 0}, wait: []int{1, 2},
			hurt: "waited for memory for 11ms of 10s",
		},
		"a stall that is mild": {felt: []Felt{felt(500, 0), with(felt(484, 16), func(f *Felt) { f.Stall = 10 * time.Millisecond })}, want: []int64{16, 32}},
		"stalls of others' making": {
			felt: []Felt{with(felt(500, 0), func(f *Felt) { f.Stall = time.Second })}, want: []int64{0}, wait: []int{2}, hurt: "waited",
		},
		"read again": {
			felt: []Felt{felt(500, 0), with(felt(484, 16), func(f *Felt) { f.Reread = 2 * mib })}, want: []int64{16, 0}, wait: []int{1, 2}, hurt: "2.0 MiB of what was given back",
		},
		"read again later": {
			felt: []Felt{felt(500, 0), felt(484, 16), with(felt(484, 0), func(f *Felt) { f.Reread = 2 * mib })}, want: []int64{16, 32, 0}, wait: []int{1, 1, 2}, hurt: "given back",
		},
		"refaults": {
			felt: []Felt{felt(500, 0), with(felt(484, 16), func(f *Felt) { f.Refaults = 3 * mib })}, want: []int64{16, 0}, wait: []int{1, 2}, hurt: "evicted",
		},
		"refaults when nothing was done": {felt: []Felt{with(felt(500, 0), func(f *Felt) { f.Refaults = 300 * mib })}, want: []int64{16}},
		"reads as ever": {
			felt: []Felt{with(felt(500, 0), func(f *Felt) { f.ReadBytes = 100 * mib }), with(felt(484, 16), func(f *Felt) { f.ReadBytes = 101 * mib })}, want: []int64{16, 32},
		},
		"reads more": {
			felt: []Felt{with(felt(500, 0), func(f *Felt) { f.ReadBytes = 100 * mib }), with(felt(484, 16), func(f *Felt) { f.ReadBytes = 103 * mib })}, want: []int64{16, 0}, wait: []int{1, 2},
			hurt: "from disks",
		},
		"reads, and what is usual is not known": {
			felt: []Felt{with(felt(500, 0), func(f *Felt) { f.ReadBytes = no }), with(felt(484, 16), func(f *Felt) { f.ReadBytes = 103 * mib })}, want: []int64{16, 32},
		},
		"major faults": {
			felt: []Felt{felt(500, 0), with(felt(484, 16), func(f *Felt) { f.MajorFaults = 21 })}, want: []int64{16, 0}, wait: []int{1, 2}, hurt: "21 major faults",
		},
		"a guard": {
			felt: []Felt{felt(500, 0), with(felt(484, 16), func(f *Felt) { f.Guard = "stall" })}, want: []int64{16, 0}, wait: []int{1, 2}, hurt: "a guard stopped it: stall",
		},
		"backs off further, and comes back": {
			felt: []Felt{
				felt(1000, 0), felt(984, 16), with(felt(952, 32), func(f *Felt) { f.Reread = 9 * mib }), with(felt(952, 0), func(f *Felt) { f.Reread = 9 * mib }),
				felt(952, 0), felt(936, 16),
			},
			want: []int64{16, 32, 0, 0, 16, 32}, wait: []int{1, 1, 2, 3, 1, 1},
		},
	} {
		p := NewPace(words.Printer{}, k)
		for i, f := range c.felt {
			turn := p.Next(f)
			if turn.Bytes != c.want[i]*mib {
				t.Errorf("%s: turn %d gives back %d MiB, want %d", name, i, turn.Bytes/mib, c.want[i])
			}
			wait := 1
			if c.wait != nil {
				wait = c.wait[i]
			}
			if turn.Wait != time.Duration(wait)*k.Every {
				t.Errorf("%s: turn %d waits %s", name, i, turn.Wait)
			}
			if last := i == len(c.felt)-1; last && !strings.Contains(turn.Hurt, c.hurt) || last && c.hurt == "" && turn.Hurt != "" {
				t.Errorf("%s: hurt %q, want %q", name, turn.Hurt, c.hurt)
			}
		}
	}
	// However long it hurts, it looks again.
	p := NewPace(words.Printer{}, k)
	for range 20 {
		if turn := p.Next(Felt{Past: time.Second, Usage: 900 * mib, Stall: time.Second}); turn.Bytes != 0 || turn.Wait > 9*k.Every {
			t.Fatalf("%+v", turn)
		}
	}
}
