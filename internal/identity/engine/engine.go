// Package engine owns what docker and podman say of their containers: which
// questions of their HTTP APIs are asked, all of them GET, and how the answers
// are read. Podman is asked by its own API, which knows pods and cgroup paths.
//
// It must not know how a question is carried, nor what a cgroup is. It is total:
// answers come from outside. Amounts are bytes.
package engine

import (
	"cmp"
	"errors"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Engine is one daemon that said what it is.
type Engine struct {
	Runtime string // docker or podman
	Version string
	get     identity.Get
	minor   int    // of docker's API, 1.N
	libpod  string // prefix of podman's own API
}

type version struct {
	Version    string
	APIVersion string `json:"ApiVersion"`
	Components identity.List[struct {
		Name    string
		Details struct{ MinAPIVersion string }
	}]
}

var apiVersion = regexp.MustCompile(`^[0-9]{1,4}(\.[0-9]{1,4}){1,2}$`)

// Greet asks a daemon what it is: podman answers on a socket of docker's too.
func Greet(get identity.Get) (*Engine, error) {
	var v version
	if err := get.JSON("/version", &v); err != nil {
		return nil, err
	}
	if v.Version == "" || !apiVersion.MatchString(v.APIVersion) {
		return nil, errors.New("/version: neither docker's answer nor podman's")
	}
	e := &Engine{Runtime: "docker", Version: v.Version, get: get}
	if minor, ok := strings.CutPrefix(v.APIVersion, "1."); ok {
		e.minor, _ = strconv.Atoi(minor)
	}
	for _, c := range v.Components {
		if c.Name == "Podman Engine" {
			e.Runtime, e.libpod = "podman", "/v4.0.0/libpod"
			if apiVersion.MatchString(c.Details.MinAPIVersion) {
				e.libpod = "/v" + c.Details.MinAPIVersion + "/libpod"
			}
		}
	}
	return e, nil
}

// With is the same one, asked another way: within another time.
func (e *Engine) With(get identity.Get) *Engine {
	again := *e
	again.get = get
	return &again
}

type listed struct {
	ID      string `json:"Id"`
	Names   identity.List[string]
	Image   string
	Labels  identity.Labels
	State   string
	Pid     int
	Pod     string
	PodName string
	IsInfra bool
}

// List lists all containers, those that ended too.
func (e *Engine) List() ([]snapshot.Named, error) {
	path := "/containers/json?all=1"
	if e.libpod != "" {
		path = e.libpod + "/containers/json?all=true"
	}
	var rows identity.List[listed]
	if err := e.get.JSON(path, &rows); err != nil {
		return nil, err
	}
	all := make([]snapshot.Named, 0, len(rows))
	for _, r := range rows {
		if !identity.IsID(r.ID) {
			continue
		}
		n := snapshot.Named{
			Kind: snapshot.NamedContainer, Runtime: e.Runtime, ID: r.ID, Image: r.Image, Labels: r.Labels,
			State: strings.ToLower(r.State), PID: r.Pid,
		}
		if len(r.Names) > 0 {
			n.Name = strings.TrimPrefix(r.Names[0], "/")
		}
		if r.IsInfra {
			n.Kind = snapshot.NamedSandbox
		}
		if identity.IsID(r.Pod) {
			n.PodUID, n.Pod = r.Pod, r.PodName
		}
		kubernetes(&n)
		all = append(all, n)
	}
	return all, nil
}

// kubernetes takes the names that cri-dockerd keeps in labels.
func kubernetes(n *snapshot.Named) {
	switch n.Labels["io.kubernetes.docker.type"] {
	case "podsandbox":
		n.Kind = snapshot.NamedSandbox
	case "container":
		n.Name = cmp.Or(n.Labels["io.kubernetes.container.name"], n.Name)
	default:
		return
	}
	n.Namespace, n.Pod, n.PodUID = n.Labels["io.kubernetes.pod.namespace"], n.Labels["io.kubernetes.pod.name"], n.Labels["io.kubernetes.pod.uid"]
	n.Sandbox = n.Labels["io.kubernetes.sandbox.id"]
}

// inspected is what both say of one container.
type inspected struct {
	ID    string `json:"Id"`
	State struct {
		Status     string
		Running    bool
		OOMKilled  bool
		Pid        int
		ExitCode   int64
		FinishedAt time.Time
		CgroupPath string // podman
	}
	RestartCount int64
	HostConfig   struct{ Memory, MemoryReservation int64 }
}

// Detail adds what only the container's own page says, and what the engine's
// statistics say of its memory.
func (e *Engine) Detail(n *snapshot.Named) error {
	if !identity.IsID(n.ID) {
		return errors.New("no id")
	}
	var v inspected
	path := e.libpod + "/containers/" + n.ID
	if err := e.get.JSON(path+"/json", &v); err != nil {
		return err
	}
	n.PID, n.Cgroup = max(0, v.State.Pid), v.State.CgroupPath
	n.State = cmp.Or(strings.ToLower(v.State.Status), n.State)
	n.Restarts = &v.RestartCount
	n.Limit, n.Request = max(0, v.HostConfig.Memory), max(0, v.HostConfig.MemoryReservation)
	if ended := v.State.FinishedAt; ended.Year() > 1 {
		n.Last = &snapshot.Termination{At: ended.UTC()}
		if !v.State.Running { // a new run sets the code to 0
			n.Last.ExitCode = &v.State.ExitCode
		}
		if v.State.OOMKilled {
			n.Last.Reason = "OOMKilled"
		}
	}
	if !v.State.Running {
		return nil
	}
	if e.libpod != "" {
		return e.podmanStats(n)
	}
	if e.minor < 41 { // without one-shot an answer takes a second and more
		return nil
	}
	return e.dockerStats(n, path+"/stats?stream=false&one-shot=1")
}

// dockerStats takes what docker stats prints: its client subtracts the inactive
// file list from what the daemon says, where that is smaller.
//
// docker/cli cli/command/container/stats_helpers.go calculateMemUsageUnixNoCache.
func (e *Engine) dockerStats(n *snapshot.Named, path string) error {
	var v struct {
		Read        time.Time `json:"read"`
		MemoryStats struct {
			Usage *int64 `json:"usage"`
			Stats struct {
				TotalInactiveFile *int64 `json:"total_inactive_file"`
				InactiveFile      *int64 `json:"inactive_file"`
			} `json:"stats"`
		} `json:"memory_stats"`
	}
	if err := e.get.JSON(path, &v); err != nil {
		return err
	}
	if v.MemoryStats.Usage == nil {
		return nil
	}
	usage := *v.MemoryStats.Usage
	for _, cut := range []*int64{v.MemoryStats.Stats.TotalInactiveFile, v.MemoryStats.Stats.InactiveFile} {
		if cut != nil && *cut >= 0 && *cut < usage {
			usage -= *cut
			break
		}
	}
	n.Says = append(n.Says, snapshot.ToolSays{Tool: "docker stats", Bytes: usage, From: "GET " + path, At: v.Read.UTC()})
	return nil
}

func (e *Engine) podmanStats(n *snapshot.Named) error {
	var v struct {
		Stats identity.List[struct {
			ContainerID string
			MemUsage    int64
		}]
	}
	path := e.libpod + "/containers/stats?stream=false&containers=" + url.QueryEscape(n.ID)
	if err := e.get.JSON(path, &v); err != nil {
		return err
	}
	for _, s := range v.Stats {
		if s.ContainerID == n.ID {
			n.Says = append(n.Says, snapshot.ToolSays{Tool: "podman, systemd", Bytes: s.MemUsage, From: "GET " + path})
		}
	}
	return nil
}
