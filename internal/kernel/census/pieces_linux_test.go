package census

import "testing"

// The next piece is begun while there is room, waited for when there is none, and when
// there is to be no other a run never ends for want of one.
func TestTablesGrowAhead(t *testing.T) {
	e := altered(t, func(constants) {})
	table := &e.maps.inodes
	table.settle()
	ask := func(used uint64) uint64 {
		t.Helper()
		table.begin(used)
		room, err := table.room(used)
		if err != nil {
			t.Fatal(err)
		}
		return room
	}
	have, end := len(table.pieces), uint64(table.end())
	if room := ask(end - table.ahead - 1); table.coming != nil || room != end-table.ahead {
		t.Errorf("room of %d of %d, coming %v", room, end, table.coming != nil)
	}
	if room := ask(end - table.ahead); table.coming == nil && len(table.pieces) == have || room < end {
		t.Errorf("nothing was begun: room of %d of %d", room, end)
	}
	if room := ask(end); len(table.pieces) <= have || room <= end {
		t.Errorf("%d pieces and room of %d where %d had %d", len(table.pieces), room, have, end)
	}
	table.settle()
	table.limit = len(table.pieces)
	if room := ask(uint64(table.end())); room != 1<<62 || table.coming != nil {
		t.Errorf("room of %d where there are to be no more pieces", room)
	}
	table.limit = pieces
	scan(t, e)
}
