package runtimes

import (
	"github.com/memwhy/memwhy/internal/snapshot"
	"github.com/memwhy/memwhy/internal/words"
)

// Those that are told and not looked into: Unknown says so, and Cure is what their
// own documentation has.

// v8Functions are of V8 within a program that is not called node: v8::Isolate::New.
var v8Functions = []string{"_ZN2v87Isolate3NewERKNS0_12CreateParamsE"}

func unseen(w words.Printer, p *snapshot.Process, name, file, unknown, cure string, settings ...string) Runtime {
	return Runtime{Name: name, How: w.Say("%s is mapped", file), Heap: none, Settings: variables(p, settings...), Unknown: unknown, Cure: cure}
}

func v8(w words.Printer, p *snapshot.Process, h *snapshot.Heaps, file string) Runtime {
	r := node(w, p, h, file)
	r.Name = V8
	return r
}

func ruby(w words.Printer, p *snapshot.Process, _ *snapshot.Heaps, file string) Runtime {
	r := unseen(w, p, Ruby, file, w.Say("not looked into: which slots of Ruby's heap are free, GC.stat within tells; what its objects have beside is in malloc"),
		w.Say("GC.compact, then malloc_trim(0) or MALLOC_ARENA_MAX=2 for what is in malloc; jemalloc"), "MALLOC_CONF", "LD_PRELOAD")
	r.Version = rubyFile.FindStringSubmatch(file)[1]
	return r
}

func dotnet(w words.Printer, p *snapshot.Process, _ *snapshot.Heaps, file string) Runtime {
	return unseen(w, p, DotNet, file, w.Say("not looked into: the heap of .NET, GC.GetGCMemoryInfo() or dotnet-counters within tell what of it is free"),
		w.Say("DOTNET_GCHeapHardLimit (hexadecimal) below the limit of the container; DOTNET_GCConserveMemory=5; DOTNET_gcServer=0"),
		"DOTNET_GCHeapHardLimit", "DOTNET_GCHeapHardLimitPercent", "DOTNET_GCConserveMemory", "DOTNET_gcServer", "COMPlus_GCHeapHardLimit", "COMPlus_GCConserveMemory", "COMPlus_gcServer")
}

func jemalloc(w words.Printer, p *snapshot.Process, _ *snapshot.Heaps, file string) Runtime {
	return unseen(w, p, Jemalloc, file, w.Say("not looked into: the arenas of jemalloc tell nobody outside what of them is free, but for LazyFree; malloc_stats_print() within does"),
		"MALLOC_CONF=background_thread:true,dirty_decay_ms:1000,muzzy_decay_ms:0", "MALLOC_CONF", "JE_MALLOC_CONF", "_RJEM_MALLOC_CONF", "LD_PRELOAD")
}

func tcmalloc(w words.Printer, p *snapshot.Process, _ *snapshot.Heaps, file string) Runtime {
	return unseen(w, p, Tcmalloc, file, w.Say("not looked into: the page heap of tcmalloc tells nobody outside what of it is free, MallocExtension::GetStats() within does"),
		w.Say("TCMALLOC_RELEASE_RATE=10, or MallocExtension::ReleaseFreeMemory()"), "TCMALLOC_RELEASE_RATE", "TCMALLOC_HEAP_LIMIT_MB", "TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES", "LD_PRELOAD")
}

func mimalloc(w words.Printer, p *snapshot.Process, _ *snapshot.Heaps, file string) Runtime {
	return unseen(w, p, Mimalloc, file, w.Say("not looked into: the segments of mimalloc tell nobody outside what of them is free, mi_stats_print() within does"),
		w.Say("MIMALLOC_PURGE_DELAY=0, or mi_collect(true)"), "MIMALLOC_PURGE_DELAY", "LD_PRELOAD")
}

func musl(w words.Printer, p *snapshot.Process, _ *snapshot.Heaps, file string) Runtime {
	return unseen(w, p, Musl, file, w.Say("not looked into: the groups of musl's malloc; it has no statistics, and gives whole free groups back by itself"),
		w.Say("another allocator, as mimalloc or jemalloc: musl has no setting"), "LD_PRELOAD")
}

// unrecognised is for what has none of the signs, or a malloc of its own without a
// sign of which.
func unrecognised(w words.Printer, own bool) Runtime {
	r := Runtime{
		Name: Unrecognised, Heap: none,
		How:     w.Say("no file and no function of a known one is seen"),
		Unknown: w.Say("not looked into: which allocator it is, nothing outside tells"),
		Cure:    w.Say("what its own documentation says of giving memory back; a heap profile"),
	}
	if own {
		r.How = w.Say("its executable has the function %s", "malloc")
	}
	return r
}
