package explain

import (
	"strings"
	"testing"

	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Swap that is memory does not pass for room that the node gets.
func TestSwapThatIsMemory(t *testing.T) {
	const disk, zram = "/dev/vdb", "/dev/zram0"
	for name, c := range map[string]struct {
		areas []string
		bytes int64
		want  string
	}{
		"none":      {nil, 8 << 20, ""},
		"a disk":    {[]string{disk}, 8 << 20, ""},
		"zram":      {[]string{zram}, 8 << 20, "swap is zram: of the 8.0 MiB"},
		"both":      {[]string{zram, disk}, 8 << 20, "some of the swap is zram"},
		"no matter": {[]string{zram}, 4096, ""},
		"a file":    {[]string{"/zramble/swap"}, 8 << 20, ""},
	} {
		s := &snapshot.Snapshot{}
		s.Node.Swaps.State = snapshot.Present
		for _, n := range c.areas {
			s.Node.Swaps.Value = append(s.Node.Swaps.Value, snapshot.Swap{Name: n, Bytes: 1 << 30})
		}
		got := strings.Join(swapDoubts(words.Printer{}, s, ledgerOf(0, c.bytes, acc("anon/other", 90<<20))), "\n")
		if (got == "") != (c.want == "") || !strings.HasPrefix(got, c.want) {
			t.Errorf("%s: %q, want %q", name, got, c.want)
		}
	}
}
