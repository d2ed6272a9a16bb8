package cgroupfs

import (
	"bytes"
	"errors"
	"math"
	"time"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// ParsePressure parses memory.pressure and /proc/pressure/memory. Columns that
// it does not know are skipped; the four of 4.20 must be there.
func ParsePressure(b []byte) (snapshot.Pressure, error) {
	var p snapshot.Pressure
	hasSome := false
	for line := range bytes.Lines(b) {
		kind, columns, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(" "))
		into, seen := &p.Some, &hasSome
		switch string(kind) {
		case "some":
		case "full":
			into, seen = &p.Full, &p.HasFull
		default:
			continue
		}
		if *seen {
			continue
		}
		if *into, *seen = pressureLine(columns); !*seen {
			return snapshot.Pressure{}, errors.New("expected avg10=, avg60=, avg300= and total= with numbers")
		}
	}
	if !hasSome {
		return snapshot.Pressure{}, errors.New("expected a line of some pressure")
	}
	return p, nil
}

func pressureLine(b []byte) (p snapshot.PressureLine, ok bool) {
	var seen [4]bool
	for len(b) > 0 {
		var column []byte
		column, b, _ = bytes.Cut(b, []byte(" "))
		key, value, _ := bytes.Cut(column, []byte("="))
		ok := true
		switch string(key) {
		case "avg10":
			p.Avg10, ok = percentage(value)
			seen[0] = true
		case "avg60":
			p.Avg60, ok = percentage(value)
			seen[1] = true
		case "avg300":
			p.Avg300, ok = percentage(value)
			seen[2] = true
		case "total":
			var n int64
			n, ok = snapshot.Number(value)
			ok = ok && n >= 0 && n <= math.MaxInt64/int64(time.Microsecond)
			p.Total = time.Duration(n) * time.Microsecond
			seen[3] = true
		}
		if !ok {
			return p, false
		}
	}
	return p, seen == [4]bool{true, true, true, true}
}

// percentage parses the fixed point numbers of psi_show, two digits after the
// point. One division of two exact numbers gives the nearest float64.
func percentage(b []byte) (float64, bool) {
	whole, cents, _ := bytes.Cut(b, []byte("."))
	w, ok := snapshot.Number(whole)
	if !ok || w < 0 || w > 1<<40 || len(cents) != 2 {
		return 0, false
	}
	c, ok := snapshot.Number(cents)
	return float64(100*w+c) / 100, ok && c >= 0
}
