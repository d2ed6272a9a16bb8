// Package cri owns what a runtime of the Container Runtime Interface, version 1
// (containerd, CRI-O, cri-dockerd), says of pods and containers: which methods
// are asked, all of them reading, and how the answers are read.
//
// It must not know how a call is carried, nor what a cgroup is. It is total:
// answers come from outside. The messages are read field by field off the wire,
// by the numbers of k8s.io/cri-api: the generated types come with gRPC, which
// more than doubles the program. Amounts are bytes.
package cri

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/memwhy/memwhy/internal/identity"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Call calls a method of runtime.v1.RuntimeService.
type Call func(method string, request []byte) ([]byte, error)

// Runtime is one runtime that said what it is.
type Runtime struct {
	Name    string // containerd, cri-o, docker
	Version string
	call    Call
}

// Greet asks a runtime what it is.
func Greet(call Call) (*Runtime, error) {
	r := &Runtime{call: call}
	err := r.ask("Version", nil, func(f field) error {
		switch f.num {
		case 2:
			r.Name = strings.ToLower(f.text())
		case 3:
			r.Version = f.text()
		}
		return nil
	})
	if err == nil && r.Name == "" {
		err = errors.New("a runtime without a name")
	}
	return r, err
}

// With is the same one, asked another way: within another time.
func (r *Runtime) With(call Call) *Runtime {
	again := *r
	again.call = call
	return &again
}

// ask calls a method and reads the fields of its answer.
func (r *Runtime) ask(method string, request []byte, each func(field) error) error {
	b, err := r.call(method, request)
	if err != nil {
		return err
	}
	if err := fields(b, each); err != nil {
		return fmt.Errorf("%s: %w", method, err)
	}
	return nil
}

// List lists all pod sandboxes and containers, those that ended too.
func (r *Runtime) List() ([]snapshot.Named, error) {
	var all []snapshot.Named
	pods := map[string]int{} // index of a sandbox by its id
	err := r.ask("ListPodSandbox", nil, func(f field) error {
		if f.num != 1 || len(all) >= identity.MaxList {
			return nil
		}
		n, err := r.sandbox(f.bytes)
		if err == nil && identity.IsID(n.ID) {
			pods[n.ID] = len(all)
			all = append(all, n)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	err = r.ask("ListContainers", nil, func(f field) error {
		if f.num != 1 || len(all) >= identity.MaxList {
			return nil
		}
		n, err := r.container(f.bytes)
		if err != nil || !identity.IsID(n.ID) {
			return err
		}
		if i, ok := pods[n.Sandbox]; ok {
			n.Namespace, n.Pod, n.PodUID = all[i].Namespace, all[i].Pod, all[i].PodUID
			for k, v := range all[i].Labels { // selectors select by the labels of pods
				if _, own := n.Labels[k]; !own {
					n.Labels[k] = v
				}
			}
		}
		all = append(all, n)
		return nil
	})
	return all, err
}

// sandbox reads a message PodSandbox.
func (r *Runtime) sandbox(b []byte) (snapshot.Named, error) {
	n := snapshot.Named{Kind: snapshot.NamedSandbox, Runtime: r.Name, Labels: map[string]string{}, State: "running"}
	err := fields(b, func(f field) error {
		switch f.num {
		case 1:
			n.ID, n.Sandbox = f.text(), f.text()
		case 2:
			return fields(f.bytes, func(f field) error {
				switch f.num {
				case 1:
					n.Pod = f.text()
				case 2:
					n.PodUID = f.text()
				case 3:
					n.Namespace = f.text()
				}
				return nil
			})
		case 3:
			if f.n != 0 {
				n.State = "exited"
			}
		case 5:
			return entry(n.Labels, f.bytes)
		}
		return nil
	})
	return n, err
}

var states = []string{"created", "running", "exited", "unknown"}

// container reads a message Container.
func (r *Runtime) container(b []byte) (snapshot.Named, error) {
	n := snapshot.Named{Kind: snapshot.NamedContainer, Runtime: r.Name, Labels: map[string]string{}, State: states[0]}
	notes := map[string]string{}
	err := fields(b, func(f field) error {
		switch f.num {
		case 1:
			n.ID = f.text()
		case 2:
			n.Sandbox = f.text()
		case 3:
			return metadata(&n, f.bytes)
		case 4:
			return image(&n, f.bytes)
		case 6:
			n.State = states[min(f.n, uint64(len(states)-1))]
		case 8:
			return entry(n.Labels, f.bytes)
		case 9:
			return entry(notes, f.bytes)
		}
		return nil
	})
	// Of a container whose sandbox is gone the kubelet's labels still tell.
	n.Namespace, n.Pod, n.PodUID = n.Labels["io.kubernetes.pod.namespace"], n.Labels["io.kubernetes.pod.name"], n.Labels["io.kubernetes.pod.uid"]
	if count, err := strconv.ParseInt(notes["io.kubernetes.container.restartCount"], 10, 64); err == nil && count >= 0 {
		n.Restarts = &count
	}
	return n, err
}

func metadata(n *snapshot.Named, b []byte) error {
	return fields(b, func(f field) error {
		switch f.num {
		case 1:
			n.Name = f.text()
		case 2:
			attempt := int64(uint32(f.n))
			n.Restarts = &attempt
		}
		return nil
	})
}

// image prefers the name that the user gave, where a runtime resolved it.
func image(n *snapshot.Named, b []byte) error {
	user := ""
	err := fields(b, func(f field) error {
		switch f.num {
		case 1:
			n.Image = f.text()
		case 18:
			user = f.text()
		}
		return nil
	})
	if user != "" {
		n.Image = user
	}
	return err
}

// Detail adds what only a container's status says, and its memory statistics. Of
// the status in full, which holds the environment, two numbers are taken.
func (r *Runtime) Detail(n *snapshot.Named) error {
	if n.Kind != snapshot.NamedContainer {
		return nil
	}
	request := protowire.AppendString(protowire.AppendTag(nil, 1, protowire.BytesType), n.ID)
	verbose := protowire.AppendVarint(protowire.AppendTag(request, 2, protowire.VarintType), 1)
	err := r.ask("ContainerStatus", verbose, func(f field) error {
		switch f.num {
		case 1:
			return status(n, f.bytes)
		case 2:
			return info(n, f.bytes)
		}
		return nil
	})
	if err != nil || n.State != "running" {
		return err
	}
	return r.ask("ContainerStats", request, func(f field) error {
		if f.num != 1 {
			return nil
		}
		return fields(f.bytes, func(f field) error {
			if f.num == 3 {
				return memory(n, f.bytes)
			}
			return nil
		})
	})
}

// Ended adds how a container ended to what became of its place: the container
// that runs there now.
func (r *Runtime) Ended(before snapshot.Named, now *snapshot.Named) error {
	if err := r.Detail(&before); err != nil {
		return err
	}
	if before.Last != nil && now.Last == nil {
		now.Last = before.Last
	}
	return nil
}

// status reads a message ContainerStatus.
func status(n *snapshot.Named, b []byte) error {
	var ended uint64
	var code int64
	var reason string
	err := fields(b, func(f field) error {
		switch f.num {
		case 3:
			n.State = states[min(f.n, uint64(len(states)-1))]
		case 6:
			ended = f.n
		case 7:
			code = int64(int32(f.n))
		case 10:
			reason = f.text()
		case 16:
			return resources(n, f.bytes)
		}
		return nil
	})
	if ended > 0 && n.State == "exited" {
		n.Last = &snapshot.Termination{ID: n.ID, Reason: reason, ExitCode: &code, At: time.Unix(0, int64(ended)).UTC()}
	}
	return err
}

func resources(n *snapshot.Named, b []byte) error {
	return fields(b, func(f field) error {
		if f.num != 1 {
			return nil
		}
		return fields(f.bytes, func(f field) error {
			if f.num == 4 {
				n.Limit = max(0, int64(f.n))
			}
			return nil
		})
	})
}

// info reads the runtime's own words, which are JSON under the key info.
func info(n *snapshot.Named, b []byte) error {
	m := map[string]string{}
	if err := entry(m, b); err != nil {
		return err
	}
	var v struct {
		Pid         int `json:"pid"`
		RuntimeSpec struct {
			Linux struct {
				CgroupsPath string `json:"cgroupsPath"`
			} `json:"linux"`
		} `json:"runtimeSpec"`
	}
	if json.Unmarshal([]byte(m["info"]), &v) == nil {
		n.PID = max(0, v.Pid)
		if strings.HasPrefix(v.RuntimeSpec.Linux.CgroupsPath, "/") {
			n.Cgroup = v.RuntimeSpec.Linux.CgroupsPath
		}
	}
	return nil // another runtime has other words
}

// memory reads a message MemoryUsage.
func memory(n *snapshot.Named, b []byte) error {
	says := snapshot.ToolSays{Tool: "kubectl, crictl", From: "CRI ContainerStats"}
	found := false
	err := fields(b, func(f field) error {
		switch f.num {
		case 1:
			says.At = time.Unix(0, int64(f.n)).UTC()
		case 2:
			found = true
			return fields(f.bytes, func(f field) error {
				if f.num == 1 {
					says.Bytes = int64(f.n)
				}
				return nil
			})
		}
		return nil
	})
	if found {
		n.Says = append(n.Says, says)
	}
	return err
}
