// Package together runs parts of one call at the same time, and brings a panic of
// one of them back to the goroutine of the call.
//
// A panic in a goroutine of its own cannot be recovered by whoever guards the call:
// it ends the process, with all calls of everybody, and prints its value, which may
// be what it was working on. So code that runs below a guard starts goroutines with
// [Do], and never with a go statement.
//
// Nothing is bounded here: callers give a few parts, and not one for each item.
package together

import (
	"fmt"
	"runtime"
	"runtime/debug"
	"sync"
)

// A Panic is the value with which [Do] panics. Its text holds nothing of the value
// of the panic that it stands for.
type Panic struct {
	text  string
	stack []byte
}

// Error returns the type of the value, or the text if the runtime made it.
func (p *Panic) Error() string { return p.text }

// Stack returns the stack of the goroutine that panicked.
func (p *Panic) Stack() []byte { return p.stack }

// Do calls f for each of 0 to n-1, at the same time, and returns when all calls have
// returned. The last call is made by the goroutine of the caller, so that a single
// part costs no goroutine. If one of them panics, Do panics in the goroutine of the
// caller, with a [*Panic], after the others have returned.
func Do(n int, f func(i int)) {
	var wg sync.WaitGroup
	panics := make([]*Panic, n)
	call := func(i int) {
		defer func() {
			if v := recover(); v != nil {
				panics[i] = newPanic(v)
			}
		}()
		f(i)
	}
	for i := range n - 1 {
		wg.Go(func() { call(i) })
	}
	if n > 0 {
		call(n - 1)
	}
	wg.Wait()
	for _, p := range panics {
		if p != nil {
			panic(p)
		}
	}
}

// newPanic returns what stands for a panic with value v. It is called in the
// goroutine that panicked.
func newPanic(v any) *Panic {
	if p, ok := v.(*Panic); ok {
		return p
	}
	return &Panic{Text(v), debug.Stack()}
}

// Text returns what may be told of the value of a panic: its type, because a text
// may hold content, or the text of an error of the runtime.
func Text(v any) string {
	switch v := v.(type) {
	case *Panic:
		return v.text
	case runtime.Error:
		return v.Error()
	}
	return fmt.Sprintf("%T", v)
}
