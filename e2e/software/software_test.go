package software

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/memwhy/memwhy/e2e/judge"
)

const mib = 1 << 20

// scenario runs programs in a box until it can say what is true of it.
type scenario struct {
	name  string
	needs []string // programs
	limit int64
	run   func(b *box) truth
}

var scenarios = []scenario{
	{"redis-idle", []string{"redis-server", "redis-cli"}, 256 * mib, func(b *box) truth { newRedis(b); return healthy() }},
	{"redis-busy", []string{"redis-server", "redis-cli", "redis-benchmark"}, 512 * mib, redisBusy},
	{"redis-data", []string{"redis-server", "redis-cli"}, 512 * mib, func(b *box) truth { return redisData(b, 200) }},
	{"redis-tight", []string{"redis-server", "redis-cli"}, 256 * mib, redisTight},
	{"postgres-idle", postgres, 512 * mib, func(b *box) truth { newPostgres(b); return healthy() }},
	{"postgres-busy", postgres, 2048 * mib, postgresBusy},
	{"postgres-buffers", postgres, 2048 * mib, postgresBuffers},
	{"postgres-twice", postgres, 2048 * mib, postgresTwice},
	{"nginx-idle", []string{"nginx", "curl"}, 256 * mib, func(b *box) truth { newNginx(b); return healthy() }},
	{"nginx-files", []string{"nginx", "curl"}, 512 * mib, nginxFiles},
	{"nginx-log-deleted", []string{"nginx", "curl"}, 512 * mib, nginxLogDeleted},
	{"jvm-idle", []string{"java"}, 512 * mib, func(b *box) truth { newJVM(b, "idle", "-Xmx128m"); return healthy() }},
	{"jvm-busy", []string{"java"}, 1024 * mib, func(b *box) truth { newJVM(b, "busy", "-Xmx256m"); return healthy() }},
	{"jvm-heap", []string{"java"}, 1024 * mib, jvmHeap},
	{"node-idle", []string{"node"}, 512 * mib, nodeIdle},
	{"python-tmpfs", []string{"python3"}, 512 * mib, pythonTmpfs},
	{"python-workers", []string{"python3"}, 1024 * mib, pythonWorkers},
	{"redis-saves", []string{"redis-server", "redis-cli"}, 512 * mib, redisSaves},
	{"jvm-native", []string{"java"}, 1024 * mib, jvmNative},
	{"nginx-tree", []string{"nginx", "curl"}, 512 * mib, nginxTree},
	{"images-night", []string{"convert"}, 512 * mib, imagesNight},
	{"rsync-fills", []string{"rsync"}, 512 * mib, rsyncFills},
	{"sqlite-idle", []string{"python3"}, 512 * mib, sqliteIdle},
}

func healthy() truth { return truth{Healthy: true} }

func TestSoftware(t *testing.T) {
	kept := map[string][]byte{}
	for _, s := range scenarios {
		t.Run(s.name, func(t *testing.T) {
			for _, program := range s.needs {
				if _, err := exec.LookPath(program); err != nil {
					if os.Getenv("MEMWHY_SOFTWARE") == "required" {
						t.Fatal(err)
					}
					t.Skip(err)
				}
			}
			b := newBox(t, s.limit)
			want := s.run(b)
			others := judge.WatchEvictions(b.dir)
			want.Schema, want.Scenario, want.Cgroup = "memwhy.truth/v1", s.name, b.cgroup
			if want.Accounts == nil {
				want.Accounts = []account{}
			}
			var how []string
			if want.Watch != nil {
				how = []string{fmt.Sprintf("--watch=%ds", want.Watch.Seconds)}
			}
			_, report := b.capture(how...)
			t.Log(verdict(t, report))
			said := encode(t, want)
			var tally judge.Tally
			must(t, tally.Add(s.name, said, report))
			wrong := slices.Clone(tally.Mistakes)
			if len(want.Accounts) > 0 {
				v, err := judge.Compare(said, report)
				must(t, err)
				wrong = append(wrong, v.Problems...)
			}
			if why := others.Since(want.planted); len(wrong) > 0 && why != "" {
				t.Skipf("%s: %q", why, wrong)
			}
			for _, m := range wrong {
				t.Error(m)
			}
			if *update {
				recording, report := b.capture(append(how, "--redact")...)
				want.Cgroup = cgroup(t, report)
				small, err := trim(recording, want.Cgroup)
				must(t, err)
				kept[s.name+".capture"] = small
				kept[s.name+".truth.json"] = encode(t, want)
			}
		})
	}
	if *update && !t.Failed() {
		pack(t, kept)
	}
}

func tolerance(bytes int64) int64 { return max(bytes/50, 4*mib) }

// holds is the truth of one account that is also the cause.
func holds(path, code string, bytes, off int64) truth {
	return truth{Accounts: []account{{path, bytes}}, Cause: &cause{Code: code, Bytes: bytes}, ToleranceBytes: off}
}

type redis struct {
	*box
	socket string
}

func newRedis(b *box) redis {
	r := redis{b, filepath.Join(b.work, "redis.sock")}
	b.start("", "redis-server", "--port", "0", "--unixsocket", r.socket, "--save", "", "--appendonly", "no", "--enable-debug-command", "yes", "--dir", b.work)
	until(b.t, "redis answers", func() bool { return exec.Command("redis-cli", "-s", r.socket, "ping").Run() == nil })
	return r
}

func (r redis) ask(args ...string) string {
	r.t.Helper()
	return outside(r.t, "redis-cli", append([]string{"-s", r.socket}, args...)...)
}

// number is one of INFO.
func (r redis) number(key string) int64 {
	r.t.Helper()
	m := regexp.MustCompile(`(?m)^` + key + `:(\d+)`).FindStringSubmatch(r.ask("info", "memory"))
	if m == nil {
		r.t.Fatalf("redis says nothing of %s", key)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	must(r.t, err)
	return n
}

func redisBusy(b *box) truth {
	r := newRedis(b)
	load := exec.Command("redis-benchmark", "-s", r.socket, "-q", "-n", "10000000", "-r", "10000", "-d", "512", "-t", "set,get")
	must(b.t, load.Start())
	b.t.Cleanup(func() { _ = load.Process.Kill(); _ = load.Wait() })
	time.Sleep(time.Second)
	return healthy()
}

// redisData takes redis's own word for its data, but for what its allocator keeps
// beside.
func redisData(b *box, n int) truth {
	r := newRedis(b)
	r.ask("debug", "populate", strconv.Itoa(n), "key", "1048000") // with its header a MiB, which is a class of the allocator
	return holds("anon/other", "anon.live", r.number("used_memory"), tolerance(int64(n)*mib)*2)
}

func redisTight(b *box) truth {
	want := redisData(b, 238)
	want.Cause.Code = "limit.tight" // what the memory is comes after what it does
	return want
}

var postgres = []string{"initdb", "postgres", "psql", "pgbench", "setpriv"}

type db struct{ *box }

func newPostgres(b *box, more ...string) db {
	data := filepath.Join(b.work, "data")
	must(b.t, os.Mkdir(data, 0o777))
	must(b.t, os.Chmod(data, 0o777))
	init := exec.Command("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups", "initdb", "-A", "trust", "-N", "-D", filepath.Join(data, "pg"))
	init.Dir = b.work
	if out, err := init.CombinedOutput(); err != nil {
		b.t.Fatalf("%v: %s", err, out)
	}
	b.start("postgres", "postgres", append([]string{"-D", filepath.Join(data, "pg"), "-k", b.work, "-c", "listen_addresses="}, more...)...)
	p := db{b}
	until(b.t, "postgres answers", func() bool { return p.client("psql", "-c", "select 1").Run() == nil })
	return p
}

func (p db) client(name string, args ...string) *exec.Cmd {
	return exec.Command(name, append([]string{"-h", p.work, "-U", "postgres"}, args...)...)
}

func (p db) must(name string, args ...string) {
	p.t.Helper()
	if out, err := p.client(name, args...).CombinedOutput(); err != nil {
		p.t.Fatalf("%s: %v: %s", name, err, out)
	}
}

func postgresBusy(b *box) truth {
	p := newPostgres(b)
	p.must("pgbench", "-i", "-q", "-s", "10", "postgres")
	load := p.client("pgbench", "-T", "60", "-c", "4", "postgres")
	must(b.t, load.Start())
	b.t.Cleanup(func() { _ = load.Process.Kill(); _ = load.Wait() })
	time.Sleep(2 * time.Second)
	return healthy()
}

// postgresBuffers fills the shared buffers, of huge or small pages as they come.
func postgresBuffers(b *box) truth {
	p := newPostgres(b, "-c", "shared_buffers=256MB", "-c", "huge_pages=off", "-c", "shared_preload_libraries=", "-c", "wal_level=minimal", "-c", "max_wal_senders=0")
	p.must("psql", "-c", "create unlogged table t as select i, repeat('x', 800) s from generate_series(1, 350000) i")
	p.must("psql", "-c", "create index on t(i)")
	for range 3 {
		p.must("psql", "-c", "set enable_seqscan=off; select count(s) from t where i > 0")
	}
	// Some of the buffers stay unused, and postgres has more shared memory than them.
	return truth{Accounts: []account{{"shmem", 256 * mib}}, ToleranceBytes: 24 * mib}
}

type web struct {
	*box
	socket string
}

func newNginx(b *box) web {
	w := web{b, filepath.Join(b.work, "web.sock")}
	must(b.t, os.Mkdir(filepath.Join(b.work, "html"), 0o755))
	must(b.t, os.WriteFile(filepath.Join(b.work, "html", "index.html"), []byte("hello"), 0o644))
	conf := fmt.Sprintf(`daemon off; user root; worker_processes 2; pid %[1]s/pid; error_log %[1]s/error.log;
events { worker_connections 64; }
http { access_log %[1]s/access.log; sendfile on; client_body_temp_path %[1]s/b; proxy_temp_path %[1]s/p; fastcgi_temp_path %[1]s/f; uwsgi_temp_path %[1]s/u; scgi_temp_path %[1]s/s;
server { listen unix:%[2]s; root %[1]s/html; } }
`, b.work, w.socket)
	file := filepath.Join(b.work, "nginx.conf")
	must(b.t, os.WriteFile(file, []byte(conf), 0o644))
	b.start("", "nginx", "-p", b.work, "-c", file)
	until(b.t, "nginx answers", func() bool { return w.get("index.html").Run() == nil })
	return w
}

func (w web) get(name string) *exec.Cmd {
	return exec.Command("curl", "-sf", "-o", "/dev/null", "--unix-socket", w.socket, "http://web/"+name)
}

// forget writes a file that nobody has in memory, whoever is charged for writing it.
func forget(t *testing.T, file string, bytes int64) {
	t.Helper()
	outside(t, "dd", "if=/dev/urandom", "of="+file, "bs=1M", "count="+strconv.FormatInt(bytes/mib, 10), "oflag=direct", "status=none")
}

func nginxFiles(b *box) truth {
	w := newNginx(b)
	const files, each = 40, 4 * mib
	for i := range files {
		name := fmt.Sprintf("image-%02d.png", i)
		forget(b.t, filepath.Join(b.work, "html", name), each)
		must(b.t, w.get(name).Run())
	}
	return holds("file", "cache.cold", files*each, 8*mib)
}

// nginxLogDeleted is a log that was rotated away without telling the server.
func nginxLogDeleted(b *box) truth {
	newNginx(b)
	log := filepath.Join(b.work, "access.log")
	const size = 96 * mib
	b.run("", "dd", "if=/dev/zero", "of="+log, "bs=1M", "count="+strconv.Itoa(size/mib), "oflag=append", "conv=notrunc,fsync", "status=none")
	must(b.t, os.Remove(log))
	return holds("file", "cache.deleted-open", size, 8*mib)
}

const program = `
public class Main {
  static byte[][] kept;
  public static void main(String[] a) throws Exception {
    if (a[0].equals("heap")) {
      kept = new byte[220][];
      for (int i = 0; i < kept.length; i++) { kept[i] = new byte[1 << 20]; java.util.Arrays.fill(kept[i], (byte) i); }
    }
    System.out.println("ready");
    new java.io.File("ready").createNewFile();
    long n = 0;
    while (true) {
      if (a[0].equals("busy")) { byte[] b = new byte[100000]; n += b.length; if (n > 400L << 20) { n = 0; Thread.sleep(100); } }
      else Thread.sleep(1000);
    }
  }
}
`

func newJVM(b *box, mode string, flags ...string) {
	source := filepath.Join(b.work, "Main.java")
	must(b.t, os.WriteFile(source, []byte(program), 0o644))
	b.start("", "java", append(flags, source, mode)...)
	until(b.t, "java is ready", func() bool { _, err := os.Stat(filepath.Join(b.work, "ready")); return err == nil })
}

// jvmHeap touches its whole heap; the rest of a JVM is some 60 MiB, by no account.
func jvmHeap(b *box) truth {
	newJVM(b, "heap", "-Xms256m", "-Xmx256m", "-XX:+AlwaysPreTouch")
	return holds("anon/other", "anon.live", 290*mib, 48*mib)
}

func nodeIdle(b *box) truth {
	socket := filepath.Join(b.work, "node.sock")
	b.start("", "node", "-e", `require("http").createServer((q,r)=>r.end("hi")).listen(process.argv[1])`, socket)
	until(b.t, "node listens", func() bool { return listens(socket) })
	return healthy()
}

func listens(socket string) bool {
	c, err := net.Dial("unix", socket)
	if err == nil {
		_ = c.Close()
	}
	return err == nil
}

func pythonTmpfs(b *box) truth {
	mount := filepath.Join(b.work, "shm")
	must(b.t, os.Mkdir(mount, 0o777))
	outside(b.t, "mount", "-t", "tmpfs", "-o", "size=300M", "tmpfs", mount)
	b.t.Cleanup(func() { outside(b.t, "umount", mount) })
	const size = 120 * mib
	b.start("", "python3", "-c", strings.Join([]string{
		"import os, sys, time",
		"f = open(sys.argv[1] + '/upload', 'wb')",
		fmt.Sprintf("f.write(os.urandom(%d)); f.close()", size),
		"open(sys.argv[2] + '/ready', 'w').close()",
		"time.sleep(1000)",
	}, "\n"), mount, b.work)
	until(b.t, "python is ready", func() bool { _, err := os.Stat(filepath.Join(b.work, "ready")); return err == nil })
	return holds("shmem", "tmpfs.held", size, 6*mib)
}

func verdict(t *testing.T, report []byte) string {
	t.Helper()
	var r struct {
		Verdict  struct{ Text string }
		Findings []struct{ Severity, Code, Title string }
	}
	must(t, json.Unmarshal(report, &r))
	said := []string{r.Verdict.Text}
	for _, f := range r.Findings {
		said = append(said, f.Severity+" "+f.Code+": "+f.Title)
	}
	return strings.Join(said, "\n")
}

func cgroup(t *testing.T, report []byte) string {
	t.Helper()
	var r struct{ Target struct{ Cgroup string } }
	must(t, json.Unmarshal(report, &r))
	return r.Target.Cgroup
}
