package identity

import "github.com/memwhy/memwhy/internal/snapshot"

// Who is what is known of a cgroup: what its path says and, where a runtime or
// the kubelet told, what that said.
type Who struct {
	Identity
	Named *snapshot.Named // of the container; of a pod what names it; nil when nobody told
	Title string          // what a person calls it; empty when it has only ids
}

// Of tells who the cgroup at path is. A container is known by its id; one that
// nobody named still has its pod's name, if that is known.
func Of(path string, names *snapshot.Names) Who {
	w := Who{Identity: Parse(path)}
	switch w.Kind {
	case Container, Monitor:
		if n, ok := names.ByID(w.ID); ok {
			w.Named, w.Title = n, Title(n)
			if w.Kind == Monitor {
				w.Title += " (monitor)"
			}
		} else if n, ok := names.ByPod(w.PodUID); ok {
			w.Title = podTitle(n) + "/" + w.ID[:min(len(w.ID), 12)]
		}
	case Pod:
		if n, ok := names.ByPod(w.PodUID); ok {
			w.Named, w.Title = n, podTitle(n)
		}
	}
	if w.Title == "" {
		w.Title = w.Name
	}
	return w
}

// Sandbox reports the container that holds the namespaces of a pod.
func (w *Who) Sandbox() bool {
	return w.Kind == Container && w.Named != nil && w.Named.Kind == snapshot.NamedSandbox
}

// Title is what a person calls a container or a pod: namespace/pod/container,
// namespace/pod, or a name alone.
func Title(n *snapshot.Named) string {
	pod := podTitle(n)
	switch {
	case n.Kind == snapshot.NamedContainer && pod != "":
		return pod + "/" + n.Name
	case n.Kind == snapshot.NamedSandbox && pod != "":
		return pod + " (sandbox)"
	case pod != "":
		return pod
	}
	return n.Name
}

func podTitle(n *snapshot.Named) string {
	if n.Namespace != "" && n.Pod != "" {
		return n.Namespace + "/" + n.Pod
	}
	return n.Pod
}

// Calls are the names under which a user may ask for w.
func (w *Who) Calls() []string {
	n := w.Named
	switch {
	case w.Kind == Pod && n == nil: // nobody said its name; its path has the UID
		return []string{w.PodUID}
	case w.Kind == Monitor || w.Title == "":
		return nil
	case n == nil || w.Sandbox():
		return []string{w.Title}
	case w.Kind == Pod:
		return []string{n.Pod, w.Title, n.PodUID}
	}
	return []string{n.Name, n.Pod + "/" + n.Name, w.Title}
}
