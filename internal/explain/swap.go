package explain

import (
	"path"
	"strings"

	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/size"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// swapDoubts says where swap is memory too: what a cgroup swaps out to zram leaves its
// usage and not the node (linux drivers/block/zram charges nobody).
func swapDoubts(p words.Printer, s *snapshot.Snapshot, w *ledger.Whole) []string {
	areas, _ := s.Node.Swaps.Get()
	var all, zram int64
	for _, a := range areas {
		all += a.Bytes
		if strings.HasPrefix(path.Base(a.Name), "zram") {
			zram += a.Bytes
		}
	}
	if zram == 0 || w.ReclaimableSwap < 1<<20 {
		return nil
	}
	if zram < all {
		return []string{p.Say("some of the swap is zram: what goes there stays in the node's memory, compressed, and is charged to nobody")}
	}
	return []string{p.Say("swap is zram: of the %s that can be swapped out the compressed rest stays in the node's memory, charged to nobody", size.Text(w.ReclaimableSwap))}
}
