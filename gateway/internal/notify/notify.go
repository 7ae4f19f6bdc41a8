// Package notify tells people outside of the gateway that something happened which
// they must look at: it runs the command that the operator configured, once for each
// notice, with one line of JSON on its standard input.
//
//	r, err := notify.New(command, log) // nil command: nothing is run
//	r.Notify(notify.Notice{...})       // returns at once
//	err = r.Close(ctx)
//
// Its environment has PATH and nothing else, and its folder is the root.
//
// The command is how a notice becomes an e-mail or a ticket: auditors cannot be
// expected to read the log every hour. The entry of the log is the record, so a
// command that fails or hangs loses nothing and stops nothing: it is ended after a
// while, and what came in meanwhile waits in a bounded queue.
//
// A notice holds codes, and nothing of a query, an officer or a person.
//
// Methods of a Runner may be called concurrently. Out of scope: when a notice is
// due, and who reads it.
package notify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"time"
)

const (
	maxQueue = 64               // notices that wait; more are dropped, and our log says so
	timeout  = 30 * time.Second // of one command
	maxText  = 1 << 10          // bytes of what a command that failed printed, for our log
)

// A Notice is what a command is told.
type Notice struct {
	Time       time.Time `json:"time"`       // UTC, RFC 3339
	Gateway    string    `json:"gateway"`    // our SPIFFE ID
	Kind       string    `json:"kind"`       // of the entry in our internal log, such as budget_notice
	Reason     string    `json:"reason"`     // code in the entry, such as BUDGET_WARNING
	Direction  string    `json:"direction"`  // "asked": a use of ours; "answered": one of the neighbour's
	Peer       string    `json:"peer"`       // trust domain of the neighbour
	Agreement  string    `json:"agreement"`  // id
	Collection string    `json:"collection"` // name
}

// A Runner runs the command. The nil Runner runs nothing.
type Runner struct {
	command []string
	log     *slog.Logger
	queue   chan Notice
	cancel  context.CancelFunc
	done    chan struct{}

	mu     sync.Mutex
	closed bool
}

// New returns a Runner for command, an absolute path and its arguments, or nil if
// there is none. It returns an error if the command cannot be run, so that a mistake
// shows at the start and not at the first notice. The caller must Close the Runner.
func New(command []string, log *slog.Logger) (*Runner, error) {
	if len(command) == 0 {
		return nil, nil
	}
	if !filepath.IsAbs(command[0]) {
		return nil, fmt.Errorf("notify: %q is not an absolute path", command[0])
	}
	if _, err := exec.LookPath(command[0]); err != nil {
		return nil, fmt.Errorf("notify: the command cannot be run: %w", err)
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r := &Runner{command: command, log: log, queue: make(chan Notice, maxQueue), cancel: cancel, done: make(chan struct{})}
	go r.run(ctx)
	return r, nil
}

// Notify has the command run with n, after those before it. It never waits.
func (r *Runner) Notify(n Notice) {
	if r == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return
	}
	select {
	case r.queue <- n:
	default:
		r.log.Error("notice not delivered: too many are waiting", "reason", n.Reason)
	}
}

// Close waits until every notice was delivered or has failed. When ctx ends first,
// it ends the command that runs, drops the others, and returns the error of ctx.
func (r *Runner) Close(ctx context.Context) error {
	if r == nil {
		return nil
	}
	r.mu.Lock()
	if !r.closed {
		r.closed = true
		close(r.queue)
	}
	r.mu.Unlock()
	defer r.cancel()
	select {
	case <-r.done:
		return nil
	case <-ctx.Done():
		r.cancel()
		<-r.done
		return fmt.Errorf("notify: closing: %w", ctx.Err())
	}
}

// run delivers one notice after the other.
func (r *Runner) run(ctx context.Context) {
	defer close(r.done)
	for n := range r.queue {
		if err := r.deliver(ctx, n); err != nil {
			r.log.Error("notice not delivered", "reason", n.Reason, "err", err)
		}
	}
}

func (r *Runner) deliver(ctx context.Context, n Notice) error {
	if ctx.Err() != nil {
		return errors.New("the gateway was closed")
	}
	n.Time = n.Time.UTC()
	line, err := json.Marshal(n)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	c := exec.CommandContext(ctx, r.command[0], r.command[1:]...)
	c.Stdin = bytes.NewReader(append(line, '\n'))
	c.Env = []string{"PATH=" + os.Getenv("PATH")} // nothing else of ours is its business
	c.Dir = "/"
	// With everything that it started.
	c.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	c.Cancel = func() error { return syscall.Kill(-c.Process.Pid, syscall.SIGKILL) }
	c.WaitDelay = time.Second
	out := &prefix{}
	c.Stdout, c.Stderr = out, out
	if err := c.Run(); err != nil {
		return fmt.Errorf("%w: %s", err, bytes.TrimSpace(out.b))
	}
	return nil
}

// A prefix keeps the beginning of what is written to it.
type prefix struct{ b []byte }

func (p *prefix) Write(b []byte) (int, error) {
	p.b = append(p.b, b[:min(len(b), maxText-len(p.b))]...)
	return len(b), nil
}
