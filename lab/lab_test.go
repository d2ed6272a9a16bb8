package lab

import "testing"

func TestNamesLeadBackToTheirOwner(t *testing.T) {
	for _, s := range All() {
		n := name(s.Name, 4711, 123456)
		scenario, pid, start, ok := parseName(n)
		if !ok || scenario != s.Name || pid != 4711 || start != 123456 {
			t.Errorf("%s: %q, %d, %d, %v", n, scenario, pid, start, ok)
		}
	}
	for _, n := range []string{"", "memwhy-lab-", "memwhy-lab-x-1", "x-memwhy-lab-a-1-2", "memwhy-lab-a-1-2/..", "memwhy-lab-a--1-2x", "memwhy-lab-a-1-99999999999999999999"} {
		if _, _, _, ok := parseName(n); ok {
			t.Errorf("%q was taken for a lab's", n)
		}
	}
}

func TestScenariosAreComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range All() {
		if s.Name == "" || s.Finding == "" || s.plant == nil || seen[s.Name] {
			t.Errorf("%+v", s)
		}
		if s.Summary == "" || len(s.Name) > 16 || len(s.Summary) > 80-17 {
			t.Errorf("%s: %q is not one line of a list", s.Name, s.Summary)
		}
		seen[s.Name] = true
		if got, ok := Find(s.Name); !ok || got.Name != s.Name {
			t.Errorf("%s is not found", s.Name)
		}
	}
	if _, ok := Find("nope"); ok {
		t.Error("a scenario that does not exist was found")
	}
}

func TestTolerance(t *testing.T) {
	if got := tolerance(64 << 20); got != 4<<20 {
		t.Errorf("of 64 MiB: %d", got)
	}
	if got := tolerance(1 << 30); got != 1<<30/50 {
		t.Errorf("of 1 GiB: %d", got)
	}
}

func TestTruthAddsUp(t *testing.T) {
	var tr Truth
	tr.add("kernel/stacks", 3, "kernel/other", "kernel/undivided")
	a := tr.add("file", 4)
	a.state("active", 2)
	a.state("dirty", 1)
	if got := tr.planted(); got != 7 {
		t.Errorf("planted %d", got)
	}
	if s := tr.Accounts[1].State; s["active"] != 2 || s["dirty"] != 1 || len(tr.Accounts[0].Within) != 2 {
		t.Errorf("%+v", tr.Accounts)
	}
}
