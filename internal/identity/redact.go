package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"path"
	"regexp"
	"strings"
)

// Redactor hides names: equal names become equal hashes under one key, and
// nothing leads back. What Parse finds in a path it finds in the redacted path
// too, with other ids.
type Redactor struct{ key []byte }

// NewRedactor makes a redactor; who has no key cannot test guesses.
func NewRedactor(key []byte) *Redactor { return &Redactor{key} }

// publicParts are path parts that say nothing about anybody.
var publicParts = words(`. .. proc sys fs cgroup memory unified self kernel mm dev etc usr bin sbin lib lib64 libexec local opt var run tmp home root host
	cpu cpuacct cpuset pids blkio devices freezer hugetlb net_cls net_prio perf_event systemd cpu,cpuacct cpuacct,cpu
	kubepods burstable besteffort guaranteed kubepods.slice kubepods-burstable.slice kubepods-besteffort.slice
	docker podman libpod_parent lxc k8s.io moby kubelet system.slice user.slice machine.slice init.scope container payload memory.slice`)

// publicNames are programs that everybody runs.
var publicNames = words(`java python python2 python3 node nodejs ruby perl php php-fpm go dotnet beam.smp nginx httpd apache2 haproxy envoy traefik caddy
	postgres mysqld mariadbd mongod redis-server memcached etcd clickhouse-server influxd prometheus grafana elasticsearch
	sh bash dash ash busybox zsh sleep cat tail pause tini dumb-init su sudo sshd cron crond systemd systemd-journald
	dockerd containerd containerd-shim containerd-shim-runc-v2 runc crun conmon crio podman kubelet kube-proxy kube-apiserver coredns memwhy`)

func words(s string) map[string]bool {
	m := map[string]bool{}
	for _, w := range strings.Fields(s) {
		m[w] = true
	}
	return m
}

func (r *Redactor) sum(s string) string {
	h := hmac.New(sha256.New, r.key)
	h.Write([]byte(s))
	return hex.EncodeToString(h.Sum(nil))
}

// Path hides the parts of a path.
func (r *Redactor) Path(p string) string {
	parts := strings.Split(p, "/")
	for i, part := range parts {
		if part != "" && !publicParts[part] {
			parts[i] = r.part(part)
		}
	}
	return strings.Join(parts, "/")
}

// Parts that carry an id between public words.
var (
	idPart     = regexp.MustCompile(`^((?:cri-containerd|docker|crio|libpod-payload|libpod|nerdctl|crio-conmon|libpod-conmon)-)?([0-9a-f]{12,64})(\.scope)?$`)
	podPart    = regexp.MustCompile(`^((?:kubepods(?:-burstable|-besteffort)?-)?pod)([0-9a-f]{8}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{4}[-_][0-9a-f]{12}|[0-9a-f]{32})(\.slice)?$`)
	podLiteral = regexp.MustCompile(`^(.*\.slice):(cri-containerd|docker|crio|libpod):([0-9a-f]{12,64})$`)
	lxcPart    = regexp.MustCompile(`^(lxc\.(?:payload|monitor)\.)(.+)$`)
	kubePrefix = regexp.MustCompile(`^(.*)-(kubepods(?:-burstable|-besteffort)?(?:-pod[0-9a-f_]+)?\.slice)$`)
	unitSuffix = regexp.MustCompile(`\.(slice|service|scope|mount|socket)$`)
)

func (r *Redactor) part(part string) string {
	if publicParts[part] {
		return part
	}
	if m := podLiteral.FindStringSubmatch(part); m != nil {
		return r.part(m[1]) + ":" + m[2] + ":" + r.hex(m[3])
	}
	if m := idPart.FindStringSubmatch(part); m != nil && (m[1] != "" || len(m[2]) == 64) {
		return m[1] + r.hex(m[2]) + m[3]
	}
	if m := podPart.FindStringSubmatch(part); m != nil {
		return m[1] + r.uid(m[2]) + m[3]
	}
	if m := lxcPart.FindStringSubmatch(part); m != nil {
		return m[1] + r.word(m[2])
	}
	if m := kubePrefix.FindStringSubmatch(part); m != nil {
		return r.word(m[1]) + "-" + r.part(m[2])
	}
	return r.word(part) + unitSuffix.FindString(part)
}

func (r *Redactor) word(s string) string { return "x" + r.sum(s)[:12] }

func (r *Redactor) hex(id string) string { return r.sum(id)[:len(id)] }

// uid keeps the form of a pod's UID. The two spellings of one UID become two
// spellings of one other.
func (r *Redactor) uid(uid string) string {
	digits := strings.NewReplacer("-", "", "_", "").Replace(uid)
	sum := r.sum(digits)
	if len(uid) == 32 {
		return sum[:32]
	}
	sep := uid[8:9]
	return strings.Join([]string{sum[:8], sum[8:12], sum[12:16], sum[16:20], sum[20:32]}, sep)
}

// Name hides the name of a process, unless everybody runs it.
func (r *Redactor) Name(s string) string {
	if publicNames[s] {
		return s
	}
	return r.word(s)
}

// Command hides the path of a trimmed command line; its flags about memory hold
// amounts only.
func (r *Redactor) Command(args []string) []string {
	args = TrimCommand(args)
	if len(args) == 0 || args[0] == "" {
		return args
	}
	dir, base := path.Split(args[0])
	args[0] = r.Path(dir) + r.Name(base)
	return args
}
