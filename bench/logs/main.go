// Command logs measures how fast a kernel log is parsed: a log of many lines with
// a few OOM kills, beside the barest loops over its lines, in turns in one run. It
// prints ratios; the speeds are those of the machine and of the moment.
package main

import (
	"bufio"
	"bytes"
	"flag"
	"fmt"
	"log"
	"os"
	"runtime"
	"slices"
	"time"

	"github.com/memwhy/memwhy/internal/kernel/kmsg"
)

func main() {
	mib := flag.Int("mib", 256, "size of the log")
	rounds := flag.Int("rounds", 7, "of each way")
	report := flag.String("report", "../internal/kernel/kmsg/testdata/el7-1062-pod-limit.log", "the OOM report that is in it, once in 40 000 lines")
	flag.Parse()
	if err := run(*mib, *rounds, *report); err != nil {
		log.Fatal(err)
	}
}

var quiet = [...]string{
	"Nov 24 10:00:00 node1 kubelet[1200]: I1124 10:00:00.123456    1200 kubelet.go:2100] SyncLoop (PLEG): event for pod web-7d9f7a52_default\n",
	"Nov 24 10:00:00 node1 kernel: [12345.678901] IPv6: ADDRCONF(NETDEV_CHANGE): veth0d9f7a52: link becomes ready\n",
	"Nov 24 10:00:01 node1 dockerd[800]: time=\"2024-11-24T10:00:01Z\" level=info msg=\"ignoring event\" container=8d2c5b0a7f6e4d3c2b1a\n",
	"Nov 24 10:00:01 node1 systemd[1]: Started libcontainer container 8d2c5b0a7f6e4d3c2b1a09182736455463728190a0b1c2d3e4f5.\n",
}

// generate makes a log; the kernel's lines are those of the report.
func generate(mib int, report string) ([]byte, int, error) {
	oom, err := os.ReadFile(report)
	if err != nil {
		return nil, 0, err
	}
	b, ooms := make([]byte, 0, (mib+1)<<20), 0
	for i := 0; len(b) < mib<<20; i++ {
		if i%40_000 == 20_000 {
			b = append(b, oom...)
			ooms++
		}
		b = append(b, quiet[i%len(quiet)]...)
	}
	return b, ooms, nil
}

func run(mib, rounds int, report string) error {
	b, ooms, err := generate(mib, report)
	if err != nil {
		return err
	}
	ways := []struct {
		name string
		do   func([]byte) int
	}{
		{"kmsg", parse}, {"bytes.IndexByte loop", bare}, {"bufio.Scanner loop", scanner},
	}
	times := make([][]time.Duration, len(ways))
	for range rounds {
		for i, w := range ways {
			start := time.Now()
			if n := w.do(b); n == 0 || i == 0 && n != ooms {
				return fmt.Errorf("%s: found %d, %d are in it", w.name, n, ooms)
			}
			times[i] = append(times[i], time.Since(start))
		}
	}
	best := func(i int) float64 { return slices.Min(times[i]).Seconds() }
	fmt.Printf("a log of %d MiB, %d OOM reports, best of %d\n", mib, ooms, rounds)
	for i, w := range ways {
		fmt.Printf("  %-22s %6.0f MB/s  kmsg takes %.1fx its time\n", w.name, float64(len(b))/1e6/best(i), best(0)/best(i))
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	parse(b)
	runtime.ReadMemStats(&after)
	fmt.Printf("  kmsg allocates %d KiB for all of it\n", (after.TotalAlloc-before.TotalAlloc)>>10)
	return nil
}

func parse(b []byte) int {
	p := kmsg.New(4096)
	for len(b) > 0 {
		n := min(256<<10, len(b))
		_, _ = p.Write(b[:n])
		b = b[n:]
	}
	return len(p.Close().Records)
}

func bare(b []byte) int {
	lines := 0
	for {
		i := bytes.IndexByte(b, '\n')
		if i < 0 {
			return lines
		}
		b = b[i+1:]
		lines++
	}
}

func scanner(b []byte) int {
	s, lines := bufio.NewScanner(bytes.NewReader(b)), 0
	for s.Scan() {
		lines++
	}
	return lines
}
