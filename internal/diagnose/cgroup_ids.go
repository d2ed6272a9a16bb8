package diagnose

import (
	"github.com/memwhy/memwhy/internal/advisory"
	"github.com/memwhy/memwhy/internal/report"
	"github.com/memwhy/memwhy/internal/snapshot"
)

const idExhaustion = "el7-memcg-id-exhaustion"

var cgroupIDs = Rule{
	Code:    codeIDs,
	Title:   "ids of memory cgroups run out",
	NoBytes: "ids are counted, not bytes",
	find:    ids,
	Doc: Doc{
		Means: `Every memory cgroup of a node needs one of 65534 ids. When none is left no container can be started: ` +
			`"mkdir /sys/fs/cgroup/memory/...: cannot allocate memory" (or "no space left on device" on 3.10.0-514), with gigabytes free and nothing in the kernel's log. ` +
			`On el7 a removed container keeps its id for as long as a slab cache of it exists, and so does the pod above it.`,
		Grades: `info: removed cgroups hold ids, far from the end. notice: a quarter is taken. warning: half. critical: nine tenths.`,
		Needs:  []string{"el7: /proc/cgroups, the names in /sys/kernel/slab, the list of directories", "later kernels: cgroup.stat of the root, or the list of directories"},
		Verify: []string{
			"grep memory /proc/cgroups   # on el7 the live ones",
			`ls /sys/kernel/slab | grep -o '([0-9]*:' | tr -d '(:' | sort -n | tail -1   # el7: slots taken when the youngest was made, dead pods included`,
			"mkdir /sys/fs/cgroup/memory/probe && rmdir /sys/fs/cgroup/memory/probe   # fails when none is left",
		},
		Do: []string{
			"drain and reboot the node before the last id is gone: rmdir of live, clean cgroups gives theirs back at once, nothing gives back the dead's",
			"el7: switch accounting off, see kmem.accounting",
			"many live ones: find who leaves them, as systemd scopes of sessions, or pods of a kubelet that fails to clean up",
		},
		Owner: "kernel on el7; platform where live cgroups are left behind",
		Stories: `The cgroup that cannot be made is not at fault, nor is its limit. num_cgroups next to the number of directories is the usual test, and on el7 it is blind: there both are the live ones. ` +
			`Other controllers still accept mkdir. The leak alone prints no kernel message before mkdir fails.`,
	},
}

func ids(f *facts) []report.Finding {
	taken := f.node.IDs()
	mkdirs := f.refused()
	if !taken.Known && len(mkdirs) == 0 {
		return nil
	}
	dead, used := takenIDs(taken)
	severity := idsSeverity(used)
	switch {
	case !taken.Known:
		severity = notice
	case severity == info && !f.node.Removed().Leak:
		return nil
	}
	r := report.Finding{
		Code: codeIDs, Severity: severity, Confidence: high,
		Evidence: append(evidence(taken.Evidence), mkdirs...),
		Remedies: []report.Remedy{
			{Kind: "look", Command: f.Say("memwhy advisories show ") + idExhaustion, Cost: f.Say("none")},
			{Kind: "reboot", Command: f.Say("drain and reboot the node"), Cost: f.Say("all its containers")},
		},
	}
	switch {
	case !taken.Known:
		r.Confidence = low
		r.Title = f.Say("cgroups could not be made, and how many ids are taken is not known")
	case f.node.Old():
		at := f.Say("at least ")
		if taken.DeadByIndex > taken.Dead {
			at = f.Say("about ")
		}
		r.Title = f.Say("%s%d of %d ids of memory cgroups are taken (%.1f%%)", at, used, advisory.MaxIDs, 100*float64(used)/advisory.MaxIDs)
		if dead > 0 {
			r.Title += f.Say(": %d by live ones, %d by removed ones", taken.Live, dead)
		} else {
			r.Title += f.Say(", by live ones alone; removed ones could not be told apart")
		}
		if removed := f.node.Removed(); removed.Leak && !removed.Exact {
			r.Confidence = medium
		}
	default:
		r.Confidence = medium
		r.Title = f.Say("%d live cgroups may take %.1f%% of the %d ids of memory cgroups", used, 100*float64(used)/advisory.MaxIDs, advisory.MaxIDs)
	}
	if severity == info || severity == notice {
		r.PartOf = f.leakPart()
	}
	return []report.Finding{r}
}

// takenIDs are those of removed cgroups by the better bound, and all.
func takenIDs(t advisory.Taken) (dead, used int64) {
	dead = max(t.Dead, t.DeadByIndex)
	return dead, min(t.Live+dead, advisory.MaxIDs)
}

func idsSeverity(used int64) string {
	switch share := float64(used) / advisory.MaxIDs; {
	case share >= 0.9:
		return critical
	case share >= 0.5:
		return warning
	case share >= 0.25:
		return notice
	}
	return info
}

// refused are cgroups that could not be made, as a runtime wrote it into the log.
func (f *facts) refused() []report.Evidence {
	var e []report.Evidence
	for _, l := range f.s.Log.Value.Records {
		if l.Kind == snapshot.LogMkdir && len(e) < 3 {
			e = append(e, report.Evidence{Statement: f.Say("a cgroup could not be made: %s", l.Path), Source: f.s.Log.Source, Value: l.Error})
		}
	}
	return e
}
