//go:build race

package kmsg

const raceEnabled = true
