package rpc

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/passerelle/passerelle/gateway/query"
)

// gateWait is how long a call waits for a place before it is refused as
// OVERLOADED, and gateRetry what it is told to wait then.
const (
	gateWait  = 2 * time.Second
	gateRetry = 2 * time.Second
)

// A gate bounds how much of one kind of work is done at a time, and which share
// of it one caller may have, so that a neighbour that floods us leaves places to
// the others.
type gate struct {
	places chan struct{}
	share  int
	wait   time.Duration

	mu  sync.Mutex
	per map[string]int // places that a caller has or waits for
}

// newGate returns a gate with n places, of which one caller may have three
// quarters.
func newGate(n int, wait time.Duration) *gate {
	return &gate{places: make(chan struct{}, n), share: max(1, n*3/4), wait: wait, per: make(map[string]int)}
}

var errFull = errors.New("rpc: all places are taken")

// enter waits for a place. It returns a refusal with OVERLOADED if there is none
// for a while.
func (g *gate) enter(ctx context.Context, who string) (leave func(), err error) {
	timer := time.NewTimer(g.wait)
	defer timer.Stop()
	for !g.claim(who) {
		// The share is not a queue: whoever is over it waits and tries again.
		again := time.NewTimer(20 * time.Millisecond)
		select {
		case <-again.C:
		case <-timer.C:
			return nil, overloaded()
		case <-ctx.Done():
			again.Stop()
			return nil, context.Cause(ctx)
		}
	}
	select {
	case g.places <- struct{}{}:
		return func() { <-g.places; g.unclaim(who) }, nil
	case <-timer.C:
		g.unclaim(who)
		return nil, overloaded()
	case <-ctx.Done():
		g.unclaim(who)
		return nil, context.Cause(ctx)
	}
}

func (g *gate) claim(who string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.per[who] >= g.share {
		return false
	}
	g.per[who]++
	return true
}

func (g *gate) unclaim(who string) {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.per[who]--; g.per[who] == 0 {
		delete(g.per, who)
	}
}

func overloaded() error {
	r := query.Refuse(query.Overloaded, errFull)
	r.RetryAfter = gateRetry
	return r
}
