// Package words owns in which language sentences are said. The English sentence in
// the code is the key; what it is in another language is data: a catalogue in the
// format of gettext (zh.po), beside this file. It must not know who says what to
// whom. It is pure.
//
// Codes, keys, enumerations, paths, commands and the names of knobs and counters are
// the same in all languages and never pass through here. A test holds the catalogue
// against the sources: nothing missing, nothing left over, the same verbs.
package words

import (
	_ "embed"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
)

// The languages.
const (
	English = "en"
	Chinese = "zh"
)

// Languages lists them, the default first.
func Languages() []string { return []string{English, Chinese} }

//go:embed zh.po
var zh string

var chinese = sync.OnceValues(func() (map[string]string, error) { return parse(zh) })

// Printer says sentences in one language; the zero value in English.
type Printer struct {
	lang  string
	texts map[string]string // by the English
}

// In is the printer for a language; English for one that is not known.
func In(lang string) Printer {
	if lang != Chinese {
		return Printer{}
	}
	texts, err := chinese()
	if err != nil { // a test keeps it from being so
		return Printer{}
	}
	return Printer{lang, texts}
}

// Preferred is the language of a user by the environment: the first of LC_ALL,
// LC_MESSAGES and LANG that is set decides, as POSIX has it.
func Preferred(getenv func(string) string) string {
	for _, name := range []string{"LC_ALL", "LC_MESSAGES", "LANG"} {
		locale := strings.ToLower(getenv(name))
		if locale == "" {
			continue
		}
		lang, charset, _ := strings.Cut(locale, ".")
		lang, _, _ = strings.Cut(lang, "_")
		charset, _, _ = strings.Cut(charset, "@")
		if lang == Chinese && (charset == "utf-8" || charset == "utf8") {
			return Chinese
		}
		return English
	}
	return English
}

// Lang is the language, empty for English.
func (p Printer) Lang() string { return p.lang }

// Say formats as fmt.Sprintf does. The format has to be a literal: it is the key.
func (p Printer) Say(format string, args ...any) string {
	return fmt.Sprintf(p.Of(format), args...)
}

// Of is a text that stands in a table: a rule's, or one marked with Key.
func (p Printer) Of(text string) string {
	if t, ok := p.texts[text]; ok {
		return t
	}
	return text
}

// Text is said later, by the printer of whoever reads it.
type Text struct {
	Format string
	Args   []any
}

// Later is a text that is not said yet. The format has to be a literal: it is the key.
func Later(format string, args ...any) Text { return Text{format, args} }

// String is the text in English.
func (t Text) String() string { return Printer{}.Tell(t) }

// Tell says what was to be said later.
func (p Printer) Tell(t Text) string { return fmt.Sprintf(p.Of(t.Format), t.Args...) }

// Errorf is fmt.Errorf for an error that can be said in a language; its format is a key.
func Errorf(format string, args ...any) error { return &sayable{Text{format, args}} }

type sayable struct{ Text }

func (e *sayable) Error() string { return Printer{}.said(e) }

// Unwrap are the errors that it was made of.
func (e *sayable) Unwrap() (all []error) {
	for _, a := range e.Args {
		if err, ok := a.(error); ok {
			all = append(all, err)
		}
	}
	return all
}

func (p Printer) said(e *sayable) string {
	args := slices.Clone(e.Args)
	for i, a := range args {
		switch a := a.(type) {
		case error:
			args[i] = p.SayError(a)
		case Text:
			args[i] = p.Tell(a)
		}
	}
	return fmt.Sprintf(strings.ReplaceAll(p.Of(e.Format), "%w", "%s"), args...)
}

// SayError says an error, as far as it can be said: what others have added stays.
func (p Printer) SayError(err error) string {
	var e *sayable
	if errors.As(err, &e) && e.Error() == err.Error() {
		return p.said(e)
	}
	return p.Of(err.Error())
}

// Count says one thing or several of it; many has one verb, for n, and is the key.
func (p Printer) Count(n int64, one, many string) string {
	if n == 1 && p.texts == nil {
		return one
	}
	return p.Say(many, n)
}

// Join makes a list of items.
func (p Printer) Join(items []string) string {
	if p.lang == Chinese {
		return strings.Join(items, "，")
	}
	return strings.Join(items, ", ")
}

// Key marks a text of a table, to be said later by Of.
func Key(text string) string { return text }
