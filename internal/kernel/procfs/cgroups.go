package procfs

import (
	"errors"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// ParseCgroups parses /proc/cgroups.
func ParseCgroups(b []byte) ([]snapshot.Controller, error) {
	heading, table, _ := strings.Cut(string(b), "\n")
	if !strings.HasPrefix(heading, "#subsys_name") {
		return nil, errors.New("expected a heading that begins with #subsys_name")
	}
	var controllers []snapshot.Controller
	for line := range strings.Lines(table) {
		var c snapshot.Controller
		var hierarchy, enabled int64
		name, rest := column(line)
		_, ok := numbers(rest, &hierarchy, &c.Groups, &enabled)
		id, fits := small(hierarchy)
		if !ok || !fits || name == "" {
			return nil, wanted(len(controllers)+2, "a controller, its hierarchy, its number of cgroups and whether it is enabled")
		}
		c.Name, c.Hierarchy, c.Enabled = name, id, enabled != 0
		controllers = append(controllers, c)
	}
	return controllers, nil
}
