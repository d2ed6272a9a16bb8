package e2e

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// Docker in a container of a pod, an LXC container and a machine of nspawn are known by
// the path of their cgroups, without anybody to ask.
func TestNestedContainers(t *testing.T) {
	h := memory(t)
	const uid = "77777777-aaaa-bbbb-cccc-555555555555"
	outer, inner := "0de7e57"+strings.Repeat("1", 57), "1de7e57"+strings.Repeat("2", 57)
	nested := func(parts ...string) (cgroup, dir string) {
		at := ""
		for i, part := range parts {
			at = filepath.Join(at, part)
			cgroup, dir = filepath.Join(h.own, at), filepath.Join(h.point, h.own, at)
			if _, err := os.Stat(dir); err == nil {
				continue
			}
			cgroup, dir = h.group(t, at)
			if h.v2 && i < len(parts)-1 {
				if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+memory"), 0); err != nil {
					t.Fatal(err)
				}
			}
		}
		return cgroup, dir
	}
	top := unique("nested")
	pod := []string{top, "kubepods", "burstable", "pod" + uid}
	docker, dockerDir := nested(append(slices.Clone(pod), outer, "docker", inner)...)
	_, daemonDir := nested(append(slices.Clone(pod), outer, "init")...) // where the daemon of version 2 moves itself
	lxc, lxcDir := nested(top, "lxc.payload.web-1")
	nspawn, nspawnDir := nested(top, "machine.slice", "systemd-nspawn@deb.service")
	for _, dir := range []string{dockerDir, daemonDir, lxcDir, nspawnDir} {
		h.join(t, dir, actor(t, "sleeper").Process.Pid)
	}
	type target struct{ Cgroup, Kind, Runtime, ID, Name, PodUID, QoS string }
	for _, c := range []struct {
		ask  string
		want target
	}{
		{inner, target{Cgroup: docker, Kind: "container", Runtime: "docker", ID: inner, PodUID: uid, QoS: "burstable"}},
		{inner[:12], target{Cgroup: docker, Kind: "container", Runtime: "docker", ID: inner, PodUID: uid, QoS: "burstable"}},
		{outer[:12], target{Cgroup: filepath.Dir(filepath.Dir(docker)), Kind: "container", ID: outer, PodUID: uid, QoS: "burstable"}},
		{uid, target{Cgroup: filepath.Join(append([]string{h.own}, pod...)...), Kind: "pod", PodUID: uid, QoS: "burstable"}},
		{"web-1", target{Cgroup: lxc, Kind: "container", Runtime: "lxc", Name: "web-1"}},
		{"deb", target{Cgroup: nspawn, Kind: "container", Runtime: "nspawn", Name: "deb"}},
	} {
		var r struct {
			Target   target
			Children []struct {
				Kind, ID   string
				UsageBytes int64
			}
			Numbers struct{ UsageBytes int64 }
		}
		if err := json.Unmarshal([]byte(run(t, "explain", c.ask, "-o", "json", "--runtime-endpoint", "none").want(t, 0).out), &r); err != nil {
			t.Fatal(err)
		}
		if r.Target != c.want {
			t.Errorf("%s: %+v, want %+v", c.ask, r.Target, c.want)
		}
		if c.want.Kind != "pod" {
			continue
		}
		sum := int64(0)
		for _, part := range r.Children {
			sum += part.UsageBytes
		}
		if sum != r.Numbers.UsageBytes || !slices.ContainsFunc(r.Children, func(part struct {
			Kind, ID   string
			UsageBytes int64
		},
		) bool {
			return part.Kind == "container" && part.ID == outer && part.UsageBytes > 0
		}) {
			t.Errorf("of %d: %+v", r.Numbers.UsageBytes, r.Children)
		}
	}
	list := run(t, "ps", "-o", "name", "--runtime-endpoint", "none").want(t, 0).out
	for _, name := range []string{outer, inner, "web-1", "deb"} {
		if !strings.Contains("\n"+list, "\n"+name+"\n") {
			t.Errorf("no %s in %q", name, list)
		}
	}
}
