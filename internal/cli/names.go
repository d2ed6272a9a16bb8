package cli

import (
	"context"
	"os"
	"path"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/memwhy/memwhy/internal/explain"
	"github.com/memwhy/memwhy/internal/wire"
)

// naming adds the flags that say whom to ask for names.
func (a *app) naming(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringSliceVar(&a.endpoints, "runtime-endpoint", nil,
		"sockets of CRI runtimes, in place of the well-known ones; none asks nobody for names ($CONTAINER_RUNTIME_ENDPOINT)")
	a.remembering(cmd)
	f.DurationVar(&a.patience, "runtime-timeout", 2*time.Second, "for all that is asked for names together, at most half of --timeout")
	f.StringVar(&a.kubeletEndpoint, "kubelet-endpoint", "https://127.0.0.1:10250", "the kubelet of the node")
	f.StringVar(&a.kubeletToken, "kubelet-token-file", "", "ask the kubelet, with the token in this file")
	f.StringVar(&a.kubeletCA, "kubelet-ca-file", "", "who signed its certificate (default: its own, /var/lib/kubelet/pki/kubelet.crt)")
}

// remembering adds the flag of the state directory.
func (a *app) remembering(cmd *cobra.Command) {
	cmd.Flags().StringVar(&a.state, "state-dir", "",
		"where names that were learnt are kept for containers that are gone; made when named here, none for nowhere (default: /var/lib/memwhy, or memwhy in $XDG_STATE_HOME for others than root, if it exists)")
}

// stateDir is the state directory; empty is none.
func (a *app) stateDir() string {
	switch {
	case a.state == wire.Nowhere:
		return ""
	case a.state != "":
		return a.state
	case os.Geteuid() == 0:
		return "/var/lib/memwhy"
	}
	if dir := os.Getenv("XDG_STATE_HOME"); path.IsAbs(dir) {
		return path.Join(dir, "memwhy")
	}
	if home := os.Getenv("HOME"); path.IsAbs(home) {
		return path.Join(home, ".local/state/memwhy")
	}
	return ""
}

// names says whom to ask. Addresses that nobody typed in this command are those
// of the environment, as crictl, docker and podman take them.
func (a *app) names() (wire.Naming, error) {
	o := wire.Naming{
		Endpoints: a.endpoints, Docker: os.Getenv("DOCKER_HOST"), Podman: os.Getenv("CONTAINER_HOST"),
		StateDir: a.stateDir(),
	}
	if os.Geteuid() != 0 { // root believes nobody's own podman
		o.RuntimeDir = os.Getenv("XDG_RUNTIME_DIR")
	}
	if a.state != "" && o.StateDir != "" {
		if err := wire.MakeStateDir(o.StateDir); err != nil {
			return o, &coded{openCode(err), err, ""}
		}
	}
	if o.Patience = a.patience; o.Patience <= 0 {
		return o, usageError("--runtime-timeout %s: must be positive", a.patience)
	}
	for _, e := range o.Endpoints {
		if err := wire.CheckEndpoint(e); err != nil {
			return o, usageError("--runtime-endpoint %w", err)
		}
	}
	if env := os.Getenv("CONTAINER_RUNTIME_ENDPOINT"); len(o.Endpoints) == 0 && env != "" {
		o.Endpoints = []string{env}
	}
	if a.kubeletToken == "" {
		return o, nil
	}
	token, err := os.ReadFile(a.kubeletToken)
	if err != nil {
		return o, &coded{openCode(err), err, ""}
	}
	o.Kubelet.Endpoint, o.Kubelet.Token = a.kubeletEndpoint, strings.TrimSpace(string(token))
	if strings.ContainsAny(o.Kubelet.Token, "\r\n\x00") || o.Kubelet.Token == "" {
		return o, usageError("--kubelet-token-file %s: want one token", a.kubeletToken)
	}
	ca := a.kubeletCA
	if ca == "" && path.Clean(a.hostRoot) == "/" {
		ca = "/var/lib/kubelet/pki/kubelet.crt"
	}
	if o.Kubelet.CA, err = os.ReadFile(ca); err != nil && a.kubeletCA != "" {
		return o, &coded{openCode(err), err, ""}
	}
	return o, nil
}

// maxCompletions is how many names a shell gets to choose from.
const maxCompletions = 200

// complete gives a shell the names of the containers that live now.
func (a *app) complete(cmd *cobra.Command, args []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 || a.from != "" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
	defer cancel()
	a.timeout, a.state = 2*time.Second, wire.Nowhere // pressing a key writes nothing
	n, err := a.open(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	defer n.Close()
	l, err := n.List(wire.Want{}, explain.Selection{Sort: explain.ByName})
	if err != nil || l.Scope != "containers" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var names []string
	for _, c := range l.Containers {
		// A name with a space or a control character is no word of a shell.
		word := c.Target.Name
		if word == "" || strings.ContainsFunc(word, unfitForShell) {
			word = c.Target.ID[:min(12, len(c.Target.ID))]
		}
		if word != "" && strings.HasPrefix(word, begun) && len(names) < maxCompletions {
			names = append(names, word)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// unfitForShell keeps to what Kubernetes, docker and podman allow in names.
func unfitForShell(r rune) bool {
	return !(r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_./", r))
}
