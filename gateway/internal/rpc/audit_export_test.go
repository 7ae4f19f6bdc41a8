package rpc

import "context"

// WithCaller returns a context of a call by c.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, c)
}

// Impl returns the implementation of a service.
func (s Service) Impl() any { return s.impl }
