package identity

import (
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// commands are command lines and what is kept of them. Words are separated by
// spaces; argv[0] is p where it does not matter.
type commands map[string]string

func (cs commands) check(t *testing.T) {
	t.Helper()
	for in, want := range cs {
		got := TrimCommand(strings.Split(in, " "))
		if d := cmp.Diff(strings.Split(want, " "), got); d != "" {
			t.Errorf("%q (-want +got):\n%s", in, d)
		}
		if d := cmp.Diff(got, TrimCommand(got)); d != "" {
			t.Errorf("%q trimmed twice (-once +twice):\n%s", in, d)
		}
	}
}

func TestTrimLanguages(t *testing.T) {
	commands{
		"java -Xmx512m -Xms1G -Xss256k -Xmn1024 -jar /srv/x.jar": "java -Xmx512m -Xms1G -Xss256k -Xmn1024",
		"java -Xmxhunter2 -Xmx -Xmx5hunter2 -Xmx1g2":             "java",
		"java -XX:MaxRAMPercentage=75.0 -XX:+UseG1GC":            "java -XX:MaxRAMPercentage=75.0 -XX:+UseG1GC",
		"java -XX:MaxMetaspaceSize=256m -XX:-UseLargePages":      "java -XX:MaxMetaspaceSize=256m -XX:-UseLargePages",
		"java -XX:MaxDirectMemorySize=1g -XX:+AlwaysPreTouch":    "java -XX:MaxDirectMemorySize=1g -XX:+AlwaysPreTouch",
		"java -XX:ReservedCodeCacheSize=64m":                     "java -XX:ReservedCodeCacheSize=64m",
		"java -XX:NativeMemoryTracking=summary":                  "java -XX:NativeMemoryTracking=summary",
		"java -XX:HeapDumpPath=/srv/acme/dump":                   "java -XX:HeapDumpPath=...",
		"java -XX:+HeapDumpOnOutOfMemoryError":                   "java -XX:+HeapDumpOnOutOfMemoryError",
		"java -XX:OnError=/x -XX:Heap -XX:+Heap=1 -XX:+He/Heap":  "java",
		"java -XX:MaxRAM=... -Dio.netty.maxDirectMemory=0":       "java -XX:MaxRAM=... -Dio.netty.maxDirectMemory=0",
		"java -Dmemory.secret=1 -Ddb.password=hunter2":           "java",
		"node --max-old-space-size=4096 server.js":               "node --max-old-space-size=4096",
		"node --max_old_space_size 4096 server.js":               "node --max_old_space_size 4096",
		"node --max-semi-space-size=64 --stack-size=1000":        "node --max-semi-space-size=64 --stack-size=1000",
		"node --max-old-space-size hunter2":                      "node --max-old-space-size=...",
		"node --max-old-space-size":                              "node --max-old-space-size=...",
		"env GOGC=50 GOMEMLIMIT=1GiB MALLOC_ARENA_MAX=2 TOKEN=1": "env GOGC=50 GOMEMLIMIT=1GiB MALLOC_ARENA_MAX=2",
		"env GOGC=off GOMEMLIMIT=hunter2":                        "env GOGC=off GOMEMLIMIT=...",
		"php -d memory_limit=512M -d error_log=/x":               "php -d memory_limit=512M",
	}.check(t)
}

func TestTrimServers(t *testing.T) {
	commands{
		"redis-server --maxmemory 2gb --requirepass hunter2":           "redis-server --maxmemory 2gb",
		"redis-server -maxmemory 2gb":                                  "redis-server -maxmemory 2gb",
		"redis-server --maxmemory-policy allkeys-lru":                  "redis-server --maxmemory-policy=...",
		"postgres -c shared_buffers=8GB -c work_mem=64MB -c port=1":    "postgres -c shared_buffers=8GB -c work_mem=64MB",
		"postgres -c effective_cache_size=/x -D /srv":                  "postgres -c effective_cache_size=...",
		"postgres -c huge_pages=try --shared_buffers=1kB":              "postgres -c huge_pages=try --shared_buffers=1kB",
		"mysqld --innodb-buffer-pool-size=4G --datadir=/x":             "mysqld --innodb-buffer-pool-size=4G",
		"mysqld --innodb_buffer_pool_size=4G":                          "mysqld --innodb_buffer_pool_size=4G",
		"mongod --wiredTigerCacheSizeGB 1.5 --bind_ip_all":             "mongod --wiredTigerCacheSizeGB 1.5",
		"mongod --wiredTigerCacheSizeGB=0.25":                          "mongod --wiredTigerCacheSizeGB=0.25",
		"/usr/bin/memcached -m 64 -u acme":                             "/usr/bin/memcached -m 64",
		"memcached -m64":                                               "memcached -m64",
		"memcached -m hunter2":                                         "memcached",
		"python3 -m 64 -m http.server":                                 "python3",
		"p --memory 512m --memory=1GiB --memory=50% --memory-limit=-1": "p --memory 512m --memory=1GiB --memory=50% --memory-limit=-1",
		"p --cache-size=100MB --cache-size=true":                       "p --cache-size=100MB --cache-size=true",
	}.check(t)
}

func TestTrimKeepsNoSecret(t *testing.T) {
	commands{
		"p --memory=hunter2":        "p --memory=...",
		"p --memory= --memory":      "p --memory=... --memory=...",
		"p --memory GOGC=100":       "p --memory=... GOGC=100",
		"p --memory --max-memory 5": "p --memory=... --max-memory 5",
		"p --memory=https://u:hunter2@acme/ --memory=/etc --memory=deadbeef":        "p --memory=... --memory=... --memory=...",
		"p --memory=12345678901234567890 --memory=0x10 --memory=1e9":                "p --memory=... --memory=... --memory=...",
		"p --mymemory=1 --memory-of-acme=1 ---memory=1 -=1 =1 - -- --":              "p",
		"p hunter2 -p hunter2 --password=hunter2 postgres://u:hunter2@h/ -c select": "p",
		"p -c":                                 "p",
		"p -c --memory=1":                      "p --memory=1",
		"p --wor\u212a_mem=1 --memory=1\u212a": "p --memory=...",
	}.check(t)
}

func TestTitles(t *testing.T) {
	for in, want := range map[string]string{
		"postgres: acme payroll [local] idle": "postgres",
		"nginx: master process nginx -g x":    "nginx",
		"java -Dpassword=hunter2":             "java",
		"/usr/sbin/sshd\t-D":                  "/usr/sbin/sshd",
		"https://u:hunter2@acme":              "https",
		" hunter2":                            "",
		":hunter2":                            "",
		"a\u00a0hunter2":                      "a",
		"a\nhunter2":                          "a",
		"/usr/bin/java":                       "/usr/bin/java",
		"":                                    "",
		"\xff":                                "\xff",
	} {
		if d := cmp.Diff([]string{want}, TrimCommand([]string{in})); d != "" {
			t.Errorf("%q (-want +got):\n%s", in, d)
		}
	}
	if got := TrimCommand(nil); got != nil {
		t.Errorf("nothing became %q", got)
	}
}

func TestTrimCommandLeavesItsArgument(t *testing.T) {
	in := []string{"a: b", "--memory", "x"}
	TrimCommand(in)
	if d := cmp.Diff([]string{"a: b", "--memory", "x"}, in); d != "" {
		t.Error(d)
	}
}

// kept is what a word behind the first may look like, whoever chose it.
var kept = regexp.MustCompile(`^(-c|-d|-m[0-9]*|-X(mx|ms|mn|ss)[0-9]+[kKmMgGtT]?|-XX:[+-][A-Za-z0-9]+|(-XX:|--?)?[A-Za-z][A-Za-z0-9._-]*(=(\.\.\.|VALUE))?|VALUE)$`)

var value = regexp.MustCompile(`(^|=)(-?[0-9]{1,13}(\.[0-9]{1,6})?[A-Za-z%]{0,3}|[A-Za-z]{2,9})$`)

func FuzzTrimCommand(f *testing.F) {
	for _, s := range []string{
		"", "java -Xmx1g -XX:MaxRAM=x -XX:HeapDumpPath=/x", "node --max-old-space-size 5 --max-old-space-size x", "postgres: a b", "memcached -m 64 -m x -m5",
		"p -c work_mem=1MB -c -c work_mem=x GOGC=1 --memory --memory 5 5 -1", "\xff --memory=\xff",
	} {
		f.Add(strings.ReplaceAll(s, " ", "\x00"))
	}
	f.Fuzz(func(t *testing.T, line string) {
		args := strings.Split(line, "\x00")
		once := TrimCommand(args)
		if d := cmp.Diff(once, TrimCommand(once)); d != "" {
			t.Errorf("%q trimmed twice (-once +twice):\n%s", args, d)
		}
		if strings.ContainsAny(once[0], ": \t\n") || !strings.HasPrefix(args[0], once[0]) {
			t.Errorf("%q: the first word is %q", args, once[0])
		}
		for _, word := range once[1:] {
			if !kept.MatchString(value.ReplaceAllString(word, "${1}VALUE")) {
				t.Errorf("%q: %q was kept", args, word)
			}
		}
		redacted := testRedactor.Command(args)
		if d := cmp.Diff(redacted, TrimCommand(redacted)); d != "" {
			t.Errorf("%q redacted and trimmed (-before +after):\n%s", args, d)
		}
		if d := cmp.Diff(once[1:], redacted[1:]); d != "" {
			t.Errorf("%q: redaction changed flags (-trimmed +redacted):\n%s", args, d)
		}
		if left := survivors(args[0], redacted[0]); left != nil {
			t.Errorf("%q: %q holds %q", args[0], redacted[0], left)
		}
	})
}
