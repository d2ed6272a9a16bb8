package runtimes

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

const mib = 1 << 20

// sameTarget explains one container under several names: it is the same one.
func sameTarget(t *testing.T, names ...string) *report {
	t.Helper()
	var first *report
	for _, n := range names {
		r := explain(t, n)
		if first == nil {
			first = r
		}
		if r.Target.Cgroup != first.Target.Cgroup || r.Target.Name != first.Target.Name {
			t.Errorf("%s: %s %q, want %s %q", n, r.Target.Cgroup, r.Target.Name, first.Target.Cgroup, first.Target.Name)
		}
	}
	return first
}

// said checks that a tool's own number is there and near the one computed.
func (r *report) said(t *testing.T, tool, source string) {
	t.Helper()
	for _, s := range r.Says {
		if s.Tool != tool {
			continue
		}
		for _, x := range s.Reported {
			if strings.Contains(x.Source, source) {
				if s.Bytes == nil || *s.Bytes-x.Bytes != x.DifferenceBytes || max(x.DifferenceBytes, -x.DifferenceBytes) > 2*mib {
					t.Errorf("%s says %+v, computed %v", tool, x, s.Bytes)
				}
				return
			}
		}
	}
	t.Errorf("%s by %s is not there: %+v", tool, source, r.Says)
}

// All daemons start at once: it takes each of them long.
func TestDaemons(t *testing.T) {
	for name, start := range map[string]func(testing.TB) *daemon{"containerd": containerd, "docker": dockerd, "podman": podmand} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			start(t)
		})
	}
	t.Cleanup(func() {
		for _, r := range memwhy(t, "ps", "-A", "-o", "json").report(t).NotSeen {
			if strings.HasPrefix(r.Source, work) {
				t.Errorf("%+v", r)
			}
		}
	})
}

func TestDocker(t *testing.T) {
	dockerd(t)
	id := command(t, "docker", "run", "-d", "--name", "web", "-m", "128m", "--memory-reservation", "64m", "--network", "none",
		"--label", "app=web", "--label", "team=Команда 写", workloadRef, "-anon", "30")
	pid := command(t, "docker", "inspect", "-f", "{{.State.Pid}}", id)
	eventually(t, "30 MiB", func() bool { return explain(t, id).Numbers.UsageBytes > 30*mib })
	r := sameTarget(t, "web", id, id[:8], strings.ToUpper(id[:9]), "pid:"+pid)
	x := r.Target
	if x.ID != id || x.Name != "web" || x.Container != "web" || x.Runtime != "docker" || x.Image != workloadRef || x.Kind != "container" ||
		x.Labels["team"] != "Команда 写" || x.SpecLimitBytes != 128*mib || x.RequestBytes != 64*mib || x.State != "running" || x.NamedBy != sock("d") {
		t.Errorf("%+v", x)
	}
	r.said(t, "docker stats", "/stats?")
	memwhy(t, "explain", "web").want(t, 0, "web, docker container "+id[:12])

	_ = command(t, "sh", "-c", "docker run --name oomed -m 64m --network none "+workloadRef+" -anon 256 || true")
	memwhy(t, "explain", "oomed").want(t, 2, "oomed", "exited", "OOMKilled")

	// The kernel remembers the kill by id alone; who asked while docker still
	// knew the container remembers its name.
	state := filepath.Join(work, "state")
	memwhy(t, "ps", "--state-dir", state).want(t, 0)
	killed := command(t, "docker", "inspect", "-f", "{{.Id}}", "oomed")
	command(t, "docker", "rm", "oomed")
	for name, out := range map[string]string{
		"oomed": memwhy(t, "oom", "list", "-o", "json", "--state-dir", state).want(t, 0).out,
		"":      memwhy(t, "oom", "list", "-o", "json").want(t, 0).out,
	} {
		var o struct {
			Records []struct{ TaskCgroup, TaskName, Summary string }
		}
		if err := json.Unmarshal([]byte(out), &o); err != nil {
			t.Fatal(err)
		}
		found := false
		for _, r := range o.Records {
			if strings.Contains(r.TaskCgroup, killed) {
				found = true
				if r.TaskName != name || !strings.Contains(r.Summary, name) {
					t.Errorf("%+v, want the name %q", r, name)
				}
			}
		}
		if !found {
			t.Errorf("the kill of %s is not listed", killed)
		}
	}
}

func TestPodman(t *testing.T) {
	podmand(t)
	id := podman(t, "run", "-d", "--name", "db", "--network", "host", "-m", "128m", "--label", "app=db", workloadRef, "-anon", "20")
	podman(t, "pod", "create", "--name", "duo", "--network", "host", "--infra-image", pauseRef, "--infra-command", "/pause")
	inPod := podman(t, "run", "-d", "--pod", "duo", "--name", "one", workloadRef, "-anon", "10")
	eventually(t, "20 MiB", func() bool { return explain(t, id).Numbers.UsageBytes > 20*mib })
	r := sameTarget(t, "db", id, id[:10])
	if x := r.Target; x.Runtime != "podman" || x.SpecLimitBytes != 128*mib || x.Labels["app"] != "db" || !strings.HasPrefix(x.RuntimeVersion, "podman ") {
		t.Errorf("%+v", x)
	}
	r.said(t, "podman, systemd", "/stats?")
	if r := sameTarget(t, "one", "duo/one", inPod); r.Target.Pod != "duo" || r.Target.Name != "duo/one" {
		t.Errorf("%+v", r.Target)
	}
	whole := explain(t, "duo")
	if whole.Target.Kind != "pod" || len(whole.Children) < 3 || !slices.ContainsFunc(whole.Children, func(c child) bool { return c.Kind == "sandbox" }) {
		t.Errorf("%+v, %+v", whole.Target, whole.Children)
	}
}

const (
	uidA = "11111111-2222-3333-4444-555555555555"
	uidB = "22222222-2222-3333-4444-555555555555"
)

func TestCRI(t *testing.T) {
	a, b := newPod(t, "payments", "render-7d9f", uidA), newPod(t, "shop", "render-7d9f", uidB)
	defer a.remove()
	defer b.remove()
	killed := a.run("app", 0, 16, nil, "-anon", "64")
	eventually(t, "the kill", func() bool {
		s, err := runtimeService.ContainerStatus(t.Context(), &cri.ContainerStatusRequest{ContainerId: killed})
		return err == nil && s.Status.State == cri.ContainerState_CONTAINER_EXITED
	})
	app := a.run("app", 1, 128, nil, "-anon", "20")
	side := a.run("写-бок", 0, 128, nil, "-anon", "10")
	other := b.run("app", 0, 128, nil, "-anon", "5")
	eventually(t, "20 MiB", func() bool { return explain(t, app).Numbers.UsageBytes > 20*mib })

	r := sameTarget(t, "payments/render-7d9f/app", app, app[:12])
	x := r.Target
	if x.ID != app || x.Namespace != "payments" || x.Pod != "render-7d9f" || x.Container != "app" || x.Runtime != "containerd" || x.QoS != "burstable" ||
		x.Image != workloadRef || x.SpecLimitBytes != 128*mib || x.Labels["app"] != "render-7d9f" || x.RestartCount == nil || *x.RestartCount != 1 ||
		x.LastTermination == nil || *x.LastTermination.ExitCode != 137 {
		t.Errorf("%+v", x)
	}
	if x.LastTermination != nil && !x.LastTermination.OOMKilled {
		t.Errorf("the kernel's log is not heard: %+v", x.LastTermination)
	}
	// OOMKilled, or where containerd learnt of the kill too late Error.
	if s, err := runtimeService.ContainerStatus(t.Context(), &cri.ContainerStatusRequest{ContainerId: killed}); err != nil || x.LastTermination == nil || x.LastTermination.Reason != s.Status.Reason {
		t.Errorf("%+v, %v: containerd says %q", x.LastTermination, err, s.GetStatus().GetReason())
	}
	r.said(t, "kubectl, crictl", "ContainerStats")
	sameTarget(t, "payments/render-7d9f/写-бок", "写-бок", side)
	sameTarget(t, "shop/render-7d9f/app", other)

	for _, duplicate := range []string{"app", "render-7d9f", "render-7d9f/app"} {
		memwhy(t, "explain", duplicate).want(t, 2, "payments/render-7d9f", "shop/render-7d9f", podCgroup(uidA))
	}
	if out := memwhy(t, "ps", "-n", "payments", "--sort", "name", "-o", "name").want(t, 0).out; out != "payments/render-7d9f/app\npayments/render-7d9f/写-бок\n" {
		t.Errorf("%q", out)
	}
	if out := memwhy(t, "ps", "-l", "app=render-7d9f,image=workload,io.kubernetes.pod.namespace!=shop", "-o", "name").want(t, 0).out; strings.Count(out, "\n") != 2 {
		t.Errorf("%q", out)
	}
	if out := memwhy(t, "ps", "-A", "-n", "shop").want(t, 0).out; !strings.Contains(out, "shop/render-7d9f (sandbox)") {
		t.Errorf("%q", out)
	}
	if out := memwhy(t, "__complete", "explain", "pay").want(t, 0).out; !strings.HasPrefix(out, "payments/render-7d9f/app\n") {
		t.Errorf("%q", out)
	}
	// A bash that sourced the script, as when the key is pressed.
	const press = `memwhy() { "$0" "$@"; }; source <(memwhy completion bash); compopt() { :; }
COMP_LINE=$1 COMP_POINT=${#1} COMP_TYPE=9; __start_memwhy; printf '%s\n' "${COMPREPLY[@]}"`
	for line, offered := range map[string]string{
		"memwhy explain payments/r": "payments/render-7d9f/app", "memwhy explain shop/": "shop/render-7d9f/app", "memwhy ps --sort w": "working_set",
	} {
		if out := command(t, "bash", "--norc", "-c", press, binary, line); out != offered {
			t.Errorf("%s: %q is offered", line, out)
		}
	}
}

// The classic: what a container wrote to a tmpfs of its pod is still charged,
// to the pod, when the container is another one.
func TestTmpfsOfARestartedContainer(t *testing.T) {
	p := newPod(t, "shop", "cache-0", "33333333-2222-3333-4444-555555555555")
	defer p.remove()
	dir := filepath.Join(work, "shm")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
		t.Fatal(err)
	}
	defer syscall.Unmount(dir, syscall.MNT_DETACH)
	mounts := []*cri.Mount{{ContainerPath: "/scratch", HostPath: dir}}
	first := p.run("app", 0, 128, mounts, "-file", "/scratch/f", "-bytes", "24")
	eventually(t, "24 MiB of tmpfs", func() bool { return explain(t, first).Numbers.UsageBytes > 24*mib })
	p.end(first)
	second := p.run("app", 1, 128, mounts, "-anon", "8")
	eventually(t, "8 MiB", func() bool { return explain(t, second).Numbers.UsageBytes > 8*mib })
	r := explain(t, "shop/cache-0")
	sum, kinds := int64(0), map[string]child{}
	for _, c := range r.Children {
		sum += c.UsageBytes
		kinds[c.Kind] = c
	}
	own := kinds["remainder"]
	if sum != r.Numbers.UsageBytes || own.Accounts["shmem"] < 24*mib || own.Accounts["shmem"] > 26*mib || kinds["container"].Name != "app" || kinds["sandbox"].UsageBytes == 0 {
		t.Errorf("of %d: %+v", r.Numbers.UsageBytes, r.Children)
	}
	memwhy(t, "explain", "shop/cache-0").want(t, 0, "the pod itself shmem 24")
}

// What a container wrote is still charged to it when it and its cgroup are gone. The
// kernel knows an id; the name is known to who asked while there was one.
func TestDyingCgroupKeepsItsName(t *testing.T) {
	p := newPod(t, "shop", "once", "88888888-2222-3333-4444-555555555555")
	defer p.remove()
	dir, state := filepath.Join(work, "left"), filepath.Join(work, "state-dying")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	id := p.run("job", 0, 64, []*cri.Mount{{ContainerPath: "/out", HostPath: dir}}, "-file", "/out/f", "-bytes", "24")
	eventually(t, "24 MiB of file cache", func() bool { return explain(t, id).Numbers.UsageBytes > 24*mib })
	memwhy(t, "ps", "--state-dir", state).want(t, 0)
	p.end(id)
	for name, r := range map[string]result{
		"shop/once/job": memwhy(t, "node", "-o", "json", "--state-dir", state),
		"":              memwhy(t, "node", "-o", "json"),
	} {
		var n struct {
			Dying struct {
				How    string
				Groups []struct {
					ID, Name, Cgroup string
					Bytes            int64
				}
			}
		}
		if err := json.Unmarshal([]byte(r.want(t, 0).out), &n); err != nil {
			t.Fatal(err)
		}
		found := false
		for _, g := range n.Dying.Groups {
			if g.ID == id {
				found = true
				if g.Name != name || g.Bytes < 23*mib || g.Bytes > 26*mib || !strings.HasPrefix(g.Cgroup, podCgroup(p.config.Metadata.Uid)+"/") {
					t.Errorf("%+v, want the name %q", g, name)
				}
			}
		}
		if !found {
			t.Errorf("%s is not listed: %+v", id, n.Dying)
		}
	}
	memwhy(t, "node", "--dying", "--state-dir", state).want(t, 0, "shop/once/job")
}

// Three runtimes at once; then one hangs, and one dies while it is asked.
func TestSeveralRuntimes(t *testing.T) {
	docker, containerd := dockerd(t), containerd(t)
	podmand(t)
	command(t, "docker", "run", "-d", "--name", "same", "--network", "none", workloadRef)
	podman(t, "run", "-d", "--name", "same", "--network", "host", workloadRef)
	p := newPod(t, "shop", "same", "44444444-2222-3333-4444-555555555555")
	defer p.remove()
	inPod := p.run("same", 0, 64, nil)
	memwhy(t, "explain", "same").want(t, 2, dockerCgroup(), podmanCgroup(), "shop/same/same")
	runtimes := map[string]int{}
	for _, c := range memwhy(t, "ps", "-o", "json").report(t).Containers {
		if c.Target.Container == "same" {
			runtimes[c.Target.Runtime]++
		}
	}
	if runtimes["docker"] != 1 || runtimes["podman"] != 1 || runtimes["containerd"] != 1 {
		t.Errorf("%v", runtimes)
	}

	// A containerd that hangs: nothing but its names is lost.
	if err := containerd.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	r := memwhy(t, "explain", inPod, "-o", "json", "--runtime-timeout=2s").report(t)
	if said := r.notSeen(sock("c")); r.Target.ID != inPod || r.Target.Name != "" || !strings.Contains(said, "failed: no whole answer within 2s") {
		t.Errorf("%+v, %q", r.Target, said)
	}
	memwhy(t, "explain", inPod, "--strict", "--runtime-timeout=1s").want(t, 4, sock("c"))
	if err := containerd.cmd.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	eventually(t, "containerd again", func() bool { return explain(t, inPod).Target.Name == "shop/same/same" })

	// A dockerd that is killed while it is asked over and over.
	var done atomic.Bool
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			for !done.Load() {
				memwhy(t, "ps", "-o", "json").report(t)
			}
		})
	}
	time.Sleep(300 * time.Millisecond)
	docker.stop(syscall.SIGKILL)
	time.Sleep(300 * time.Millisecond)
	done.Store(true)
	wg.Wait()
	gone := memwhy(t, "ps", "-o", "json").report(t)
	if said := gone.notSeen(sock("d")); !strings.Contains(said, "nobody listens") {
		t.Errorf("%q", said)
	}
	theDocker.d = nil
	dockerd(t)
	explain(t, inPod)
}

// Without the right to a socket, and from another root, what can be told is told.
func TestRightsAndRoots(t *testing.T) {
	dockerd(t)
	id := command(t, "docker", "run", "-d", "--name", "other", "--network", "none", workloadRef)
	open := filepath.Join(work, "memwhy")
	command(t, "cp", binary, open)
	for _, mode := range []struct {
		file string
		mode os.FileMode
	}{{open, 0o755}, {work, 0o711}, {sock("d"), 0o600}} {
		if err := os.Chmod(mode.file, mode.mode); err != nil {
			t.Fatal(err)
		}
	}
	nobody := func(args ...string) result {
		return runIt(t, exec.Command("setpriv", append([]string{"--reuid", "65534", "--regid", "65534", "--clear-groups", open}, args...)...))
	}
	nobody("explain", "other").want(t, 2, " did not say its names: permission denied")
	r := nobody("explain", id[:12], "-o", "json").report(t)
	if said := r.notSeen(sock("d")); r.Target.ID != id || r.Target.Name != "" || said != "denied: permission denied" {
		t.Errorf("%+v, %q", r.Target, said)
	}
	root := filepath.Join(work, "r")
	if err := os.Mkdir(root, 0o700); err != nil {
		t.Fatal(err)
	}
	r = runIt(t, exec.Command("unshare", "-m", "sh", "-c", `mount --rbind / "$1" && exec "$0" explain other --host-root "$1" -o json --runtime-timeout=30s --timeout=60s`, binary, root)).report(t)
	if r.Target.ID != id || r.Target.Name != "other" {
		t.Errorf("%+v", r.Target)
	}
}

// Again and again, until it is told to end.
func TestWatch(t *testing.T) {
	dockerd(t)
	command(t, "docker", "run", "-d", "--name", "watched", "--network", "none", workloadRef)
	cmd := exec.Command(binary, "ps", "--watch=100ms")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for seen, lines := 0, bufio.NewScanner(out); seen < 3; {
		if !lines.Scan() {
			t.Fatal("it ended")
		}
		if strings.Contains(lines.Text(), "\x1b") {
			t.Errorf("not a terminal: %q", lines.Text())
		}
		if strings.HasSuffix(lines.Text(), " watched") {
			seen++
		}
	}
	if err := cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("ended with %v", err)
	}
}

// Containers that start and end while they are listed and read.
func TestContainersThatEnd(t *testing.T) {
	p := newPod(t, "shop", "jobs", "55555555-2222-3333-4444-555555555555")
	defer p.remove()
	stay := p.run("stay", 0, 64, nil)
	var done atomic.Bool
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := uint32(0); !done.Load(); i++ {
			p.end(p.run("job", i, 64, nil))
		}
	})
	rounds := 8
	if systemd { // on an emulated processor
		rounds = 3
	}
	for range rounds {
		l := memwhy(t, "ps", "-n", "shop", "-o", "json").report(t)
		if !slices.ContainsFunc(l.Containers, func(c struct {
			Target  target
			Numbers numbers
		},
		) bool {
			return c.Target.ID == stay
		}) {
			t.Errorf("the one that stays is not listed: %+v", l.Containers)
		}
		r := memwhy(t, "explain", "shop/jobs/job", "-o", "json")
		if r.code != 0 && (r.code != 2 || !strings.Contains(r.err, "job")) {
			t.Errorf("exit code %d: %s", r.code, r.err)
		}
		sum := int64(0)
		whole := explain(t, "shop/jobs")
		for _, c := range whole.Children {
			sum += c.UsageBytes
		}
		if sum != whole.Numbers.UsageBytes {
			t.Errorf("parts sum to %d of %d", sum, whole.Numbers.UsageBytes)
		}
	}
	done.Store(true)
	wg.Wait()
}

// A capture carries the names; a redacted one carries none.
func TestCaptureCarriesNames(t *testing.T) {
	p := newPod(t, "secretns", "secretpod", "66666666-2222-3333-4444-555555555555")
	defer p.remove()
	id := p.run("secretapp", 0, 64, nil, "-anon", "4")
	file, hidden := filepath.Join(work, "capture"), filepath.Join(work, "hidden")
	memwhy(t, "capture", "secretns/secretpod/secretapp", "-o", file).want(t, 0)
	memwhy(t, "capture", "--from", file, "--redact", "-o", hidden).want(t, 0)
	r := memwhy(t, "explain", "--from", file, "-o", "json").report(t)
	if r.Target.Name != "secretns/secretpod/secretapp" || r.Target.ID != id || r.Target.SpecLimitBytes != 64*mib {
		t.Errorf("%+v", r.Target)
	}
	r.said(t, "kubectl, crictl", "ContainerStats")
	memwhy(t, "ps", "--from", file, "-o", "name").want(t, 0, "secretns/secretpod/secretapp")
	for name, out := range map[string]string{
		"explain":  memwhy(t, "explain", "--from", hidden, "-o", "json").want(t, 0).out,
		"live":     memwhy(t, "explain", id, "--redact", "-o", "json").want(t, 0).out,
		"ps":       memwhy(t, "ps", "--redact", "-o", "json").want(t, 0).out,
		"the file": read(t, hidden),
	} {
		for _, never := range []string{"secret", id, "66666666-2222"} {
			if strings.Contains(out, never) {
				t.Errorf("%s says %q", name, never)
			}
		}
		if name != "the file" && !strings.Contains(out, `"pod": "x`) {
			t.Errorf("%s has no hidden name", name)
		}
	}
}

func read(t testing.TB, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// 300 containers of one runtime, each with its name.
func TestManyContainers(t *testing.T) {
	p := newPod(t, "crowd", "many", "77777777-2222-3333-4444-555555555555")
	defer p.remove()
	const many = 300
	var wg sync.WaitGroup
	next := make(chan int, many)
	for i := range many {
		next <- i
	}
	close(next)
	for range 4 {
		wg.Go(func() {
			for i := range next {
				p.run(fmt.Sprintf("c%03d", i), 0, 64, nil)
			}
		})
	}
	wg.Wait()
	out := memwhy(t, "ps", "-n", "crowd", "--sort", "name", "-o", "name").want(t, 0).out
	names := strings.Fields(out)
	if len(names) != many || names[0] != "crowd/many/c000" || names[many-1] != "crowd/many/c299" {
		t.Errorf("%d names: %.200s", len(names), out)
	}
	if r := explain(t, "crowd/many/c123"); r.Target.Container != "c123" {
		t.Errorf("%+v", r.Target)
	}
	var whole struct {
		Children []child
	}
	if err := json.Unmarshal([]byte(memwhy(t, "explain", "crowd/many", "-o", "json").want(t, 0).out), &whole); err != nil {
		t.Fatal(err)
	}
	if len(whole.Children) < many {
		t.Errorf("%d parts", len(whole.Children))
	}
}
