package wire

import (
	"testing"

	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/diagnose"
	"github.com/memwhy/memwhy/internal/gather"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/words"
)

// The rules over 500 containers: those of a recorded one, each with its ledger and
// its judged advisories, without reading and balancing. 50 ms an operation is the
// budget.
func BenchmarkRulesOf500Containers(b *testing.B) {
	n, err := Open(b.Context(), Options{From: "testdata/linux-6.18-v1-kinds.capture"})
	if err != nil {
		b.Fatal(err)
	}
	defer n.Close()
	s, err := gather.Explain(n.Source, "", gather.Options{})
	if err != nil {
		b.Fatal(err)
	}
	w, err := ledger.Explain(s)
	if err != nil {
		b.Fatal(err)
	}
	node := advisory.Look(words.Printer{}, s)
	judged, err := node.ForTarget()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for range 500 {
			found := diagnose.Find(words.Printer{}, s, w, node, judged)
			if len(found) == 0 || len(diagnose.Suspicions(words.Printer{}, s, w, found)) != 5 {
				b.Fatal("nothing is found")
			}
		}
	}
}
