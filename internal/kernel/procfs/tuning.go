package procfs

import (
	"errors"
	"strings"

	"github.com/memwhy/memwhy/internal/snapshot"
)

// ParseSetting parses a file of one number.
func ParseSetting(b []byte) (int64, error) {
	n, ok := snapshot.Number(strings.Trim(string(b), blank))
	if !ok {
		return 0, errors.New("expected one number")
	}
	return n, nil
}

// ParseKiB parses a file of one number of KiB into bytes.
func ParseKiB(b []byte) (int64, error) {
	n, err := ParseSetting(b)
	if err != nil {
		return 0, err
	}
	n, ok := scale(n, 1024)
	if !ok {
		return 0, errors.New("expected a number of KiB that fits")
	}
	return n, nil
}

// ParseChoice returns the word that is chosen: always [madvise] never.
func ParseChoice(b []byte) (string, error) {
	_, rest, ok := strings.Cut(string(b), "[")
	word, _, closed := strings.Cut(rest, "]")
	if !ok || !closed || word == "" || strings.ContainsAny(word, "[\n ") {
		return "", errors.New("expected words of which one is in brackets")
	}
	return word, nil
}

// ParseSwitch parses a module's parameter that is on or off.
func ParseSwitch(b []byte) (bool, error) {
	switch strings.Trim(string(b), blank) {
	case "Y", "1":
		return true, nil
	case "N", "0":
		return false, nil
	}
	return false, errors.New("expected Y or N")
}

// ParseMMStat parses mm_stat of a zram device: bytes stored, bytes that they were
// compressed to, bytes in use, and more (linux drivers/block/zram/zram_drv.c).
func ParseMMStat(b []byte) (z snapshot.Zram, err error) {
	if _, ok := numbers(string(b), &z.Stored, &z.Compressed, &z.Used); !ok {
		return snapshot.Zram{}, errors.New("expected columns of numbers")
	}
	return z, nil
}
