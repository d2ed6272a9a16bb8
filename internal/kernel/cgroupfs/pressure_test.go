package cgroupfs

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

func TestParsePressure(t *testing.T) {
	some := snapshot.PressureLine{Avg10: 12.34, Avg60: 0.07, Avg300: 99.99, Total: 123456789 * time.Microsecond}
	full := snapshot.PressureLine{Avg10: 0.29, Avg300: 100, Total: time.Microsecond}
	for _, tt := range []struct {
		file string
		want snapshot.Pressure
	}{
		{string(fixture(t, "memory.pressure", "6.1-v2-made")), snapshot.Pressure{Some: some, Full: full, HasFull: true}},
		{string(fixture(t, "memory.pressure", "6.18")), snapshot.Pressure{HasFull: true}},
		{string(fixture(t, "memory.pressure", "6.18-cpu")), snapshot.Pressure{
			Some: snapshot.PressureLine{Avg10: 0.03, Avg60: 2.45, Avg300: 2.38, Total: 25373350 * time.Microsecond}, HasFull: true,
		}},
		{"some avg10=12.34 avg60=0.07 avg300=99.99 total=123456789\n", snapshot.Pressure{Some: some}},
		{"later new=1\nsome new=x avg300=99.99 avg60=0.07 avg10=12.34 total=123456789", snapshot.Pressure{Some: some}},
	} {
		got, err := ParsePressure([]byte(tt.file))
		if diff := cmp.Diff(tt.want, got); err != nil || diff != "" {
			t.Errorf("%q: %v (-want +got):\n%s", tt.file, err, diff)
		}
	}
}

func TestParsePressureRefusesJunk(t *testing.T) {
	for _, junk := range []string{
		"", "\n", "some\n", "full avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
		"some avg10=0.00 avg60=0.00 total=0\n", "some avg10=0.0 avg60=0.00 avg300=0.00 total=0\n",
		"some avg10=-1.00 avg60=0.00 avg300=0.00 total=0\n", "some avg10=NaN avg60=0.00 avg300=0.00 total=0\n",
		"some avg10=0.-1 avg60=0.00 avg300=0.00 total=0\n", "some avg10=0.00 avg60=0.00 avg300=0.00 total=18446744073709551615\n",
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=9223372036854775807\n",
	} {
		if got, err := ParsePressure([]byte(junk)); err == nil || got != (snapshot.Pressure{}) {
			t.Errorf("%q: %v, want an error", junk, got)
		}
	}
}

func FuzzParsePressure(f *testing.F) {
	seed(f, "memory.pressure")
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePressure(b)
		if err != nil {
			return
		}
		for _, l := range []snapshot.PressureLine{p.Some, p.Full} {
			for _, avg := range []float64{l.Avg10, l.Avg60, l.Avg300} {
				if !(avg >= 0) || math.IsInf(avg, 0) {
					t.Errorf("average %v", avg)
				}
			}
			if l.Total < 0 || l.Total%time.Microsecond != 0 {
				t.Errorf("total %v", l.Total)
			}
		}
		if !p.HasFull && p.Full != (snapshot.PressureLine{}) {
			t.Errorf("no full line, but %v", p.Full)
		}
	})
}
