package size

import "testing"

func TestText(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 1: "1 B", -1: "-1 B", 1023: "1023 B", 4096: "4 KiB", -8192: "-8 KiB",
		MiB / 2: "0.5 MiB", 162 * MiB: "162.0 MiB", 2 * GiB: "2048.0 MiB", 128 * GiB: "128.0 GiB",
		-MiB: "-1.0 MiB", Unlimited: "unlimited",
	} {
		if got := Text(n); got != want {
			t.Errorf("Text(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestSpanHasOneUnit(t *testing.T) {
	for _, c := range []struct {
		lo, hi int64
		want   string
	}{
		{58 * MiB, 60 * MiB, "58.0-60.0 MiB"},
		{0, 60 * MiB, "0.0-60.0 MiB"},
		{4096, 8192, "4 KiB-8 KiB"},
		{50 * GiB, 128 * GiB, "50.0-128.0 GiB"},
	} {
		if got := Span(c.lo, c.hi); got != c.want {
			t.Errorf("Span(%d, %d) = %q, want %q", c.lo, c.hi, got, c.want)
		}
	}
}

func TestMiBsKeepTheirColumn(t *testing.T) {
	for n, want := range map[int64]string{0: "0.0", MiB: "1.0", 99 * GiB: "101376", 90 * GiB: "92160.0", 4 * TiB: "4194304"} {
		if got := MiBs(n); got != want {
			t.Errorf("MiBs(%d) = %q, want %q", n, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	for s, want := range map[string]int64{"4096": 4096, "64M": 64 * MiB, "1.5GiB": 3 * GiB / 2, " 2 ki ": 2048, "1t": TiB} {
		if got, err := Parse(s); err != nil || got != want {
			t.Errorf("Parse(%q) = %d, %v; want %d", s, got, err, want)
		}
	}
	for _, s := range []string{"", "M", "-1", "1..2", "12x", "99999999999T", "NaN"} {
		if got, err := Parse(s); err == nil {
			t.Errorf("Parse(%q) = %d, want an error", s, got)
		}
	}
}

func TestPercentOfNothingIsUnknown(t *testing.T) {
	if got := Percent(5, 0); got != "?" {
		t.Errorf("Percent(5, 0) = %q", got)
	}
	if got := Percent(1, 3); got != "33%" {
		t.Errorf("Percent(1, 3) = %q", got)
	}
}

func TestPlausibleSumsCannotOverflow(t *testing.T) {
	var sum int64
	for range 100 {
		sum += 1 << 56
	}
	if sum < 0 || Plausible(-1) || Plausible(1<<56+1) || !Plausible(1<<56) {
		t.Errorf("sum %d", sum)
	}
}
