package names

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// recording is what a real daemon answered, by question.
func recording(t testing.TB, name string) map[string]json.RawMessage {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("testdata", name+".json"))
	if err != nil {
		t.Fatal(err)
	}
	var rec map[string]json.RawMessage
	if err := json.Unmarshal(b, &rec); err != nil {
		t.Fatal(err)
	}
	return rec
}

// replay answers questions as a recording did, and fails the test for a question
// that does not read.
func replay(t testing.TB, name string) http.Handler {
	rec := recording(t, name)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		key := "GET " + r.URL.RequestURI()
		grpc := r.Header.Get("Content-Type") == "application/grpc"
		if grpc {
			body, _ := io.ReadAll(r.Body)
			key = r.URL.Path
			if id := bytes.TrimPrefix(body[5:], []byte("\x0a\x40")); len(id) >= 64 {
				key += " " + string(id[:64])
			}
		} else if r.Method != http.MethodGet {
			t.Errorf("%s %s: only GET reads", r.Method, r.URL)
		}
		answer, ok := rec[key]
		if !ok {
			t.Errorf("%s was asked %s, which nobody recorded", name, key)
			http.NotFound(w, r)
			return
		}
		if !grpc {
			_, _ = w.Write(answer)
			return
		}
		var message []byte
		if err := json.Unmarshal(answer, &message); err != nil {
			t.Error(err)
		}
		writeMessage(w, message)
	})
}

func writeMessage(w http.ResponseWriter, message []byte) {
	w.Header().Set("Content-Type", "application/grpc")
	w.Header().Set("Trailer", "Grpc-Status")
	_, _ = w.Write(append(binary.BigEndian.AppendUint32([]byte{0}, uint32(len(message))), message...))
	w.Header().Set("Grpc-Status", "0")
}

// listen serves h on a unix socket, as HTTP/1 and HTTP/2.
func listen(t testing.TB, h http.Handler) (socket string) {
	t.Helper()
	l, socket := socketOf(t)
	s := &http.Server{Handler: h, Protocols: new(http.Protocols)}
	s.Protocols.SetHTTP1(true)
	s.Protocols.SetUnencryptedHTTP2(true)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { _ = s.Close() })
	return socket
}

func socketOf(t testing.TB) (net.Listener, string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "names") // short: the name of a socket has 107 bytes
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("unix", filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l, l.Addr().String()
}

// direct finds sockets where they are.
func direct(p string) (string, func() error, error) {
	_, err := os.Stat(p)
	return p, func() error { return nil }, err
}

func asker(t testing.TB, opt Options) *Asker {
	t.Helper()
	if opt.Patience == 0 {
		opt.Patience = time.Minute
	}
	if opt.Socket == nil {
		opt.Socket = direct
	}
	// What really listens on this machine is none of the test's business.
	for _, s := range []*string{&opt.Docker, &opt.Podman} {
		if *s == "" {
			*s = "/nonexistent"
		}
	}
	if opt.Endpoints == nil {
		opt.Endpoints = []string{"/nonexistent"}
	}
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	return New(ctx, opt)
}

// options asks only the one kind.
func options(kind, socket string) Options {
	switch kind {
	case "docker":
		return Options{Docker: socket}
	case "podman":
		return Options{Podman: "unix://" + socket}
	}
	return Options{Endpoints: []string{socket}}
}

const mib = 1 << 20

// suite is what every runtime has to tell of what really ran when it was
// recorded.
var suite = []struct {
	kind, recording, runtime string
	want                     []snapshot.Named // without labels, source, times and what says
	labels                   map[string]string
	says                     string
}{
	{
		kind: "docker", recording: "docker-20.10.24", runtime: "docker 20.10.24+dfsg1",
		want: []snapshot.Named{
			{Kind: "container", Name: "web", Image: "localhost/workload:e2e", State: "running", Limit: 128 * mib, Request: 64 * mib, PID: 1},
			{Kind: "container", Name: "oomed", Image: "localhost/workload:e2e", State: "exited", Limit: 16 * mib, Last: ended("OOMKilled", 137)},
		},
		labels: map[string]string{"app": "web", "team": "Команда 写"}, says: "docker stats",
	},
	{
		kind: "podman", recording: "podman-4.3.1", runtime: "podman 4.3.1",
		want: []snapshot.Named{
			{Kind: "container", Name: "p1", Image: "localhost/workload:e2e", State: "running", Limit: 128 * mib, PID: 1, Cgroup: "/libpod_parent/libpod-"},
			{Kind: "container", Name: "p2", Pod: "duo", Image: "localhost/workload:e2e", State: "running", PID: 1, Cgroup: "/libpod_parent/"},
			{Kind: "sandbox", Pod: "duo", Image: "localhost/pause:e2e", State: "running", PID: 1, Cgroup: "/libpod_parent/"},
		},
		labels: map[string]string{"app": "db"}, says: "podman, systemd",
	},
	{
		kind: "cri", recording: "containerd-1.6.20", runtime: "containerd 1.6.20~ds1",
		want: []snapshot.Named{
			{
				Kind: "container", Namespace: "payments", Pod: "render-7d9f", Name: "app", Image: "localhost/workload:e2e",
				State: "running", Limit: 128 * mib, PID: 1, Restarts: ptr(1), Last: ended("OOMKilled", 137), Cgroup: "/kubepods/burstable/pod11111111-2222-3333-4444-555555555555/",
			},
			{Kind: "container", Namespace: "payments", Pod: "render-7d9f", Name: "app", Image: "localhost/workload:e2e", State: "exited", Limit: 16 * mib, Restarts: ptr(0), Last: ended("OOMKilled", 137)},
			{Kind: "container", Namespace: "payments", Pod: "render-7d9f", Name: "sidecar", Image: "localhost/workload:e2e", State: "running", Limit: 128 * mib, PID: 1, Restarts: ptr(0), Cgroup: "/kubepods/"},
			{Kind: "container", Namespace: "shop", Pod: "render-7d9f", Name: "app", Image: "localhost/workload:e2e", State: "running", Limit: 128 * mib, PID: 1, Restarts: ptr(0), Cgroup: "/kubepods/"},
			{Kind: "sandbox", Namespace: "payments", Pod: "render-7d9f", State: "running"},
			{Kind: "sandbox", Namespace: "shop", Pod: "render-7d9f", State: "running"},
		},
		labels: map[string]string{"app": "render", "io.kubernetes.container.name": "app"}, says: "kubectl, crictl",
	},
}

func ptr(n int64) *int64 { return &n }

func ended(reason string, code int64) *snapshot.Termination {
	return &snapshot.Termination{Reason: reason, ExitCode: &code}
}

// One suite for all runtimes: the list, then each container in detail.
func TestConformance(t *testing.T) {
	for _, c := range suite {
		t.Run(c.recording, func(t *testing.T) {
			a := asker(t, options(c.kind, listen(t, replay(t, c.recording))))
			names := a.Names()
			src := sourceOf(t, names, c.kind)
			if src.State != snapshot.Present || src.Runtime != c.runtime || src.Err != "" {
				t.Errorf("source %+v", src)
			}
			if len(names.Containers) != len(c.want) {
				t.Fatalf("%d containers, want %d: %+v", len(names.Containers), len(c.want), names.Containers)
			}
			var labelled, said bool
			for _, n := range names.Containers {
				detailed := a.Detail(n.ID)
				if len(detailed.Containers) != 1 || len(detailed.Sources) != 0 {
					t.Fatalf("detail of %s: %+v", n.Name, detailed)
				}
				got := detailed.Containers[0]
				labelled = labelled || subset(c.labels, got.Labels)
				for _, s := range got.Says {
					said = said || s.Tool == c.says && s.Bytes > mib && s.Bytes < 128*mib
				}
				if got.Last != nil && (c.kind == "cri") != (got.Last.ID != "") {
					t.Errorf("%s ended as %+v", got.Name, got.Last)
				}
				if !slices.ContainsFunc(c.want, func(w snapshot.Named) bool { return cmp.Equal(w, comparable(got, w)) }) {
					t.Errorf("nothing like %+v ran", got)
				}
			}
			if !labelled || !said {
				t.Errorf("labels %v, says %v", labelled, said)
			}
		})
	}
}

// comparable is got without what differs from run to run.
func comparable(got, want snapshot.Named) snapshot.Named {
	got.ID, got.PodUID, got.Sandbox, got.Runtime, got.Labels, got.Says, got.Source = "", "", "", "", nil, nil, 0
	if got.PID > 1 {
		got.PID = 1
	}
	if got.Name == "" || got.Kind == snapshot.NamedSandbox {
		got.Name = want.Name
	}
	if strings.HasPrefix(got.Cgroup, want.Cgroup) {
		got.Cgroup = want.Cgroup
	}
	if got.Last != nil {
		last := *got.Last
		if last.At.Year() < 2020 {
			last.Reason = "no time"
		}
		last.At, last.ID = time.Time{}, ""
		got.Last = &last
	}
	if want.Restarts == nil && got.Restarts != nil && *got.Restarts == 0 {
		got.Restarts = nil
	}
	return got
}

func subset(want, got map[string]string) bool {
	for k, v := range want {
		if got[k] != v {
			return false
		}
	}
	return true
}

func sourceOf(t *testing.T, n snapshot.Names, kind string) snapshot.NameSource {
	t.Helper()
	for _, s := range n.Sources {
		if s.Kind == kind && s.Address != "/nonexistent" {
			return s
		}
	}
	t.Fatalf("no source %s in %+v", kind, n.Sources)
	return snapshot.NameSource{}
}

// A socket of podman's that stands where docker's does is podman's.
func TestPodmanOnDockersSocket(t *testing.T) {
	n := asker(t, options("docker", listen(t, replay(t, "podman-4.3.1")))).Names()
	if s := sourceOf(t, n, "podman"); s.Runtime != "podman 4.3.1" || len(n.Containers) != 3 {
		t.Errorf("%+v", n)
	}
}

// Two runtimes at once, and a third that hangs, within one time.
func TestSeveralAtOnce(t *testing.T) {
	opt := options("docker", listen(t, replay(t, "docker-20.10.24")))
	_, hung := socketOf(t)
	opt.Endpoints = []string{listen(t, replay(t, "containerd-1.6.20")), hung}
	opt.Patience = 3 * time.Second
	n := asker(t, opt).Names()
	runtimes := map[string]int{}
	for _, c := range n.Containers {
		runtimes[c.Runtime]++
	}
	if runtimes["docker"] != 2 || runtimes["containerd"] != 6 {
		t.Errorf("%v", runtimes)
	}
	failed := 0
	for _, s := range n.Sources {
		if s.Address == hung && s.State == snapshot.Failed && strings.Contains(s.Err, "no whole answer within 3s") {
			failed++
		}
	}
	if failed != 1 {
		t.Errorf("%+v", n.Sources)
	}
}

// Whoever listens, it ends within the time and says one thing of each.
func TestBadSockets(t *testing.T) {
	raw := func(serve func(net.Conn)) func(t *testing.T) string {
		return func(t *testing.T) string {
			l, socket := socketOf(t)
			go func() {
				for {
					c, err := l.Accept()
					if err != nil {
						return
					}
					go func() { defer c.Close(); serve(c) }()
				}
			}()
			return socket
		}
	}
	handler := func(h http.HandlerFunc) func(t *testing.T) string {
		return func(t *testing.T) string { return listen(t, h) }
	}
	endless := func(w io.Writer) {
		block := bytes.Repeat([]byte(`{"Id":"x"},`), 1<<12)
		for {
			if _, err := w.Write(block); err != nil {
				return
			}
		}
	}
	for name, c := range map[string]struct {
		serve func(t *testing.T) string
		says  []string // any of
		hangs bool
	}{
		"nobody":  {func(*testing.T) string { return "/nonexistent" }, []string{"no such socket"}, false},
		"a file":  {func(t *testing.T) string { return writeFile(t) }, []string{"no answer that makes sense", "nobody listens"}, false},
		"closed":  {raw(func(net.Conn) {}), []string{"no answer that makes sense"}, false},
		"silent":  {raw(func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }), []string{"no whole answer within"}, true},
		"garbage": {raw(func(c net.Conn) { _, _ = c.Write([]byte("\x1b[2J<script>\x00\xff\r\n\r\n")) }), []string{"no answer that makes sense"}, false},
		"endless header": {raw(func(c net.Conn) {
			_, _ = c.Write([]byte("HTTP/1.1 200 OK\r\nX: "))
			endless(c)
		}), []string{"no answer that makes sense"}, false},
		"endless answer": {handler(func(w http.ResponseWriter, _ *http.Request) {
			_, _ = w.Write([]byte("["))
			endless(w)
		}), []string{"longer than 16 MiB"}, false},
		"slow answer": {handler(func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = w.Write([]byte(" "))
				_ = http.NewResponseController(w).Flush()
				time.Sleep(10 * time.Millisecond)
			}
		}), []string{"no whole answer within"}, true},
		"redirect": {handler(func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://127.0.0.1:1/steal", http.StatusFound)
		}), []string{"302"}, false},
		"forbidden": {handler(func(w http.ResponseWriter, _ *http.Request) {
			http.Error(w, "\x1b[31mno", http.StatusForbidden)
		}), []string{"403"}, false},
		"no JSON": {
			handler(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("{\"Version\": \x1b")) }),
			[]string{"no answer that makes sense", "not JSON"},
			false,
		},
		"deep JSON": {
			handler(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Repeat([]byte("["), 1<<20)) }),
			[]string{"no answer that makes sense", "not JSON"},
			false,
		},
		"other JSON": {
			handler(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(`{"Version": [1]}`)) }),
			[]string{"no answer that makes sense", "not the expected"},
			false,
		},
		"a frame that lies": {handler(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Trailer", "Grpc-Status")
			_, _ = w.Write([]byte{0, 0xff, 0xff, 0xff, 0xff, 1})
			w.Header().Set("Grpc-Status", "0")
		}), []string{"no answer that makes sense"}, false},
	} {
		for _, kind := range []string{"cri", "docker", "podman"} {
			t.Run(name+"/"+kind, func(t *testing.T) {
				opt := options(kind, c.serve(t))
				opt.Patience = 20 * time.Second
				if c.hangs {
					opt.Patience = 300 * time.Millisecond
				}
				a := asker(t, opt)
				n := a.Names()
				if len(n.Containers) > 0 {
					t.Errorf("containers out of nothing: %+v", n.Containers)
				}
				var said []string
				for _, s := range n.Sources {
					if s.Kind != kind {
						continue
					}
					said = append(said, s.Err)
					if s.State == snapshot.Present || s.Err == "" || strings.ContainsAny(s.Err, "\x1b\n<\x00") {
						t.Errorf("%+v", s)
					}
				}
				if len(said) != 1 || !slices.ContainsFunc(c.says, func(w string) bool { return strings.Contains(said[0], w) }) {
					t.Errorf("said %q, want one of %q", said, c.says)
				}
			})
		}
	}
}

func writeFile(t *testing.T) string {
	name := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(name, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

// Addresses other than of unix sockets are refused, and the rest still answers.
func TestOtherAddresses(t *testing.T) {
	opt := options("podman", listen(t, replay(t, "podman-4.3.1")))
	opt.Docker = "tcp://10.0.0.1:2375"
	n := asker(t, opt).Names()
	s := sourceOf(t, n, "docker")
	if s.State != snapshot.Absent || !strings.Contains(s.Err, "only unix sockets") || len(n.Containers) != 3 {
		t.Errorf("%+v", n)
	}
	for in, want := range map[string]string{
		"unix:///a/b": "/a/b", "unix:/a": "/a", "/a": "/a", "ssh://x": "", "npipe:////./pipe/x": "", "unix://a": "", "": "", "a": "",
	} {
		if got, err := ParseEndpoint(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
}

// Well-known sockets that are not there are not worth a word; with none nobody
// is asked at all.
func TestNobody(t *testing.T) {
	opt := Options{Patience: time.Second, RuntimeDir: "/nowhere", Socket: func(p string) (string, func() error, error) {
		return "", nil, &os.PathError{Op: "open", Path: p, Err: os.ErrNotExist}
	}}
	if n := New(t.Context(), opt).Names(); len(n.Sources) != 0 || len(n.Containers) != 0 {
		t.Errorf("%+v", n)
	}
	opt.Endpoints, opt.Docker = []string{None}, "tcp://x:1"
	opt.Socket = func(p string) (string, func() error, error) {
		t.Errorf("%s was looked for", p)
		return "", nil, os.ErrNotExist
	}
	if n := New(t.Context(), opt).Names(); len(n.Sources) != 0 {
		t.Errorf("%+v", n)
	}
}

// What is believed of one source is bounded.
func TestBounds(t *testing.T) {
	long := strings.Repeat("x", 1<<16)
	many := map[string]string{}
	for i := range 1000 {
		many[fmt.Sprintf("%04d%s", i, long[:1000])] = long
	}
	all := make([]map[string]any, 200)
	for i := range all {
		all[i] = map[string]any{"Id": fmt.Sprintf("%064x", i), "Names": []string{"/" + long}, "Image": long}
	}
	all[0]["Labels"] = many
	list, _ := json.Marshal(all)
	n := asker(t, options("docker", listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/version" {
			_, _ = w.Write([]byte(`{"Version":"1","ApiVersion":"1.41"}`))
			return
		}
		_, _ = w.Write(list[:min(len(list), maxAnswer+1)])
	})))).Names()
	if len(list) <= maxAnswer {
		t.Fatal("the answer is not too long")
	}
	if s := sourceOf(t, n, "docker"); s.State != snapshot.Failed || len(n.Containers) != 0 {
		t.Errorf("%+v", s)
	}
	src := snapshot.NameSource{}
	named := make([]snapshot.Named, maxContainers+1)
	named[0] = snapshot.Named{Name: long, Cgroup: long, Labels: many}
	named = bounded(&src, named)
	if len(named) != maxContainers || src.Err == "" || len(named[0].Name) != maxName || len(named[0].Cgroup) != maxPath || len(named[0].Labels) != maxLabels {
		t.Errorf("%d containers, %q, %d labels", len(named), src.Err, len(named[0].Labels))
	}
	for k, v := range named[0].Labels {
		if len(k) > maxLabel || len(v) > maxLabel {
			t.Errorf("a label of %d and %d bytes", len(k), len(v))
		}
	}
}

// A runtime that dies between the list and the question for more costs a word.
func TestDiesBetween(t *testing.T) {
	h := replay(t, "containerd-1.6.20")
	var dead atomic.Bool
	a := asker(t, options("cri", listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if dead.Load() {
			panic(http.ErrAbortHandler)
		}
		h.ServeHTTP(w, r)
	}))))
	n := a.Names()
	dead.Store(true)
	d := a.Detail(n.Containers[2].ID)
	if len(d.Sources) != 1 || d.Sources[0].State != snapshot.Failed || len(d.Containers) != 1 || d.Containers[0].Name != n.Containers[2].Name {
		t.Errorf("%+v", d)
	}
	if d := a.Detail("no such"); len(d.Containers) != 0 || len(d.Sources) != 0 {
		t.Errorf("%+v", d)
	}
}

// A containerd whose CRI is off, as dockers are shipped with, is no failure.
func TestNoCRI(t *testing.T) {
	n := asker(t, options("cri", listen(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/grpc")
		w.Header().Set("Grpc-Status", "12")
	})))).Names()
	if s := sourceOf(t, n, "cri"); s.State != snapshot.Absent || !strings.Contains(s.Err, "CRI") {
		t.Errorf("%+v", s)
	}
}

// A kubelet is asked with its token, over a certificate of the authority that
// was given and no other; what it knows joins what CRI knows.
func TestKubelet(t *testing.T) {
	const id, uid = "0a0985d031463da82e2e86f1bb7a0a84453b2a2f940a7e312644cb7da4c13ebb", "23abb2b87181f184b042f8cfae639178"
	answers := replay(t, "kubelet-1.33.13")
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer tok" {
			http.Error(w, "", http.StatusUnauthorized)
			return
		}
		answers.ServeHTTP(w, r)
	}))
	defer s.Close()
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw})
	ask := func(k Kubelet) (*Asker, snapshot.Names) {
		k.Endpoint = s.URL
		a := asker(t, Options{Kubelet: k})
		return a, a.Names()
	}
	a, n := ask(Kubelet{Token: "tok", CA: ca})
	if s := sourceOf(t, n, "kubelet"); s.State != snapshot.Present || len(n.Containers) != 3 {
		t.Fatalf("%+v", n)
	}
	for _, c := range n.Containers {
		if c.Namespace != "shop" || c.Pod != "web-e2e-node" || c.PodUID != uid || c.QoS != "burstable" || c.Labels["app"] != "web" {
			t.Errorf("%+v", c)
		}
		if c.Name == "eater" && (*c.Restarts != 3 || c.Last == nil || c.Last.Reason != "OOMKilled" || *c.Last.ExitCode != 137 || c.Limit != 16*mib) {
			t.Errorf("%+v", c)
		}
	}
	c := a.Detail(id).Containers[0]
	if c.Name != "app" || c.State != "running" || c.Request != 32*mib || c.Limit != 96*mib || *c.Restarts != 0 || c.Last != nil ||
		c.Image != "localhost/workload:e2e" || len(c.Says) != 1 || c.Says[0].Bytes != 28086272 || c.Says[0].At.Year() != 2026 {
		t.Errorf("%+v", c)
	}
	if p := a.Detail(uid).Containers[0]; len(p.Says) != 1 || p.Says[0].Bytes != 29073408 {
		t.Errorf("%+v", p)
	}
	for name, c := range map[string]struct {
		k     Kubelet
		state snapshot.State
		says  string
	}{
		"token":       {Kubelet{Token: "other", CA: ca}, snapshot.Denied, "401"},
		"no CA":       {Kubelet{Token: "tok"}, snapshot.Failed, "--kubelet-ca-file"},
		"a stranger":  {Kubelet{Token: "tok", CA: stranger(t)}, snapshot.Failed, "certificate"},
		"not a token": {Kubelet{Token: "", CA: ca}, snapshot.Absent, ""},
	} {
		_, n := ask(c.k)
		i := slices.IndexFunc(n.Sources, func(s snapshot.NameSource) bool { return s.Kind == "kubelet" })
		if c.says == "" {
			if i >= 0 {
				t.Errorf("%s: it was asked", name)
			}
			continue
		}
		if i < 0 || n.Sources[i].State != c.state || !strings.Contains(n.Sources[i].Err, c.says) {
			t.Errorf("%s: %+v", name, n.Sources)
		}
	}
}

// stranger is a certificate of somebody else.
func stranger(t *testing.T) []byte {
	t.Helper()
	b, err := os.ReadFile("testdata/stranger.pem")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// 300 containers of every runtime take one list each.
func TestManyContainers(t *testing.T) {
	var containers []byte
	for i := range 300 {
		one := append([]byte{0x0a, 64}, fmt.Sprintf("%064x", i)...)
		one = append(one, 0x1a, 6, 0x0a, 4, 'n', 'a', 'm', 'e')
		containers = append(append(containers, 0x0a, byte(len(one))), one...)
	}
	var asked atomic.Int64
	n := asker(t, options("cri", listen(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		switch path := r.URL.Path; {
		case strings.HasSuffix(path, "/Version"):
			version, _ := base64.StdEncoding.DecodeString("EgR0ZXN0")
			writeMessage(w, version)
		case strings.HasSuffix(path, "/ListContainers"):
			writeMessage(w, containers)
		default:
			writeMessage(w, nil)
		}
	})))).Names()
	if len(n.Containers) != 300 || asked.Load() != 3 {
		t.Errorf("%d containers by %d questions", len(n.Containers), asked.Load())
	}
}

// CRI names a container, the kubelet adds what it alone knows.
func TestSeveralKnowOne(t *testing.T) {
	n := snapshot.Named{Name: "app", Image: "sha256:12", State: "running", Restarts: ptr(1), Limit: 7, Labels: map[string]string{"a": "b"}}
	fill(&n, snapshot.Named{
		Name: "other", Image: "reg/app:1", QoS: "burstable", Restarts: ptr(3), Request: 5, Limit: 9, Last: ended("OOMKilled", 137),
		Labels: map[string]string{"c": "d"}, Says: []snapshot.ToolSays{{Tool: "x"}},
	}, true)
	want := snapshot.Named{
		Name: "app", Image: "reg/app:1", State: "running", QoS: "burstable", Restarts: ptr(3), Request: 5, Limit: 9, Last: ended("OOMKilled", 137),
		Labels: map[string]string{"a": "b"}, Says: []snapshot.ToolSays{{Tool: "x"}},
	}
	if d := cmp.Diff(want, n); d != "" {
		t.Error(d)
	}
}
