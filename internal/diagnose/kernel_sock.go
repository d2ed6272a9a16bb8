package diagnose

import (
	"github.com/memwhy/memwhy/internal/ledger"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/size"
)

var kernelSock = Rule{
	Code:    codeSock,
	Title:   "network buffers",
	Noun:    "network buffers",
	NoBytes: "the cgroup's counters could not be read",
	find:    sockets,
	Doc: Doc{
		Means: `Data in the queues of TCP and UDP sockets: received and not yet read, or sent and not yet acknowledged. The container whose process made or accepted the socket pays. ` +
			`Slow readers, many idle connections with full windows, and large tcp_rmem make gigabytes. Heap and RSS do not show it. With a census the socket objects themselves are in it.`,
		Grades: "info always; limit.tight says when it is a danger: nothing but the program can take it back.",
		Needs:  []string{"cgroup v2: memory.stat sock; on v1 it is in memory.kmem.tcp.usage_in_bytes and not part of the usage"},
		Verify: []string{"grep sock /sys/fs/cgroup/<cgroup>/memory.stat", "nsenter -t <pid> -n ss -tmn   # skmem: r is received, w to be sent", "cat /proc/net/sockstat"},
		Do:     []string{"the program: read, close idle connections, bound what it queues", "net.ipv4.tcp_rmem, tcp_wmem of the pod's network namespace: a lower maximum", "TCP_NOTSENT_LOWAT and SO_RCVBUF for many connections"},
		Owner:  "app; platform for tcp_rmem",
		Stories: `cAdvisor has no metric for it, and many dashboards add up everything but this. ` +
			`Unix sockets are not in it: their data is other kernel memory.`,
	},
}

func sockets(f *facts) []report.Finding {
	bytes := f.account(ledger.Sock)
	objects, _, e, _ := f.slabs(slabSockets)
	if !f.matters(bytes + objects) {
		return nil
	}
	r := f.cause(codeSock, bytes+objects, high, f.Say("network buffers: data that is received and not read, or sent and not acknowledged"),
		append([]report.Evidence{f.counters(f.Say("in the queues of sockets"), "sock")}, e...)...)
	if bytes < objects {
		r.Title = f.Say("%s of sockets and the heads of their packets", size.Text(*r.Bytes))
	}
	r.Remedies = []report.Remedy{
		{Kind: "look", Command: f.Say("nsenter -t PID -n ss -tmn: the sockets with large r or w in skmem"), Cost: f.Say("none")},
		{Kind: "app", Command: f.Say("read what was received before more is asked for; bound what may wait to be sent, by SO_SNDBUF and SO_RCVBUF too"), ExpectBytes: r.Bytes, Cost: f.Say("slower over long distances")},
		{Kind: "configure", Command: f.Say("net.ipv4.tcp_rmem, net.ipv4.tcp_wmem of the network namespace: a lower maximum"), Cost: f.Say("slower over long distances")},
	}
	return []report.Finding{r}
}
