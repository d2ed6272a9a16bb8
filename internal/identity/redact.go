package identity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"path"
	"strings"
)

// Redactor replaces names by keyed hashes: equal names become equal hashes, so
// that what belongs together stays together, and without the key nothing leads
// back. What Parse finds in a path it finds in the redacted path too, with other
// ids and names. It may be used by many goroutines.
type Redactor struct{ key []byte }

// NewRedactor makes a redactor. The key is to be random and kept by nobody: who
// has it can test guesses.
func NewRedactor(key []byte) *Redactor { return &Redactor{append([]byte(nil), key...)} }

// Path replaces every part of a path that is not a public word. Ids and UIDs
// become others of the same form, and what runtimes and systemd put around them
// stays; other parts become x and 12 hex digits.
func (r *Redactor) Path(p string) string {
	parts := strings.Split(p, "/")
	for i, part := range parts {
		parts[i] = r.part(part)
	}
	return strings.Join(parts, "/")
}

// Name replaces the name of a process, or another single word, unless it is that
// of public software.
func (r *Redactor) Name(s string) string {
	if s == "" || publicNames[s] {
		return s
	}
	if name, ok := strings.CutSuffix(s, deleted); ok && len(s) <= maxName {
		return r.Name(name) + deleted
	}
	return r.hash(s)
}

// ID replaces the id of a container or the UID of a pod, as Path does with those
// in a path. A shortened id becomes another than the whole one.
func (r *Redactor) ID(id string) string {
	switch {
	case isUID(id, '-'), isUID(id, '_'):
		return r.uid(id)
	case len(id) <= 64 && isHex(id):
		return r.sum(id)[:len(id)]
	case id == "":
		return ""
	}
	return r.hash(id)
}

// Command trims a command line and replaces the names in its first word. What is
// left of the others says nothing about anybody.
func (r *Redactor) Command(args []string) []string {
	args = TrimCommand(args)
	if len(args) > 0 {
		dir, base := path.Split(args[0])
		args[0] = r.Path(dir) + r.Name(base)
	}
	return args
}

// deleted is what the kernel adds to the path of what has been removed.
const deleted = " (deleted)"

func (r *Redactor) part(part string) string {
	if part == "" || publicParts[part] {
		return part
	}
	if rest, ok := strings.CutSuffix(part, deleted); ok && len(part) <= maxName {
		return r.part(rest) + deleted
	}
	n := takeApart(part)
	return r.lead(n) + n.before + r.own(n) + n.after
}

// lead replaces the slice in front of a name, as where it stands alone.
func (r *Redactor) lead(n name) string {
	if n.lead == "" || strings.HasSuffix(n.lead, ".slice") {
		return r.part(n.lead)
	}
	return r.unit(n.lead)
}

func (r *Redactor) own(n name) string {
	switch n.shape {
	case kubeRoot, kubeClass:
		return ""
	case kubePod, podmanPod, scope, monitor, bareID:
		return r.ID(n.own)
	case lxcPayload, lxcMonitor, nspawn:
		return r.part(n.own)
	case unit:
		return r.unit(n.own)
	}
	return r.hash(n.own)
}

// unit replaces the name of a systemd unit, without its suffix.
func (r *Redactor) unit(name string) string {
	if publicParts[name] || publicNames[name] {
		return name
	}
	return r.hash(name)
}

func (r *Redactor) hash(s string) string { return "x" + r.sum(s)[:12] }

// uid keeps the form. The two spellings of one UID, and the one without
// anything between its digits, become those of one other.
func (r *Redactor) uid(uid string) string {
	sum := r.sum(strings.NewReplacer("-", "", "_", "").Replace(uid))
	if len(uid) == 32 {
		return sum[:32]
	}
	return strings.Join([]string{sum[:8], sum[8:12], sum[12:16], sum[16:20], sum[20:32]}, uid[8:9])
}

func (r *Redactor) sum(s string) string {
	h := hmac.New(sha256.New, r.key)
	h.Write([]byte(s))
	return hex.EncodeToString(h.Sum(nil))
}
