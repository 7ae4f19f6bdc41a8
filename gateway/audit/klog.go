package audit

import (
	"context"
	"log/slog"
	"sync"

	"k8s.io/klog/v2"
)

// The driver logs through klog, which has one logger per process. This is the one
// place where that shows: what follows is shared by all Logs of a process.
var (
	klogOnce  sync.Once
	klogMutex sync.Mutex
	klogUsers = make(map[*slog.Logger]int) // open Logs by Logger, so that each message is written once to each
)

// routeKlog sends the driver's messages to log until the returned function is
// called.
func routeKlog(log *slog.Logger) (silence func()) {
	klogOnce.Do(func() { klog.SetSlogLogger(slog.New(klogHandler{})) })
	klogMutex.Lock()
	defer klogMutex.Unlock()
	klogUsers[log]++
	return sync.OnceFunc(func() {
		klogMutex.Lock()
		defer klogMutex.Unlock()
		if klogUsers[log]--; klogUsers[log] == 0 {
			delete(klogUsers, log)
		}
	})
}

// A klogHandler hands records to the Loggers of all open Logs.
type klogHandler struct {
	with []func(slog.Handler) slog.Handler
}

// Enabled returns true: each Logger decides for itself.
func (h klogHandler) Enabled(context.Context, slog.Level) bool { return true }

// Handle hands r to every Logger that wants it.
func (h klogHandler) Handle(ctx context.Context, r slog.Record) error {
	klogMutex.Lock()
	loggers := make([]*slog.Logger, 0, len(klogUsers))
	for l := range klogUsers {
		loggers = append(loggers, l)
	}
	klogMutex.Unlock()
	for _, l := range loggers {
		target := l.Handler()
		for _, w := range h.with {
			target = w(target)
		}
		if target.Enabled(ctx, r.Level) {
			target.Handle(ctx, r.Clone())
		}
	}
	return nil
}

// WithAttrs returns a handler that adds attributes.
func (h klogHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return h.add(func(t slog.Handler) slog.Handler { return t.WithAttrs(attrs) })
}

// WithGroup returns a handler that opens a group.
func (h klogHandler) WithGroup(name string) slog.Handler {
	return h.add(func(t slog.Handler) slog.Handler { return t.WithGroup(name) })
}

func (h klogHandler) add(w func(slog.Handler) slog.Handler) klogHandler {
	return klogHandler{append(h.with[:len(h.with):len(h.with)], w)}
}
