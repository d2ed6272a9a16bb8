package identity

import (
	"bytes"
	"strings"
	"testing"
)

func TestMemoryEnviron(t *testing.T) {
	for in, want := range map[string]string{
		"":               "",
		"PATH=/bin":      "",
		"GOGC=50":        "GOGC=50|",
		"GOGC=off":       "GOGC=off|",
		"GOGC=my secret": "",
		"GOMEMLIMIT=300MiB|AWS_SECRET_ACCESS_KEY=hunter2|GODEBUG=madvdontneed=0,x509ignoreCN=0":       "GOMEMLIMIT=300MiB|GODEBUG=madvdontneed=0|",
		"JAVA_TOOL_OPTIONS=-Xmx512m -Dpassword=hunter2 -javaagent:/opt/x.jar -XX:MaxRAMPercentage=70": "JAVA_TOOL_OPTIONS=-Xmx512m -XX:MaxRAMPercentage=70|",
		"NODE_OPTIONS=--require /x/y.js --max-old-space-size=300":                                     "NODE_OPTIONS=--max-old-space-size=300|",
		"MALLOC_ARENA_MAX=2|MALLOC_ARENA_MAX_=3|MALLOC_TRIM_THRESHOLD_=131072":                        "MALLOC_ARENA_MAX=2|MALLOC_TRIM_THRESHOLD_=131072|",
		"GLIBC_TUNABLES=glibc.malloc.arena_max=1:glibc.cpu.hwcaps=-AVX":                               "GLIBC_TUNABLES=glibc.malloc.arena_max=1|",
		"MALLOC_CONF=dirty_decay_ms:1000,prof_prefix:/home/me,muzzy_decay_ms:0":                       "MALLOC_CONF=dirty_decay_ms:1000,muzzy_decay_ms:0|",
		"LD_PRELOAD=/usr/lib/libjemalloc.so.2:/home/me/secret.so":                                     "LD_PRELOAD=libjemalloc.so.2|",
		"PYTHONMALLOC=malloc":  "PYTHONMALLOC=malloc|",
		"PYTHONMALLOC=hunter2": "",
		"GOGC":                 "",
	} {
		got := MemoryEnviron([]byte(strings.ReplaceAll(in, "|", "\x00")))
		if s := strings.ReplaceAll(string(got), "\x00", "|"); s != want {
			t.Errorf("%q: %q, want %q", in, s, want)
		}
	}
}

func FuzzMemoryEnviron(f *testing.F) {
	f.Add([]byte("GOGC=1\x00JAVA_TOOL_OPTIONS=-Xmx1g -Dhunter2=hunter2\x00LD_PRELOAD=x/libjemalloc.so.2\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		once := MemoryEnviron(b)
		if len(once) > len(b)+1 {
			t.Errorf("%q grew to %q", b, once)
		}
		if twice := MemoryEnviron(once); !bytes.Equal(once, twice) {
			t.Errorf("%q, then %q", once, twice)
		}
		if bytes.Contains(once, []byte("hunter2")) {
			t.Errorf("%q", once)
		}
	})
}
