package render

import (
	"fmt"
	"strings"

	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/words"
)

// Doctor renders what may be seen here: one screen, or with wide all of it.
func Doctor(d *report.Doctor, wide bool) []byte {
	if wide {
		p := page{Printer: words.In(d.Lang)}
		p.doctor(d, true, 1)
		return p.Bytes()
	}
	p := page{Printer: words.In(d.Lang), width: Width}
	if p.doctor(d, false, 2); strings.Count(p.String(), "\n") >= Height {
		p = page{Printer: words.In(d.Lang), width: Width}
		p.doctor(d, false, 1)
	}
	return p.screen(d)
}

// doctor prints all but the ways to have what refuses, each reason on at most
// most lines.
func (p *page) doctor(d *report.Doctor, wide bool, most int) {
	p.fold("  ", 3, d.Summary)
	who := p.looker(d.User)
	for _, f := range d.Facts {
		if f.ID == "user namespace" && f.Means != "" {
			who += p.Say(" in another user namespace")
		}
	}
	p.fold("  ", 2, p.Say("%s; kernel %s, cgroup %s", who, p.orUnknown(d.Kernel), d.Cgroups))
	for _, s := range d.Sources {
		text := s.Shows
		switch {
		case s.State != "ok":
			text = s.Why
		case s.Why != "":
			text = p.Say("%s; %s", s.Shows, s.Why)
		}
		p.fold(strings.Repeat(" ", 19), most, layout("%-10s %-8s%s", s.ID, s.State, text))
		if wide && s.State != "ok" {
			p.line("%19swould show: %s", "", s.Shows)
		}
		if wide {
			for _, h := range s.How {
				p.line("%19show: %s", "", h)
			}
		}
	}
	for _, f := range d.Facts {
		if wide || f.Means != "" {
			p.fold("  ", most, "- "+f.ID+": "+f.Value+p.also(f.Means))
		}
	}
}

// screen adds ways to have what refuses, as far as the screen has room.
func (p *page) screen(d *report.Doctor) []byte {
	ways := map[string][]string{}
	var order []string
	for _, s := range d.Sources {
		if len(s.How) == 0 {
			continue
		}
		way := strings.Join(s.How[:min(2, len(s.How))], "; ")
		if ways[way] == nil {
			order = append(order, way)
		}
		ways[way] = append(ways[way], s.ID)
	}
	left := Height - 1 - strings.Count(p.String(), "\n")
	for _, way := range order {
		if left < 2 {
			break
		}
		before := strings.Count(p.String(), "\n")
		p.fold("  ", min(2, left), p.Join(ways[way])+": "+way)
		left -= strings.Count(p.String(), "\n") - before
	}
	if len(order) > 0 {
		p.line("memwhy doctor -o wide says what each would show, and every way to have it")
	}
	return p.Bytes()
}

// also is more of the same sentence.
func (p *page) also(text string) string {
	if text == "" {
		return ""
	}
	return p.Say("; %s", text)
}

func (p *page) looker(u report.DoctorUser) string {
	uid := p.Say("unknown user")
	if u.UID != nil {
		uid = fmt.Sprintf("uid %d", *u.UID)
	}
	switch {
	case len(u.Lacks) == 0 && len(u.Capabilities) > 0:
		return p.Say("%s with all capabilities that matter", uid)
	case len(u.Capabilities) == 0:
		return p.Say("%s without capabilities", uid)
	case len(u.Lacks) <= len(u.Capabilities):
		return p.Say("%s without %s", uid, p.Join(u.Lacks))
	}
	return p.Say("%s with %s", uid, p.Join(u.Capabilities))
}
