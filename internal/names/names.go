// Package names owns asking the container runtimes and the kubelet of a node what
// its containers are called: which sockets, all at once and within one time, what
// is believed of their answers, and what is remembered of earlier ones.
//
// It must not know what a question of an API means (that is identity/cri,
// identity/engine and identity/kubelet) nor what a cgroup is. It only asks what
// reads, follows no redirect, and takes bounded answers: whoever listens may be
// slow, hung, broken or hostile, and costs at most the time given.
package names

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/url"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/memwhy/memwhy/internal/identity/cri"
	"github.com/memwhy/memwhy/internal/identity/engine"
	"github.com/memwhy/memwhy/internal/identity/kubelet"
	"github.com/memwhy/memwhy/internal/snapshot"
)

// Patience is what all sources together may take of a run.
const Patience = 2 * time.Second

// None, as the only endpoint, asks nobody.
const None = "none"

// Options say whom to ask.
type Options struct {
	Endpoints  []string // sockets of CRI runtimes, in place of the well-known ones
	Docker     string   // as DOCKER_HOST; in place of the well-known one
	Podman     string   // as CONTAINER_HOST; in place of the well-known ones
	RuntimeDir string   // as XDG_RUNTIME_DIR: where a user's own podman listens
	Kubelet    Kubelet
	Patience   time.Duration
	StateDir   string // where the checkpoint of what was learnt is, if that directory exists; empty: nowhere

	// Socket finds a socket of the node: where to connect to it, until close.
	Socket func(path string) (here string, close func() error, err error)
}

// Kubelet says how to ask a kubelet. Without a token it is not asked.
type Kubelet struct {
	Endpoint string // https://HOST:PORT
	Token    string
	CA       []byte // PEM: who may have signed its certificate
}

// wellKnown are the sockets of CRI runtimes, tried in this order.
//
// kubernetes cmd/kubeadm/app/constants/constants_unix.go; k3s.
var wellKnown = []string{
	"/run/containerd/containerd.sock", "/run/crio/crio.sock", "/run/cri-dockerd.sock", "/run/k3s/containerd/containerd.sock",
}

// endpoint is one source to ask.
type endpoint struct {
	kind     string
	address  string
	explicit bool  // somebody named it: that it is not there is worth a word
	refused  error // it is not asked
}

// ParseEndpoint reads the address of a unix socket: a path, or unix://PATH.
func ParseEndpoint(s string) (string, error) {
	p, ok := strings.CutPrefix(s, "unix://")
	if !ok {
		p, ok = strings.CutPrefix(s, "unix:")
	}
	if !ok && strings.Contains(s, ":") && !strings.HasPrefix(s, "/") {
		return "", fmt.Errorf("%.60q: only unix sockets are asked", s)
	}
	if !strings.HasPrefix(p, "/") {
		return "", fmt.Errorf("%.60q: want unix:///PATH or /PATH", s)
	}
	return p, nil
}

func (o *Options) endpoints() []endpoint {
	if len(o.Endpoints) == 1 && o.Endpoints[0] == None {
		return nil
	}
	var all []endpoint
	add := func(kind string, explicit bool, addresses ...string) {
		for _, a := range addresses {
			p, err := ParseEndpoint(a)
			if err != nil {
				p = a
			}
			all = append(all, endpoint{kind: kind, address: p, explicit: explicit, refused: err})
		}
	}
	if len(o.Endpoints) > 0 {
		add("cri", true, o.Endpoints...)
	} else {
		add("cri", false, wellKnown...)
	}
	if o.Docker != "" {
		add("docker", true, o.Docker)
	} else {
		add("docker", false, "/run/docker.sock")
	}
	switch {
	case o.Podman != "":
		add("podman", true, o.Podman)
	case strings.HasPrefix(o.RuntimeDir, "/"):
		add("podman", false, "/run/podman/podman.sock", o.RuntimeDir+"/podman/podman.sock")
	default:
		add("podman", false, "/run/podman/podman.sock")
	}
	if o.Kubelet.Token != "" {
		e := endpoint{kind: "kubelet", address: o.Kubelet.Endpoint, explicit: true}
		if u, err := url.Parse(e.address); err != nil || u.Scheme != "https" || u.Host == "" {
			e.refused = fmt.Errorf("%.60q: want https://HOST:PORT", e.address)
		}
		all = append(all, e)
	}
	return all
}

// Asker asks once for the list and then for details, all within its patience.
type Asker struct {
	opt    Options
	ctx    context.Context
	cancel context.CancelFunc
	left   time.Duration // of the patience, after the list
	once   sync.Once
	ready  chan struct{} // closed when the list is there

	names   snapshot.Names
	details []func(context.Context, *snapshot.Named) error // by source
}

// New makes an asker, which asks nobody yet.
func New(ctx context.Context, opt Options) *Asker {
	ctx, cancel := context.WithCancel(ctx)
	return &Asker{opt: opt, ctx: ctx, cancel: cancel, ready: make(chan struct{})}
}

// Start begins to ask for the list and does not wait for it.
func (a *Asker) Start() {
	a.once.Do(func() {
		go func() {
			defer close(a.ready)
			start := time.Now()
			a.list()
			a.remember()
			a.left = a.opt.Patience - time.Since(start)
		}()
	})
}

// Close gives up what is still asked.
func (a *Asker) Close() { a.cancel() }

// answer is what one source said.
type answer struct {
	source snapshot.NameSource
	found  []snapshot.Named
	detail func(context.Context, *snapshot.Named) error
	skip   bool // nobody is there and nobody said so
}

func (a *Asker) list() {
	ctx, cancel := context.WithTimeout(a.ctx, a.opt.Patience)
	defer cancel()
	ends := a.opt.endpoints()
	answers := make([]*answer, len(ends))
	type numbered struct {
		i int
		*answer
	}
	arrived := make(chan numbered, len(ends))
	for i, e := range ends {
		go func() { arrived <- numbered{i, a.ask(ctx, e)} }()
	}
	for range ends {
		select {
		case n := <-arrived:
			answers[n.i] = n.answer
		case <-ctx.Done():
		}
	}
	for len(arrived) > 0 {
		n := <-arrived
		answers[n.i] = n.answer
	}
	for i, e := range ends {
		if answers[i] == nil { // it may still be at it: nobody waits
			answers[i] = &answer{source: a.failed(ctx, e, ctx.Err())}
		}
	}
	a.merge(answers)
}

// ask asks one source who it is and for its list.
func (a *Asker) ask(ctx context.Context, e endpoint) *answer {
	r := &answer{source: snapshot.NameSource{Kind: e.kind, Address: e.address, State: snapshot.Present, At: time.Now().UTC()}}
	err := e.refused
	if err == nil {
		switch e.kind {
		case "cri":
			err = a.askCRI(ctx, e, r)
		case "kubelet":
			err = a.askKubelet(ctx, e, r)
		default:
			err = a.askEngine(ctx, e, r)
		}
	}
	if err != nil {
		r.source = a.failed(ctx, e, err)
		r.skip = r.source.State == snapshot.Absent && !e.explicit
	}
	r.found = bounded(&r.source, r.found)
	return r
}

func (a *Asker) askCRI(ctx context.Context, e endpoint, r *answer) error {
	c, err := a.unix(e.address, true)
	if err != nil {
		return err
	}
	call := func(ctx context.Context) cri.Call {
		return func(method string, request []byte) ([]byte, error) {
			return c.unary(ctx, "/runtime.v1.RuntimeService/"+method, request)
		}
	}
	runtime, err := cri.Greet(call(ctx))
	if err != nil {
		c.close()
		return err
	}
	r.source.Runtime = runtime.Name + " " + runtime.Version
	r.detail = func(ctx context.Context, n *snapshot.Named) error {
		later := runtime.With(call(ctx))
		if err := later.Detail(n); err != nil {
			return err
		}
		if before, ok := a.before(n); ok {
			return later.Ended(before, n)
		}
		return nil
	}
	r.found, err = runtime.List()
	return err
}

func (a *Asker) askEngine(ctx context.Context, e endpoint, r *answer) error {
	c, err := a.unix(e.address, false)
	if err != nil {
		return err
	}
	daemon, err := engine.Greet(c.within(ctx))
	if err != nil {
		c.close()
		return err
	}
	r.source.Kind, r.source.Runtime = daemon.Runtime, daemon.Runtime+" "+daemon.Version
	r.detail = func(ctx context.Context, n *snapshot.Named) error { return daemon.With(c.within(ctx)).Detail(n) }
	r.found, err = daemon.List()
	return err
}

func (a *Asker) askKubelet(ctx context.Context, e endpoint, r *answer) error {
	c, err := overTLS(e.address, a.opt.Kubelet)
	if err != nil {
		return err
	}
	r.source.Runtime = "kubelet"
	r.detail = func(ctx context.Context, n *snapshot.Named) error { return kubelet.Summary(c.within(ctx), n) }
	r.found, err = kubelet.Pods(c.within(ctx))
	return err
}

// before finds the container that ended last in the place of n.
func (a *Asker) before(n *snapshot.Named) (snapshot.Named, bool) {
	var best *snapshot.Named
	for i := range a.names.Containers {
		c := &a.names.Containers[i]
		same := c.PodUID == n.PodUID && c.Name == n.Name && c.ID != n.ID && c.Source == n.Source
		if !same || n.PodUID == "" || c.State != "exited" || c.Restarts == nil {
			continue
		}
		if best == nil || *c.Restarts > *best.Restarts {
			best = c
		}
	}
	if best == nil {
		return snapshot.Named{}, false
	}
	return *best, true
}

// failed says of a source why it gave no list.
func (a *Asker) failed(ctx context.Context, e endpoint, err error) snapshot.NameSource {
	s := snapshot.NameSource{Kind: e.kind, Address: e.address, At: time.Now().UTC()}
	s.State, s.Err = fault(ctx, err, a.opt.Patience)
	if e.refused != nil {
		s.State, s.Err = snapshot.Absent, e.refused.Error()
	}
	if s.State == snapshot.Absent && e.explicit && errors.Is(err, fs.ErrNotExist) {
		s.State = snapshot.Failed // somebody said that it is there
	}
	return s
}

// fault turns an error into a state and into words, never those of the other
// side.
func fault(ctx context.Context, err error, patience time.Duration) (snapshot.State, string) {
	var told *refusal
	switch {
	case ctx.Err() != nil, errors.Is(err, context.DeadlineExceeded):
		return snapshot.Failed, fmt.Sprintf("no whole answer within %s", patience)
	case errors.As(err, &told):
		return told.state, told.why
	case errors.Is(err, fs.ErrNotExist):
		return snapshot.Absent, "no such socket"
	case errors.Is(err, fs.ErrPermission):
		return snapshot.Denied, "permission denied"
	case errors.Is(err, syscall.ECONNREFUSED):
		return snapshot.Failed, "connection refused: nobody listens"
	case errors.Is(err, errCertificate):
		return snapshot.Failed, errCertificate.Error()
	}
	return snapshot.Failed, "no answer that makes sense"
}

// merge puts the answers together. Where several know a container, the first
// names it and the others fill in what it left out; a kubelet knows best what
// was asked for.
func (a *Asker) merge(answers []*answer) {
	byID := map[string]int{}
	a.names.Sources = []snapshot.NameSource{}
	for _, r := range answers {
		if r.skip {
			continue
		}
		source := len(a.names.Sources)
		a.names.Sources = append(a.names.Sources, r.source)
		a.details = append(a.details, r.detail)
		for _, n := range r.found {
			n.Source = source
			i, known := byID[n.ID]
			if known && n.ID != "" {
				fill(&a.names.Containers[i], n, r.source.Kind == "kubelet")
				continue
			}
			byID[n.ID] = len(a.names.Containers)
			a.names.Containers = append(a.names.Containers, n)
		}
	}
}

// Names waits for the list.
func (a *Asker) Names() snapshot.Names {
	a.Start()
	<-a.ready
	return a.names
}

// Detail asks those that know the container of this id, or the pod of this UID,
// for more about it, within what is left of the patience.
func (a *Asker) Detail(id string) snapshot.Names {
	a.Start()
	<-a.ready
	all := snapshot.Names{Sources: []snapshot.NameSource{}}
	listed, ok := a.listed(id)
	if !ok {
		return all
	}
	ctx, cancel := context.WithTimeout(a.ctx, max(a.left, a.opt.Patience/8))
	defer cancel()
	whole := listed
	asked := a.askMore(ctx, listed)
	for _, source := range slices.Sorted(maps.Keys(asked)) {
		select {
		case r := <-asked[source]:
			if r.err != nil {
				all.Sources = append(all.Sources, a.silent(ctx, source, r.err))
			}
			fill(&whole, r.n, source == listed.Source)
		case <-ctx.Done():
			all.Sources = append(all.Sources, a.silent(ctx, source, ctx.Err()))
		}
	}
	whole.Source = 0
	all.Containers = bounded(&snapshot.NameSource{}, []snapshot.Named{whole})
	return all
}

// listed finds the container of this id, or what names the pod of this UID.
func (a *Asker) listed(id string) (snapshot.Named, bool) {
	for _, c := range a.names.Containers {
		if c.ID == id || c.PodUID == id && c.Kind != snapshot.NamedContainer {
			return c, true
		}
	}
	return snapshot.Named{}, false
}

// more is what one source knows more of a container.
type more struct {
	n   snapshot.Named
	err error
}

// askMore asks, all at once, the source that named a container and the kubelet.
func (a *Asker) askMore(ctx context.Context, listed snapshot.Named) map[int]chan more {
	asked := map[int]chan more{}
	for i, detail := range a.details {
		s := a.names.Sources[i]
		if detail == nil || s.State != snapshot.Present || i != listed.Source && s.Kind != "kubelet" {
			continue
		}
		arrived := make(chan more, 1)
		asked[i] = arrived
		go func() {
			n := listed
			n.Says = nil
			err := detail(ctx, &n)
			arrived <- more{n, err}
		}()
	}
	return asked
}

// silent says why a source that gave a list gave no more.
func (a *Asker) silent(ctx context.Context, source int, err error) snapshot.NameSource {
	s := a.names.Sources[source]
	s.State, s.Err = fault(ctx, err, a.opt.Patience)
	return s
}
