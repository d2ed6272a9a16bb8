package identity

import "strings"

// publicParts are parts of paths that say nothing about anybody: directories of
// every node, and what runtimes, the kubelet and systemd call theirs. A word
// that a person, a company or a service might be called does not belong here.
var publicParts = words(`
	. .. proc sys fs cgroup self kernel mm dev etc usr bin sbin lib lib64 libexec local opt var run tmp home root host
	memory unified systemd cpu cpuacct cpuset pids blkio devices freezer hugetlb net_cls net_prio perf_event rdma misc
	cpu,cpuacct cpuacct,cpu net_cls,net_prio net_prio,net_cls
	kubepods burstable besteffort guaranteed kubelet
	docker podman libpod_parent conmon lxc lxc.payload lxc.monitor k8s.io moby container payload supervisor ns
	overlay overlay2 l diff merged work snapshots containers storage volumes _data pods shm log cache
	io.containerd.snapshotter.v1.overlayfs volume-subpaths kubernetes.io~empty-dir kubernetes.io~configmap kubernetes.io~secret
	kubernetes.io~projected kubernetes.io~downward-api kubernetes.io~csi kubernetes.io~local-volume kubernetes.io~nfs
	system.slice user.slice machine.slice init.scope app.slice session.slice system user machine`)

// publicNames are programs that everybody runs, as an executable is called and,
// where that is longer than 15 bytes, as the kernel shortens it.
var publicNames = words(`
	java python python2 python3 python3.8 python3.9 python3.10 python3.11 python3.12 python3.13 python3.14
	node nodejs ruby perl php php-fpm dotnet beam.smp erl go
	nginx httpd apache2 haproxy envoy traefik caddy uwsgi gunicorn
	postgres mysqld mariadbd mongod mongos redis-server redis-sentinel valkey-server memcached etcd
	clickhouse-server clickhouse-serv influxd prometheus alertmanager node_exporter grafana grafana-server cadvisor fluentd fluent-bit
	sh bash dash ash busybox zsh env sleep cat tail pause tini dumb-init catatonit su sudo ssh sshd cron crond agetty
	systemd systemd-journald systemd-journal systemd-udevd systemd-logind systemd-resolved systemd-resolve systemd-networkd systemd-network
	dbus-daemon rsyslogd dockerd docker docker-proxy containerd containerd-shim containerd-shim-runc-v1 containerd-shim-runc-v2
	runc crun crio conmon podman kubelet kube-proxy kube-apiserver kube-scheduler kube-controller-manager kube-controller coredns memwhy
	kswapd0 khugepaged kcompactd0`)

func words(s string) map[string]bool {
	m := map[string]bool{}
	for w := range strings.FieldsSeq(s) {
		m[w] = true
	}
	return m
}
