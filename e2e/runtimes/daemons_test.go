package runtimes

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// need skips where a daemon is not installed; the script that runs the tests
// installs them, and says so with MEMWHY_RUNTIMES=required.
func need(t testing.TB, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err != nil {
			if os.Getenv("MEMWHY_RUNTIMES") == "required" {
				t.Fatal(err)
			}
			t.Skip(err)
		}
	}
}

// daemon is a runtime that a test started.
type daemon struct {
	cmd  *exec.Cmd
	log  string
	done chan struct{}
}

var daemons struct {
	sync.Mutex
	all      []*daemon
	cleanups []func()
}

// start starts a daemon and waits until it listens.
func start(t testing.TB, socket string, env []string, args ...string) *daemon {
	t.Helper()
	d := &daemon{cmd: exec.Command(args[0], args[1:]...), log: socket + ".log", done: make(chan struct{})}
	log, err := os.Create(d.log)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	d.cmd.Stdout, d.cmd.Stderr, d.cmd.Env = log, log, env
	d.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := d.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { _ = d.cmd.Wait(); close(d.done) }()
	daemons.Lock()
	daemons.all = append(daemons.all, d)
	daemons.Unlock()
	for range 600 {
		if c, err := net.Dial("unix", socket); err == nil {
			c.Close()
			return d
		}
		select {
		case <-d.done:
			t.Fatalf("%s ended:\n%s", args[0], d.tail())
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Fatalf("%s does not listen:\n%s", args[0], d.tail())
	return nil
}

func (d *daemon) tail() string {
	b, _ := os.ReadFile(d.log)
	lines := bytes.Split(b, []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-20):], []byte("\n")))
}

func (d *daemon) stop(with syscall.Signal) {
	_ = d.cmd.Process.Signal(syscall.SIGCONT)
	_ = d.cmd.Process.Signal(with)
	select {
	case <-d.done:
	case <-time.After(20 * time.Second):
		_ = d.cmd.Process.Kill()
		<-d.done
	}
}

func cleanup(f func()) {
	daemons.Lock()
	defer daemons.Unlock()
	daemons.cleanups = append(daemons.cleanups, f)
}

// stopAll removes what the tests made, then ends the daemons.
func stopAll() {
	for _, f := range slices.Backward(daemons.cleanups) {
		f()
	}
	for _, d := range slices.Backward(daemons.all) {
		d.stop(syscall.SIGTERM)
	}
	if systemd { // slices stay when what was in them has gone
		_ = exec.Command("systemctl", "stop", "kubepods.slice").Run()
		return
	}
	for _, dir := range []string{"docker", "libpod_parent", "kubepods/burstable", "kubepods"} {
		points, _ := filepath.Glob("/sys/fs/cgroup/*/" + dir)
		for _, p := range append(points, "/sys/fs/cgroup/"+dir) {
			removeEmpty(p)
		}
	}
}

// removeEmpty removes a cgroup that nothing uses any more; one that somebody
// else uses stays.
func removeEmpty(dir string) {
	below, _ := os.ReadDir(dir)
	for _, e := range below {
		if e.IsDir() {
			removeEmpty(filepath.Join(dir, e.Name()))
		}
	}
	_ = syscall.Rmdir(dir)
}

func unmountBelow(dir string) {
	b, _ := os.ReadFile("/proc/self/mountinfo")
	for _, line := range slices.Backward(strings.Split(string(b), "\n")) {
		if f := strings.Fields(line); len(f) > 4 && strings.HasPrefix(f[4], dir+"/") {
			_ = syscall.Unmount(f[4], syscall.MNT_DETACH)
		}
	}
}

// once gives every test the same daemon, started by the first that wants it.
type once struct {
	sync.Mutex
	d *daemon
}

func (o *once) get(t testing.TB, make func() *daemon) *daemon {
	t.Helper()
	o.Lock()
	defer o.Unlock()
	if o.d == nil {
		o.d = make()
	}
	return o.d
}

var theDocker, thePodman, theContainerd once

const dockerContainerd = `version = 2
root = "%[1]s/root"
state = "%[1]s/state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "%[2]s"
`

func dockerd(t testing.TB) *daemon {
	t.Helper()
	need(t, "dockerd", "docker", "runc")
	return theDocker.get(t, func() *daemon {
		root := filepath.Join(work, "dk")
		if err := os.MkdirAll(root, 0o700); err != nil {
			t.Fatal(err)
		}
		// A containerd of its own, which dockerd would wait for 15 s only.
		conf := filepath.Join(root, "containerd.toml")
		if err := os.WriteFile(conf, fmt.Appendf(nil, dockerContainerd, filepath.Join(root, "ct"), sock("dc")), 0o600); err != nil {
			t.Fatal(err)
		}
		start(t, sock("dc"), os.Environ(), "containerd", "-c", conf)
		d := start(t, sock("d"), os.Environ(), "dockerd", "--containerd", sock("dc"),
			"--storage-driver", storage("overlay2", "vfs"), "--iptables=false", "--ip6tables=false", "--ip-masq=false", "--bridge=none",
			"-H", "unix://"+sock("d"), "--data-root", filepath.Join(root, "root"), "--exec-root", filepath.Join(root, "exec"),
			"--pidfile", filepath.Join(work, "d.pid"))
		cleanup(func() {
			ids, _ := exec.Command("docker", "ps", "-aq").Output()
			if all := strings.Fields(string(ids)); len(all) > 0 {
				_ = exec.Command("docker", append([]string{"rm", "-f"}, all...)...).Run()
			}
		})
		ready := false
		for range 300 { // it listens before it answers
			if ready = exec.Command("docker", "version").Run() == nil; ready {
				break
			}
			time.Sleep(200 * time.Millisecond)
		}
		if !ready {
			t.Fatalf("dockerd does not answer:\n%s", d.tail())
		}
		command(t, "docker", "load", "-q", "-i", filepath.Join(work, "workload.tar"))
		return d
	})
}

// storage is how files of images are kept: a test machine may have no overlay.
func storage(overlay, plain string) string {
	if b, _ := os.ReadFile("/proc/filesystems"); bytes.Contains(b, []byte("\toverlay\n")) {
		return overlay
	}
	return plain
}

func driver() string {
	if systemd {
		return "systemd"
	}
	return "cgroupfs"
}

func podmanArgs(args ...string) []string {
	return append([]string{"--root", filepath.Join(work, "pr"), "--runroot", filepath.Join(work, "pu"), "--cgroup-manager", driver(), "--storage-driver", storage("overlay", "vfs")}, args...)
}

// pod is podman with the configuration of these tests: it wants higher limits
// than a machine without CAP_SYS_RESOURCE gives.
func podman(t testing.TB, args ...string) string {
	t.Helper()
	cmd := exec.Command("podman", podmanArgs(args...)...)
	cmd.Env = podmanEnv()
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("podman %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	return lines[len(lines)-1]
}

var podmanConf = sync.OnceValue(func() string {
	name := filepath.Join(work, "containers.conf")
	var limit syscall.Rlimit
	must(syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	must(os.WriteFile(name, fmt.Appendf(nil, "[containers]\ndefault_ulimits=[\"nofile=%d:%d\",\"nproc=1000:1000\"]\n", limit.Max, limit.Max), 0o600))
	return name
})

// podmanEnv has no CONTAINER_HOST: with one, podman is a client of its service.
func podmanEnv() []string {
	env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, "CONTAINER_HOST=") })
	return append(env, "CONTAINERS_CONF="+podmanConf())
}

func podmand(t testing.TB) *daemon {
	t.Helper()
	need(t, "podman", "runc", "conmon")
	return thePodman.get(t, func() *daemon {
		podman(t, "load", "-q", "-i", filepath.Join(work, "workload.tar"))
		podman(t, "load", "-q", "-i", filepath.Join(work, "pause.tar"))
		d := start(t, sock("p"), podmanEnv(),
			append([]string{"podman"}, podmanArgs("system", "service", "-t", "0", "unix://"+sock("p"))...)...)
		cleanup(func() {
			for _, args := range [][]string{{"pod", "rm", "-f", "-a"}, {"rm", "-f", "-a"}} {
				cmd := exec.Command("podman", podmanArgs(args...)...)
				cmd.Env = podmanEnv()
				_ = cmd.Run()
			}
		})
		return d
	})
}

const containerdConf = `version = 2
root = "%[1]s/root"
state = "%[1]s/state"
[grpc]
  address = "%[2]s"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "` + pauseRef + `"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "%[1]s/cni"
    conf_dir = "%[1]s/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "%[4]s"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = %[3]t
`

var runtimeService cri.RuntimeServiceClient

func containerd(t testing.TB) *daemon {
	t.Helper()
	need(t, "containerd", "ctr", "runc")
	return theContainerd.get(t, func() *daemon {
		root := filepath.Join(work, "ct")
		if err := os.MkdirAll(filepath.Join(root, "cni"), 0o700); err != nil {
			t.Fatal(err)
		}
		conf := filepath.Join(work, "containerd.toml")
		if err := os.WriteFile(conf, fmt.Appendf(nil, containerdConf, root, sock("c"), systemd, storage("overlayfs", "native")), 0o600); err != nil {
			t.Fatal(err)
		}
		d := start(t, sock("c"), os.Environ(), "containerd", "-c", conf)
		for _, image := range []string{"pause.tar", "workload.tar"} {
			command(t, "ctr", "-a", sock("c"), "-n", "k8s.io", "images", "import", filepath.Join(work, image))
		}
		conn, err := grpc.NewClient("unix://"+sock("c"), grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		runtimeService = cri.NewRuntimeServiceClient(conn)
		cleanup(func() {
			ctx := context.Background()
			pods, err := runtimeService.ListPodSandbox(ctx, &cri.ListPodSandboxRequest{})
			if err != nil {
				return
			}
			for _, p := range pods.Items {
				_, _ = runtimeService.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.Id})
				_, _ = runtimeService.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.Id})
			}
			conn.Close()
		})
		return d
	})
}

// pod is a sandbox that was made through CRI, as a kubelet makes it.
type pod struct {
	t      testing.TB
	id     string
	config *cri.PodSandboxConfig
}

// dockerCgroup and podmanCgroup are what paths of their containers begin with.
func dockerCgroup() string {
	if systemd {
		return "/system.slice/docker-"
	}
	return "/docker/"
}

func podmanCgroup() string {
	if systemd {
		return "/machine.slice/libpod-"
	}
	return "/libpod_parent/libpod-"
}

// podCgroup is where the cgroup of a pod is.
func podCgroup(uid string) string {
	if systemd {
		return "/kubepods.slice/kubepods-burstable.slice/" + cgroupParent(uid)
	}
	return cgroupParent(uid)
}

// cgroupParent is the same as a kubelet tells it to a runtime.
func cgroupParent(uid string) string {
	if systemd {
		return "kubepods-burstable-pod" + strings.ReplaceAll(uid, "-", "_") + ".slice"
	}
	return "/kubepods/burstable/pod" + uid
}

func newPod(t testing.TB, namespace, name, uid string) *pod {
	t.Helper()
	containerd(t)
	p := &pod{t: t, config: &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: name, Uid: uid, Namespace: namespace},
		LogDirectory: filepath.Join(work, "logs", uid),
		Labels:       map[string]string{"io.kubernetes.pod.name": name, "io.kubernetes.pod.namespace": namespace, "io.kubernetes.pod.uid": uid, "app": name},
		Linux: &cri.LinuxPodSandboxConfig{
			CgroupParent:    cgroupParent(uid),
			SecurityContext: &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{Network: cri.NamespaceMode_NODE}},
		},
	}}
	if err := os.MkdirAll(p.config.LogDirectory, 0o700); err != nil {
		t.Fatal(err)
	}
	r, err := runtimeService.RunPodSandbox(t.Context(), &cri.RunPodSandboxRequest{Config: p.config})
	if err != nil {
		t.Fatal(err)
	}
	p.id = r.PodSandboxId
	return p
}

func (p *pod) remove() {
	ctx := context.Background()
	_, _ = runtimeService.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.id})
	_, _ = runtimeService.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.id})
}

// run starts a container; attempt counts its restarts.
func (p *pod) run(name string, attempt uint32, limitMiB int64, mounts []*cri.Mount, args ...string) string {
	p.t.Helper()
	labels := map[string]string{"io.kubernetes.container.name": name}
	for _, k := range []string{"io.kubernetes.pod.name", "io.kubernetes.pod.namespace", "io.kubernetes.pod.uid"} {
		labels[k] = p.config.Labels[k]
	}
	r, err := runtimeService.CreateContainer(p.t.Context(), &cri.CreateContainerRequest{
		PodSandboxId: p.id, SandboxConfig: p.config,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: name, Attempt: attempt}, Image: &cri.ImageSpec{Image: workloadRef},
			Args: args, LogPath: fmt.Sprintf("%x-%d.log", name, attempt), Labels: labels, Mounts: mounts,
			Annotations: map[string]string{"io.kubernetes.container.restartCount": fmt.Sprint(attempt)},
			Linux:       &cri.LinuxContainerConfig{Resources: &cri.LinuxContainerResources{MemoryLimitInBytes: limitMiB << 20}},
		},
	})
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := runtimeService.StartContainer(p.t.Context(), &cri.StartContainerRequest{ContainerId: r.ContainerId}); err != nil {
		p.t.Fatal(err)
	}
	return r.ContainerId
}

func (p *pod) end(id string) {
	p.t.Helper()
	if _, err := runtimeService.StopContainer(p.t.Context(), &cri.StopContainerRequest{ContainerId: id, Timeout: 5}); err != nil {
		p.t.Fatal(err)
	}
	if _, err := runtimeService.RemoveContainer(p.t.Context(), &cri.RemoveContainerRequest{ContainerId: id}); err != nil {
		p.t.Fatal(err)
	}
}

// eventually waits for something that a daemon does in its own time.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	for range 300 {
		if is() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("waited in vain: %s", what)
}
