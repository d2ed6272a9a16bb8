package runtimes

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// crio is no CRI-O: there is no package of it. It is a server of the official
// interface that answers as CRI-O does, about real processes in cgroups that are
// called and nested as CRI-O, conmon and crun do it with the systemd driver: no pause
// container but an empty cgroup of its name, a scope for a container with crun's own
// cgroup in it, a scope for its conmon beside it.
//
// cri-o internal/config/cgmgr, server/container_status.go, internal/lib/statsserver.
type crio struct {
	cri.UnimplementedRuntimeServiceServer
	t            testing.TB
	sandbox, app string // ids
	scope        string // directory
	pid          int
}

const (
	crioNamespace, crioPod, crioUID = "logging", "collector-x7", "99999999-2222-3333-4444-555555555555"
	crioImage                       = "quay.io/team/collector:1.2"
	crioLimit                       = 128 * mib
)

func (c *crio) Version(context.Context, *cri.VersionRequest) (*cri.VersionResponse, error) {
	return &cri.VersionResponse{Version: "0.1.0", RuntimeName: "cri-o", RuntimeVersion: "1.31.2", RuntimeApiVersion: "v1"}, nil
}

func (c *crio) ListPodSandbox(context.Context, *cri.ListPodSandboxRequest) (*cri.ListPodSandboxResponse, error) {
	return &cri.ListPodSandboxResponse{Items: []*cri.PodSandbox{{
		Id: c.sandbox, Metadata: &cri.PodSandboxMetadata{Name: crioPod, Uid: crioUID, Namespace: crioNamespace},
		State: cri.PodSandboxState_SANDBOX_READY, CreatedAt: 1, RuntimeHandler: "crun",
		Labels: map[string]string{"app": "collector", "io.kubernetes.pod.name": crioPod, "io.kubernetes.pod.namespace": crioNamespace, "io.kubernetes.pod.uid": crioUID},
	}}}, nil
}

func (c *crio) labels() map[string]string {
	return map[string]string{
		"io.kubernetes.container.name": "app", "io.kubernetes.pod.name": crioPod, "io.kubernetes.pod.namespace": crioNamespace, "io.kubernetes.pod.uid": crioUID,
	}
}

func (c *crio) ListContainers(context.Context, *cri.ListContainersRequest) (*cri.ListContainersResponse, error) {
	return &cri.ListContainersResponse{Containers: []*cri.Container{{
		Id: c.app, PodSandboxId: c.sandbox, Metadata: &cri.ContainerMetadata{Name: "app", Attempt: 2},
		Image: &cri.ImageSpec{Image: strings.Repeat("d", 64), UserSpecifiedImage: crioImage}, ImageRef: "quay.io/team/collector@sha256:" + strings.Repeat("e", 64),
		State: cri.ContainerState_CONTAINER_RUNNING, CreatedAt: 1, Labels: c.labels(), Annotations: map[string]string{"io.kubernetes.container.restartCount": "2"},
	}}}, nil
}

func (c *crio) ContainerStatus(_ context.Context, r *cri.ContainerStatusRequest) (*cri.ContainerStatusResponse, error) {
	if r.ContainerId != c.app {
		return nil, fmt.Errorf("could not find container %q", r.ContainerId)
	}
	info := fmt.Sprintf(`{"sandboxID":%q,"pid":%d,"runtimeSpec":{"ociVersion":"1.0.2","process":{"env":["TOKEN=s3cret"]},"linux":{"cgroupsPath":"%s:crio:%s"}},"privileged":false}`,
		c.sandbox, c.pid, filepath.Base(filepath.Dir(c.scope)), c.app)
	return &cri.ContainerStatusResponse{
		Status: &cri.ContainerStatus{
			Id: c.app, Metadata: &cri.ContainerMetadata{Name: "app", Attempt: 2}, State: cri.ContainerState_CONTAINER_RUNNING, CreatedAt: 1, StartedAt: 2,
			Resources: &cri.ContainerResources{Linux: &cri.LinuxContainerResources{MemoryLimitInBytes: crioLimit}},
		},
		Info: map[string]string{"info": info},
	}, nil
}

// ContainerStats computes as CRI-O does, of the scope.
func (c *crio) ContainerStats(context.Context, *cri.ContainerStatsRequest) (*cri.ContainerStatsResponse, error) {
	usage, inactive := "memory.current", "inactive_file "
	if !unified {
		usage, inactive = "memory.usage_in_bytes", "total_inactive_file "
	}
	working, err := strconv.ParseUint(strings.TrimSpace(read(c.t, filepath.Join(c.scope, usage))), 10, 64)
	if err != nil {
		return nil, err
	}
	_, after, _ := strings.Cut("\n"+read(c.t, filepath.Join(c.scope, "memory.stat")), "\n"+inactive)
	line, _, _ := strings.Cut(after, "\n")
	cold, err := strconv.ParseUint(line, 10, 64)
	if err != nil {
		return nil, err
	}
	return &cri.ContainerStatsResponse{Stats: &cri.ContainerStats{
		Attributes: &cri.ContainerAttributes{Id: c.app, Labels: c.labels()},
		Memory: &cri.MemoryUsage{
			Timestamp: time.Now().UnixNano(), UsageBytes: &cri.UInt64Value{Value: working}, WorkingSetBytes: &cri.UInt64Value{Value: working - min(cold, working)},
			RssBytes: &cri.UInt64Value{Value: 1}, PageFaults: &cri.UInt64Value{}, MajorPageFaults: &cri.UInt64Value{},
		},
		Swap: &cri.SwapUsage{Timestamp: time.Now().UnixNano(), SwapUsageBytes: &cri.UInt64Value{}},
	}}, nil
}

// unified is version 2 of cgroups.
var unified = exists("/sys/fs/cgroup/cgroup.controllers")

// simulateCRIO makes the cgroups with their processes, and serves.
func simulateCRIO(t *testing.T) *crio {
	t.Helper()
	top := "/sys/fs/cgroup"
	if !unified {
		top += "/memory"
	}
	c := &crio{t: t, sandbox: strings.Repeat("5a", 32), app: strings.Repeat("a9", 32)}
	pod := filepath.Join(top, "kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod"+strings.ReplaceAll(crioUID, "-", "_")+".slice")
	c.scope = filepath.Join(pod, "crio-"+c.app+".scope")
	conmon := filepath.Join(pod, "crio-conmon-"+c.app+".scope")
	t.Cleanup(func() {
		for dir := pod; dir != top; dir = filepath.Dir(dir) { // what others use stays
			removeEmpty(dir)
		}
	})
	for _, dir := range []string{filepath.Join(pod, "crio-"+c.sandbox), filepath.Join(c.scope, "container"), conmon} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	limit := "memory.limit_in_bytes"
	if unified {
		limit = "memory.max"
		for dir := top; strings.HasPrefix(c.scope, dir); dir = filepath.Join(dir, strings.SplitN(strings.TrimPrefix(c.scope+"/", dir+"/"), "/", 2)[0]) {
			if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
				t.Fatal(err)
			}
			if dir == c.scope {
				break
			}
		}
	}
	if err := os.WriteFile(filepath.Join(c.scope, limit), []byte(strconv.Itoa(crioLimit)), 0); err != nil {
		t.Fatal(err)
	}
	c.pid = runIn(t, filepath.Join(c.scope, "container"), "-anon", "20")
	runIn(t, conmon)
	l, err := net.Listen("unix", sock("crio"))
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	cri.RegisterRuntimeServiceServer(server, c)
	go func() { _ = server.Serve(l) }()
	t.Cleanup(server.Stop)
	return c
}

// runIn runs the workload in a cgroup until the test ends.
func runIn(t *testing.T, dir string, args ...string) int {
	t.Helper()
	cmd := exec.Command("sh", append([]string{"-c", `echo $$ >"$0/cgroup.procs" && exec "$@"`, dir, workload}, args...)...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd.Process.Pid
}

func TestSimulatedCRIO(t *testing.T) {
	c := simulateCRIO(t)
	ask := "--runtime-endpoint=" + sock("crio")
	look := func(target string) *report { return memwhy(t, "explain", target, "-o", "json", ask).report(t) }
	name := crioNamespace + "/" + crioPod + "/app"
	eventually(t, "20 MiB", func() bool { return look(c.app).Numbers.UsageBytes > 20*mib })
	for _, target := range []string{name, "app", crioPod + "/app", c.app, c.app[:12]} {
		x := look(target).Target
		if x.ID != c.app || x.Name != name || x.Runtime != "cri-o" || x.RuntimeVersion != "cri-o 1.31.2" || x.Image != crioImage || x.QoS != "burstable" ||
			x.SpecLimitBytes != crioLimit || x.Labels["app"] != "collector" || x.RestartCount == nil || *x.RestartCount != 2 || !slices.Equal(x.PIDs, []int{c.pid}) {
			t.Errorf("%s: %+v", target, x)
		}
	}
	// By its process it is crun's cgroup, and still this container.
	if x := look("pid:" + strconv.Itoa(c.pid)).Target; x.ID != c.app || x.Name != name || !strings.HasSuffix(x.Cgroup, "/container") {
		t.Errorf("%+v", x)
	}
	r := look(name)
	r.said(t, "kubectl, crictl", "ContainerStats")
	if r.Numbers.LimitBytes == nil || *r.Numbers.LimitBytes != crioLimit {
		t.Errorf("%+v", r.Numbers)
	}
	whole := look(crioNamespace + "/" + crioPod)
	kinds, sum := map[string]child{}, int64(0)
	for _, part := range whole.Children {
		kinds[part.Kind] = part
		sum += part.UsageBytes
	}
	if whole.Target.Kind != "pod" || sum != whole.Numbers.UsageBytes || kinds["container"].Name != "app" || kinds["container"].UsageBytes < 20*mib || kinds["monitor"].UsageBytes == 0 {
		t.Errorf("of %d: %+v", whole.Numbers.UsageBytes, whole.Children)
	}
	if out := memwhy(t, "ps", ask, "-n", crioNamespace, "-o", "name").want(t, 0).out; out != name+"\n" {
		t.Errorf("%q", out)
	}
	if out := memwhy(t, "ps", ask, "-l", "image=collector", "-o", "name").want(t, 0).out; out != name+"\n" {
		t.Errorf("%q", out)
	}
	memwhy(t, "ps", "-A", "-o", "wide", ask).want(t, 0, name+" (monitor)")
	if out := memwhy(t, "explain", name, "-o", "json", ask).out; strings.Contains(out, "s3cret") {
		t.Error("the environment of the container is told")
	}
	// Without CRI-O the path still tells the id, whose runtime it is and the pod.
	if x := memwhy(t, "explain", c.app[:12], "-o", "json", "--runtime-endpoint=none").report(t).Target; x.ID != c.app || x.Runtime != "cri-o" || x.Name != "" {
		t.Errorf("%+v", x)
	}
}
