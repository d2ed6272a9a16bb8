package diagnose

import (
	"testing"

	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// The rules alone, with as many records as a log keeps, all of this target.
func BenchmarkFind(b *testing.B) {
	var records []snapshot.LogRecord
	for range 1000 {
		records = append(records, kill("/kubepods/pod1/app", "/kubepods/pod1/app"))
	}
	s := node(records...)
	w, err := ledger.Explain(s)
	if err != nil {
		b.Fatal(err)
	}
	n := advisory.Look(words.Printer{}, s)
	judged, err := n.ForTarget()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if len(Find(words.Printer{}, s, w, n, judged)) != 1 {
			b.Fatal("not one finding")
		}
	}
}

// The same with a census that found many files.
func BenchmarkFindInCensus(b *testing.B) {
	var files []snapshot.CensusInode
	var states []snapshot.PageState
	for i := range 10_000 {
		files = append(files, snapshot.CensusInode{Number: uint64(i), Path: "/a"})
		states = append(states, snapshot.PageState{Bytes: 4096})
	}
	s := censused(charged(200, "file", 90, "anon", 10), files, states)
	w, err := ledger.Explain(s)
	if err != nil {
		b.Fatal(err)
	}
	n := advisory.Look(words.Printer{}, s)
	judged, err := n.ForTarget()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if len(Find(words.Printer{}, s, w, n, judged)) == 0 {
			b.Fatal("no finding")
		}
	}
}
