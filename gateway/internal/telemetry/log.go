package telemetry

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"unicode/utf8"
)

// Sizes of log values, in bytes; more is cut off.
const (
	maxErrorText = 1 << 10
	maxStack     = 16 << 10
)

// withheld is the message in place of one that is not constant. The attribute
// "source" then says which line of code it is of.
const withheld = "message withheld"

// A logForm returns what is logged of a value, or false if nothing is.
type logForm func(slog.Value) (slog.Value, bool)

// logKeys is the allow-list of the log. Not on it, on purpose: officers and cases
// (they are in the audit log, under pseudonyms), sizes of lists, matches, and
// everything free text.
var logKeys = map[string]logForm{
	"query_id":     text(uuidForm), // of the audit log, to find the rest there
	"request_id":   text(requestIDForm),
	"peer":         text(trustDomainForm),
	"agreement":    text(nameForm),
	"collection":   text(nameForm),
	"origin":       text(originForm), // of a log
	"gateway":      text(gatewayForm),
	"endpoint":     text(endpointForm),
	"bundle":       text(digestForm),                             // of the rules
	"revision":     text(digestForm),                             // of the rules
	"reason":       closed(reasons, set("BUDGET_WARNING")),       // the second of a notice
	"code":         text(regexp.MustCompile(`^[a-zA-Z]{1,32}$`)), // of gRPC
	"list_version": number,
	"epoch":        number,
	"rule":         text(nameForm), // of the catalogue

	"count":         number, // of queries
	"files":         number, // that a crash left in a log
	"lists_deleted": number,

	"err":   errorText,
	"stack": stack,
	// "method" is in the Handler: its closed set belongs to the gateway.
}

// A Handler is the last door for the log: it hands to another handler only what
// the allow-list lets through.
//
// Messages are constants in small letters (a test checks those of this module);
// any other is replaced by "message withheld" and the function and line it is
// from. Attributes whose key is not on the list, and values that are not of the
// form of their key, are left out; "withheld" says how many. Groups are opened: the
// house has none. An error is reduced to its text, which holds no personal data by
// rule, of at most 1 KiB; a stack to its functions and lines, because arguments
// are content.
type Handler struct {
	inner slog.Handler
	*handlerState
}

// handlerState is what a Handler shares with those derived from it.
type handlerState struct {
	method   logForm
	withheld atomic.Int64
}

// NewHandler returns a Handler before inner. Methods are the full names of the
// methods that are registered.
func NewHandler(inner slog.Handler, methods []string) *Handler {
	known := set(methods...)
	return &Handler{inner, &handlerState{method: func(v slog.Value) (slog.Value, bool) {
		if v.Kind() == slog.KindString && known[v.String()] {
			return v, true
		}
		return slog.StringValue(other), true
	}}}
}

// Withheld returns how many messages and attributes were kept out of the log by h
// and all handlers derived from it.
func (h *Handler) Withheld() int64 { return h.handlerState.withheld.Load() }

// Enabled implements slog.Handler.
func (h *Handler) Enabled(ctx context.Context, l slog.Level) bool { return h.inner.Enabled(ctx, l) }

// Handle implements slog.Handler.
func (h *Handler) Handle(ctx context.Context, r slog.Record) error {
	clean := slog.NewRecord(r.Time, r.Level, r.Message, r.PC)
	attrs := make([]slog.Attr, 0, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		attrs = append(attrs, a)
		return true
	})
	kept, n := h.filter(attrs)
	if !messageForm.MatchString(r.Message) {
		clean.Message = withheld
		n++
		if r.PC != 0 {
			frame, _ := runtime.CallersFrames([]uintptr{r.PC}).Next()
			kept = append(kept, slog.String("source", fmt.Sprintf("%s:%d", frame.Function, frame.Line)))
		}
	}
	if n > 0 {
		h.handlerState.withheld.Add(int64(n))
		kept = append(kept, slog.Int("withheld", n))
	}
	clean.AddAttrs(kept...)
	return h.inner.Handle(ctx, clean)
}

// WithAttrs implements slog.Handler.
func (h *Handler) WithAttrs(attrs []slog.Attr) slog.Handler {
	kept, n := h.filter(attrs)
	h.handlerState.withheld.Add(int64(n))
	if len(kept) == 0 {
		return h
	}
	return &Handler{h.inner.WithAttrs(kept), h.handlerState}
}

// WithGroup implements slog.Handler. The name of the group is left out.
func (h *Handler) WithGroup(name string) slog.Handler {
	if name != "" {
		h.handlerState.withheld.Add(1)
	}
	return h
}

// filter returns what may be logged of attrs, and how many may not.
func (h *Handler) filter(attrs []slog.Attr) (kept []slog.Attr, dropped int) {
	for _, a := range attrs {
		if a.Equal(slog.Attr{}) {
			continue // ignored by all handlers
		}
		form := logKeys[a.Key]
		if a.Key == "method" {
			form = h.method
		}
		v := a.Value
		if form != nil || v.Kind() == slog.KindGroup {
			v = v.Resolve()
		}
		if v.Kind() == slog.KindGroup {
			if a.Key != "" {
				dropped++ // the name
			}
			k, n := h.filter(v.Group())
			kept, dropped = append(kept, k...), dropped+n
			continue
		}
		if form == nil {
			dropped++
			continue
		}
		if v, ok := form(v); ok {
			kept = append(kept, slog.Attr{Key: a.Key, Value: v})
		} else {
			dropped++
		}
	}
	return kept, dropped
}

// text lets strings of a form through.
func text(form *regexp.Regexp) logForm {
	return func(v slog.Value) (slog.Value, bool) {
		return v, v.Kind() == slog.KindString && form.MatchString(v.String())
	}
}

// closed lets strings of closed sets through.
func closed(sets ...map[string]bool) logForm {
	return func(v slog.Value) (slog.Value, bool) {
		return v, v.Kind() == slog.KindString &&
			slices.ContainsFunc(sets, func(s map[string]bool) bool { return s[v.String()] })
	}
}

// number lets whole numbers through.
func number(v slog.Value) (slog.Value, bool) {
	return v, v.Kind() == slog.KindInt64 || v.Kind() == slog.KindUint64
}

// errorText reduces an error to its text.
func errorText(v slog.Value) (_ slog.Value, ok bool) {
	var s string
	switch v.Kind() {
	case slog.KindString:
		s = v.String()
	case slog.KindAny:
		err, isError := v.Any().(error)
		if !isError {
			return slog.Value{}, false
		}
		s = textOf(err)
	default:
		return slog.Value{}, false
	}
	return slog.StringValue(truncate(s, maxErrorText)), true
}

var errNoText = errors.New("telemetry: an error without a text")

// textOf returns the text of err, also if asking for it panics.
func textOf(err error) (s string) {
	defer func() {
		if recover() != nil {
			s = errNoText.Error()
		}
	}()
	return err.Error()
}

// Lines of a stack: the head, a function with its arguments, who started the
// goroutine, and a line of code.
var (
	stackHead  = regexp.MustCompile(`^goroutine \d+ \[[a-z, ]+\]`)
	stackCall  = regexp.MustCompile(`^[^\s(][^\s]*\([^/]*\)$`)
	stackStart = regexp.MustCompile(`^created by \S+( in goroutine \d+)?$`)
	stackPlace = regexp.MustCompile(`^\t\S+\.(go|s):\d+`)
)

// stack reduces the stack of a goroutine to its functions and lines of code. A
// line that is neither is left out.
func stack(v slog.Value) (slog.Value, bool) {
	if v.Kind() != slog.KindString {
		return slog.Value{}, false
	}
	var out strings.Builder
	for line := range strings.Lines(v.String()) {
		line = strings.TrimSuffix(line, "\n")
		switch {
		case stackHead.MatchString(line):
			line = stackHead.FindString(line) + ":"
		case stackStart.MatchString(line):
		case stackPlace.MatchString(line):
			line = stackPlace.FindString(line)
		case stackCall.MatchString(line):
			line = stackFunction(line) + "(...)"
		default:
			continue
		}
		out.WriteString(line)
		out.WriteByte('\n')
	}
	return slog.StringValue(truncate(out.String(), maxStack)), true
}

// stackFunction returns a line of a stack without the arguments, which begin at
// the parenthesis that matches the last one: names of methods have some too.
func stackFunction(line string) string {
	depth := 0
	for i := len(line) - 1; i >= 0; i-- {
		switch line[i] {
		case ')':
			depth++
		case '(':
			if depth--; depth == 0 {
				return line[:i]
			}
		}
	}
	return ""
}

// truncate cuts s to at most n bytes, at a character.
func truncate(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n] + "..."
}
