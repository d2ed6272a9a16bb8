package software

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// calm are the answers to the suspicion of a leak where there is none.
var calm = []string{"unlikely", "ruled-out"}

// at is a look of so many seconds, from now on.
func at(seconds int, line, shape string) *watch {
	return &watch{Seconds: seconds, Since: time.Now(), Line: line, Shape: shape, Leak: calm}
}

func exists(file string) func() bool {
	return func() bool { _, err := os.Stat(file); return err == nil }
}

// pythonWorkers fork from one that has much, and touch all of it: the counters of
// references are in the objects, so each gets its own copy.
func pythonWorkers(b *box) truth {
	const objects, each = 60_000, 1000
	b.start("", "python3", "-c", strings.Join([]string{
		"import multiprocessing, sys, time",
		fmt.Sprintf("kept = [bytes(%d) + str(i).encode() for i in range(%d)]", each, objects),
		"def work(n):",
		"    for x in kept: len(x)",
		"    open(sys.argv[1] + '/ready-%d' % n, 'w').close()",
		"    time.sleep(1000)",
		"for n in range(3): multiprocessing.Process(target=work, args=(n,)).start()",
		"time.sleep(1000)",
	}, "\n"), b.work)
	for n := range 3 {
		until(b.t, "the workers are ready", exists(filepath.Join(b.work, "ready-"+strconv.Itoa(n))))
	}
	// Each object takes some 50 bytes beside its contents, and each Python some 8 MiB.
	want := holds("anon/other", "anon.live", 4*(objects*(each+70)+8*mib), 32*mib)
	want.Cause.Names = []string{"4 processes of python3"}
	return want
}

// redisSaves is looked at while a fork of it writes the data out, slowly.
func redisSaves(b *box) truth {
	want := redisData(b, 150)
	r := redis{b, filepath.Join(b.work, "redis.sock")}
	r.ask("config", "set", "rdb-key-save-delay", "500000")
	r.ask("bgsave")
	until(b.t, "redis saves", func() bool { return strings.Contains(r.ask("info", "persistence"), "rdb_bgsave_in_progress:1") })
	want.Cause.Names = []string{"redis-server", "is a fork of"}
	return want
}

const nativeProgram = `
import java.nio.*;
import java.util.*;
public class Main {
  static List<ByteBuffer> kept = new ArrayList<>();
  public static void main(String[] a) throws Exception {
    for (int i = 0; i < 220; i++) {
      ByteBuffer b = ByteBuffer.allocateDirect(1 << 20);
      for (int k = 0; k < b.capacity(); k += 4096) b.put(k, (byte) 1);
      kept.add(b);
    }
    new java.io.File("ready").createNewFile();
    while (true) Thread.sleep(1000);
  }
}
`

// jvmNative holds direct buffers, beside a small heap.
func jvmNative(b *box) truth {
	source := filepath.Join(b.work, "Main.java")
	must(b.t, os.WriteFile(source, []byte(nativeProgram), 0o644))
	b.start("", "java", "-Xmx64m", "-XX:MaxDirectMemorySize=256m", source)
	until(b.t, "java is ready", exists(filepath.Join(b.work, "ready")))
	want := holds("anon/other", "anon.live", 270*mib, 40*mib)
	want.Cause.Names = []string{"is the heap that the JVM accounts for"}
	return want
}

// nginxTree serves many small files, of which none is worth a line.
func nginxTree(b *box) truth {
	w := newNginx(b)
	const files, each = 600, 256 << 10
	dir := filepath.Join(b.work, "html", "gallery")
	must(b.t, os.Mkdir(dir, 0o755))
	blob := filepath.Join(b.work, "blob")
	forget(b.t, blob, files*each)
	outside(b.t, "split", "-b", strconv.Itoa(each), "-a", "4", "-d", blob, filepath.Join(dir, "thumb-"))
	for i := range files { // whoever split it has it in memory: out with it, so that the server is charged
		forgetFile(b, filepath.Join(dir, fmt.Sprintf("thumb-%04d", i)))
	}
	for i := range files {
		must(b.t, w.get(fmt.Sprintf("gallery/thumb-%04d", i)).Run())
	}
	must(b.t, os.Remove(blob))
	want := holds("file", "cache.cold", files*each, 8*mib)
	want.Cause.Census, want.Cause.Names = true, []string{"in 600 files below " + dir}
	return want
}

// forgetFile has the kernel drop the cache of one file.
func forgetFile(b *box, file string) {
	out, err := exec.Command("dd", "if="+file, "iflag=nocache", "count=0", "status=none").CombinedOutput()
	if err != nil {
		b.t.Fatalf("%v: %s", err, out)
	}
	out, err = exec.Command("dd", "of="+file, "oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none").CombinedOutput()
	if err != nil {
		b.t.Fatalf("%v: %s", err, out)
	}
}

// imagesNight is the story that memwhy began with: images are rendered into files, and
// then the night comes.
func imagesNight(b *box) truth {
	const images = 8
	script := fmt.Sprintf("for i in $(seq %d); do convert -size 1400x1400 plasma:red-blue source-$i.png; convert source-$i.png -resize 50%% small-$i.jpg; done; sync source-*; touch ready; exec sleep 1000", images)
	b.start("", "sh", "-c", script)
	for range 4 { // half a minute each
		if exists(filepath.Join(b.work, "ready"))() {
			break
		}
		time.Sleep(10 * time.Second)
	}
	until(b.t, "all images are rendered", exists(filepath.Join(b.work, "ready")))
	var sum int64
	list, err := filepath.Glob(filepath.Join(b.work, "*-*.*"))
	must(b.t, err)
	for _, file := range list {
		st, err := os.Stat(file)
		must(b.t, err)
		sum += (st.Size() + 4095) &^ 4095
	}
	// The program's own files may be charged here, or to whoever used them before.
	want := holds("file", "cache.idle-held", sum, 20*mib)
	want.Cause.Census, want.Cause.Names = true, []string{"files below " + b.work}
	want.Watch = at(4, "anon", "flat")
	want.Healthy = true
	return want
}

// rsyncFills copies at 8 MiB a second.
func rsyncFills(b *box) truth {
	source := filepath.Join(b.t.TempDir(), "dump")
	forget(b.t, source, 200*mib)
	b.start("", "rsync", "--bwlimit=8192", source, filepath.Join(b.work, "copy"))
	time.Sleep(1500 * time.Millisecond)
	return truth{
		Accounts: []account{}, Findings: []string{"cache.filling"}, Watch: at(5, "file", "rising"), ToleranceBytes: 16 * mib,
		Also: []cause{{Code: "cache.filling", Census: true, BytesPerSecond: 8 * mib * 2, ToleranceBytes: 60 * mib, Names: []string{"rsync"}}},
	}
}

// sqliteIdle made a database and keeps it open: its pages are cache, its own copy of
// them is small.
func sqliteIdle(b *box) truth {
	file := filepath.Join(b.work, "data.db")
	b.start("", "python3", "-c", strings.Join([]string{
		"import sqlite3, sys, os, time",
		"c = sqlite3.connect(sys.argv[1])",
		"c.execute('create table t(i integer primary key, s text)')",
		"c.executemany('insert into t values(?,?)', ((i, 'x' * 900) for i in range(120000)))",
		"c.commit(); os.sync()",
		"open(sys.argv[1] + '.ready', 'w').close()",
		"time.sleep(1000)",
	}, "\n"), file)
	until(b.t, "the database is made", exists(file+".ready"))
	st, err := os.Stat(file)
	must(b.t, err)
	want := holds("file", "cache.idle-held", st.Size(), 8*mib)
	want.Cause.Census, want.Cause.Names = true, []string{"most of it is " + file}
	want.Watch = at(3, "file", "flat")
	want.Healthy = true
	want.planted = map[string]int64{file: st.Size()}
	return want
}

// postgresTwice scans a table that is in its shared buffers and in the page cache.
func postgresTwice(b *box) truth {
	p := newPostgres(b, "-c", "shared_buffers=128MB", "-c", "huge_pages=off", "-c", "wal_level=minimal", "-c", "max_wal_senders=0")
	p.must("psql", "-c", "create unlogged table t as select i, repeat('x', 800) s from generate_series(1, 220000) i")
	p.must("psql", "-c", "create index on t(i)", "-c", "checkpoint")
	scan := filepath.Join(b.work, "scan.sql")
	must(b.t, os.WriteFile(scan, []byte("set enable_seqscan=off; set max_parallel_workers_per_gather=0; select count(s) from t where i > 0;\n"), 0o644))
	load := p.client("pgbench", "-n", "-f", scan, "-T", "60", "postgres")
	must(b.t, load.Start())
	b.t.Cleanup(func() { _ = load.Process.Kill(); _ = load.Wait() })
	time.Sleep(5 * time.Second)
	return truth{
		Accounts: []account{{"shmem", 128 * mib}}, ToleranceBytes: 24 * mib, Watch: at(4, "", ""), Healthy: true, // what a query takes comes and goes
		Also: []cause{{Code: "tmpfs.held", Bytes: 128 * mib, Census: true, Names: []string{"postgres", "may be in memory twice"}}},
	}
}
