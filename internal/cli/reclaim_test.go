package cli

import "testing"

func TestAmount(t *testing.T) {
	for text, want := range map[string]int64{"200MiB": 200 << 20, "1.5GiB": 3 << 29, "4096": 4096, "10k": 10240, "1GB": 1e9, "0": 0} {
		if n, p, err := amount(text); n != want || p != 0 || err != nil {
			t.Errorf("%q: %d, %v, %v", text, n, p, err)
		}
	}
	if n, p, err := amount("60%"); n != 0 || p != 60 || err != nil {
		t.Errorf("60%%: %d, %v, %v", n, p, err)
	}
	for _, text := range []string{"", "NaN", "-1", "+1", "1e30", "Inf", "0x10", "1.5.2", "200%", "0%", "9999999TiB", "12 MiB", "MiB", "10q", "1%%", "5bb"} {
		if n, p, err := amount(text); err == nil {
			t.Errorf("%q: %d, %v", text, n, p)
		}
	}
}
