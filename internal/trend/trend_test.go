package trend

import (
	"testing"
	"time"
)

const mib = 1 << 20

func made(noise int64, mibs ...float64) *Line {
	l := &Line{Noise: noise}
	for i, n := range mibs {
		l.At = append(l.At, time.Duration(i)*time.Second)
		l.Bytes = append(l.Bytes, int64(n*mib))
	}
	return l
}

func TestShapes(t *testing.T) {
	for name, c := range map[string]struct {
		want Shape
		l    *Line
	}{
		"noise":             {Flat, made(mib, 50, 50.5, 49.8, 50.2, 50, 50.6)},
		"leak":              {Rising, made(mib, 50, 52, 54, 56, 58, 60, 62, 64, 66)},
		"leak in bursts":    {Rising, made(mib, 50, 50, 53, 53, 56, 56, 59, 59, 62, 62)},
		"leak, one outlier": {Rising, made(mib, 50, 52, 54, 56.5, 56, 60, 62, 64, 66)},
		"plateau":           {Plateau, made(mib, 50, 60, 70, 80, 80, 80, 80, 80, 80, 80)},
		"one jump, late":    {Unsettled, made(mib, 50, 50, 50, 50, 50, 50, 50, 50, 90)},
		"collector":         {Sawtooth, made(mib, 50, 60, 70, 50, 60, 70, 50, 60, 70)},
		"floor that rises":  {Rising, made(mib, 50, 70, 55, 75, 60, 80, 65, 85, 70, 90)},
		"given back":        {Falling, made(mib, 90, 80, 70, 60, 50, 40)},
		"peak":              {Falling, made(mib, 50, 60, 70, 60, 50, 40, 30)},
		"two looks, up":     {Rising, made(mib, 50, 60)},
		"three looks, up":   {Rising, made(mib, 50, 60, 70)},
		"four looks, stop":  {Plateau, made(mib, 50, 60, 60, 60)},
		"four looks, late":  {Rising, made(mib, 50, 50, 50, 60)},
		"two looks, down":   {Falling, made(mib, 50, 40)},
		"two looks, same":   {Flat, made(mib, 50, 50.9)},
		"one look":          {Flat, made(mib, 50)},
		"none":              {Flat, made(mib)},
	} {
		if got := c.l.Shape(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}

// Up to a quarter of the samples may be wrong in any way.
func TestSlopeIsRobust(t *testing.T) {
	l := made(0, 0, 1, 2, 3, 900, 5, 6, 7, 8)
	if got := l.Slope() / mib; got < 0.99 || got > 1.01 {
		t.Errorf("%f MiB/s", got)
	}
	if got := made(0, 5).Slope(); got != 0 {
		t.Errorf("one look has a slope: %f", got)
	}
}

// Looks that are far apart at first, as the first one takes long, leave no doubt about
// what goes on at the end.
func TestUnevenLooks(t *testing.T) {
	for name, c := range map[string]struct {
		at   []float64
		mibs []float64
		want Shape
	}{
		"rising":         {[]float64{0, 4.5, 4.8}, []float64{50, 95, 98}, Rising},
		"a last that is": {[]float64{0, 1, 4.8}, []float64{50, 60, 98}, Rising},
		"stopped":        {[]float64{0, 2, 3, 4.8}, []float64{50, 70, 70, 70}, Plateau},
		"five of them":   {[]float64{0, 4.4, 4.5, 4.6, 4.8}, []float64{50, 94, 95, 96, 98}, Unsettled},
	} {
		l := made(mib, c.mibs...)
		for i, s := range c.at {
			l.At[i] = time.Duration(s * float64(time.Second))
		}
		if got := l.Shape(); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
