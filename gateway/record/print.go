package record

import (
	"fmt"
	"io"
	"log/slog"
)

// The types below print their kind for every verb of package fmt, and for slog.
// The receivers are values, because fmt calls a method of a pointer for neither
// an element of a slice nor a field of a struct.

// Format prints no personal data, whatever the verb.
func (r Record) Format(f fmt.State, _ rune) { io.WriteString(f, "record.Record(hidden)") }

// LogValue shows no personal data.
func (r Record) LogValue() slog.Value { return slog.StringValue("record.Record(hidden)") }

// Format prints no personal data, whatever the verb.
func (s Subject) Format(f fmt.State, _ rune) { io.WriteString(f, "record.Subject(hidden)") }

// LogValue shows no personal data.
func (s Subject) LogValue() slog.Value { return slog.StringValue("record.Subject(hidden)") }

// Format prints no personal data, whatever the verb.
func (n Name) Format(f fmt.State, _ rune) { io.WriteString(f, "record.Name(hidden)") }

// LogValue shows no personal data.
func (n Name) LogValue() slog.Value { return slog.StringValue("record.Name(hidden)") }

// Format prints no personal data, whatever the verb.
func (b Birth) Format(f fmt.State, _ rune) { io.WriteString(f, "record.Birth(hidden)") }

// LogValue shows no personal data.
func (b Birth) LogValue() slog.Value { return slog.StringValue("record.Birth(hidden)") }

// Format prints no personal data, whatever the verb.
func (d Document) Format(f fmt.State, _ rune) { io.WriteString(f, "record.Document(hidden)") }

// LogValue shows no personal data.
func (d Document) LogValue() slog.Value { return slog.StringValue("record.Document(hidden)") }

// Format prints no personal data, whatever the verb.
func (x Field) Format(f fmt.State, _ rune) { io.WriteString(f, "record.Field(hidden)") }

// LogValue shows no personal data.
func (x Field) LogValue() slog.Value { return slog.StringValue("record.Field(hidden)") }

// Format prints the class only, whatever the verb.
func (k Key) Format(f fmt.State, _ rune) { io.WriteString(f, "record.Key("+string(k.Class)+")") }

// LogValue shows the class only.
func (k Key) LogValue() slog.Value { return slog.StringValue("record.Key(" + string(k.Class) + ")") }
