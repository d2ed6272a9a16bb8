package identity

import (
	"bytes"
	"regexp"
	"strings"
)

// MemoryEnviron keeps of an environment, variables each followed by a NUL, those
// that tell a runtime or an allocator how to use memory, and of their values what
// is about that. Secrets live in environments: a variable is kept only if it is
// known, a word of its value only if it is an amount, a switch or a known flag.
// Keeping what is kept changes nothing.
func MemoryEnviron(environ []byte) []byte {
	var out []byte
	for v := range bytes.SplitSeq(environ, []byte{0}) {
		name, value, ok := strings.Cut(string(v), "=")
		keep := variables[name]
		if !ok || keep == nil || len(value) > maxValue {
			continue
		}
		if value = keep(value); value != "" {
			out = append(append(out, name+"="+value...), 0)
		}
	}
	return out
}

const maxValue = 16 << 10

// variables are the known ones, with what is kept of their value.
var variables = map[string]func(string) string{
	"GOGC": oneAmount, "GOMEMLIMIT": oneAmount, "GODEBUG": goDebug,
	"MALLOC_ARENA_MAX": oneAmount, "MALLOC_ARENA_TEST": oneAmount, "MALLOC_TRIM_THRESHOLD_": oneAmount,
	"MALLOC_TOP_PAD_": oneAmount, "MALLOC_MMAP_THRESHOLD_": oneAmount, "MALLOC_MMAP_MAX_": oneAmount, "GLIBC_TUNABLES": tunables,
	"MALLOC_CONF": jemalloc, "_RJEM_MALLOC_CONF": jemalloc, "JE_MALLOC_CONF": jemalloc,
	"TCMALLOC_RELEASE_RATE": oneAmount, "TCMALLOC_HEAP_LIMIT_MB": oneAmount, "TCMALLOC_MAX_TOTAL_THREAD_CACHE_BYTES": oneAmount,
	"JAVA_TOOL_OPTIONS": options, "_JAVA_OPTIONS": options, "JDK_JAVA_OPTIONS": options,
	"DOTNET_GCHeapHardLimit": oneAmount, "DOTNET_GCHeapHardLimitPercent": oneAmount, "DOTNET_GCConserveMemory": oneAmount, "DOTNET_gcServer": oneAmount,
	"COMPlus_GCHeapHardLimit": oneAmount, "COMPlus_GCConserveMemory": oneAmount, "COMPlus_gcServer": oneAmount, "MIMALLOC_PURGE_DELAY": oneAmount,
	"NODE_OPTIONS": options, "PYTHONMALLOC": word, "LD_PRELOAD": preload,
}

var (
	hexadecimal = regexp.MustCompile(`^(0x)?[0-9A-Fa-f]{1,16}$`)
	allocators  = regexp.MustCompile(`^lib(jemalloc|tcmalloc|tcmalloc_minimal|tcmalloc_and_profiler|mimalloc)\.so[.0-9]{0,8}$`)
	mallocConf  = regexp.MustCompile(`^(background_thread|dirty_decay_ms|muzzy_decay_ms|narenas|thp|metadata_thp|retain|tcache|percpu_arena|oversize_threshold|lg_tcache_max|decay_time):(-?[0-9]{1,20}|[a-z]{1,16})$`)
	tunable     = regexp.MustCompile(`^glibc\.(malloc|mem)\.[a-z_]{1,32}=(0x[0-9a-f]{1,16}|[0-9]{1,20})$`)
	goSetting   = regexp.MustCompile(`^(madvdontneed|disablethp|decoratemappings|scavtrace|gctrace|allocfreetrace|asyncpreemptoff)=[0-9]{1,4}$`)
	pyMalloc    = regexp.MustCompile(`^(default|debug|malloc|malloc_debug|pymalloc|pymalloc_debug|mimalloc|mimalloc_debug)$`)
)

func oneAmount(v string) string {
	if isAmount(v) || hexadecimal.MatchString(v) {
		return v
	}
	return ""
}

func goDebug(v string) string  { return some(v, ",", goSetting.MatchString) }
func jemalloc(v string) string { return some(v, ",", mallocConf.MatchString) }
func tunables(v string) string { return some(v, ":", tunable.MatchString) }
func word(v string) string     { return some(v, ",", pyMalloc.MatchString) }

// options are words like those of a command line.
func options(v string) string {
	return strings.Join(TrimCommand(append([]string{""}, strings.Fields(v)...))[1:], " ")
}

// preload keeps the base names of allocators.
func preload(v string) string {
	var kept []string
	for _, f := range strings.FieldsFunc(v, func(r rune) bool { return r == ':' || r == ' ' }) {
		if f = f[strings.LastIndexByte(f, '/')+1:]; allocators.MatchString(f) {
			kept = append(kept, f)
		}
	}
	return strings.Join(kept, ":")
}

// some keeps parts of a list.
func some(v, between string, keep func(string) bool) string {
	var kept []string
	for part := range strings.SplitSeq(v, between) {
		if part = strings.TrimSpace(part); keep(part) {
			kept = append(kept, part)
		}
	}
	return strings.Join(kept, between)
}
