// Package rpc implements the services of proto/passerelle/v1 on gRPC, and the
// client of another country's gateway: it turns messages into our types and back,
// and holds every limit on the wire.
//
//	neighbour ---mTLS---> NewPeerServer  -> [Holder]     PeerService
//	PeerClient --mTLS---> neighbour                      PeerService, as an asker
//	officer ----mTLS----> NewLocalServer -> a [Service]  National, Identity, Admin, Audit, Policy, health
//
// Every call of both servers goes through one guard, in this order, before a byte
// of its content is read:
//
//  1. who calls: the SPIFFE ID of the certificate is a gateway of a federation
//     that holds now, or an officer who is enrolled with this very key now;
//  2. how many calls: bounded per kind of work and per neighbour, with a short
//     wait and then OVERLOADED;
//  3. how long: between two messages, and in all for a call that is not a stream.
//
// and, after the call, one function makes a status of an error and one line of
// our log says what the caller is not told, under a request id that the caller
// has in the trailer [RequestIDKey].
//
// # An ended federation
//
// When a federation ends, its open calls are cancelled with UNKNOWN_PEER at once,
// and its connections are closed shortly after, also those whose other end does
// not read: less than 5 seconds in all. A stranger and a neighbour whose
// federation ended get the same status.
//
// # Who learns what
//
// A status holds a reason, a fixed text, and the rules of a decision that may be
// explained; what gRPC itself answers, to a message that it does not read, has no
// reason. Of the text of another gateway nothing is shown.
//
// All types may be used concurrently. Out of scope: what is allowed and what is
// true (the journeys above), keys, storage, and time but for timeouts.
package rpc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime/debug"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"
	"google.golang.org/grpc/tap"

	"github.com/passerelle/passerelle/gateway/internal/together"
	"github.com/passerelle/passerelle/gateway/query"
)

// RequestIDKey is the key of the trailer in which a caller gets the id of its
// call in our log, 16 hexadecimal digits.
const RequestIDKey = "passerelle-request-id"

const (
	maxStreams        = 100              // open streams of one connection
	maxHeaderList     = 32 << 10         // bytes
	connectionTimeout = 10 * time.Second // for a handshake
	connectionAge     = time.Hour        // then it is closed gracefully
	connectionGrace   = 5 * time.Minute  // what a stream has to end then
	messageTimeout    = time.Minute      // between two messages of a stream
	callTimeout       = 2 * time.Minute  // for a call of a neighbour that is not a stream
	officeTimeout     = 30 * time.Minute // for one of an officer: a key rotation publishes every list anew
)

// errMethod is returned for a method that is not registered.
var errMethod = errors.New("rpc: unknown method")

// A guard stands before every call of a server.
type guard struct {
	log     *slog.Logger
	panics  func(method string)
	timeout time.Duration // between two messages of a stream
	whole   time.Duration // for a call that is not a stream

	// admit says who calls. It returns a context with the caller, a channel that
	// is closed when the caller must go, or nil, and the attributes for our log.
	admit func(ctx context.Context, method string) (context.Context, <-chan struct{}, []any, error)

	// enter waits for a place for a call of a method, and returns how to leave it.
	enter func(ctx context.Context, method string) (leave func(), err error)
}

func newGuard(log *slog.Logger, panics func(method string), timeout, whole time.Duration) *guard {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	if panics == nil {
		panics = func(string) {}
	}
	if timeout <= 0 {
		timeout = messageTimeout
	}
	return &guard{log: log, panics: panics, timeout: timeout, whole: whole}
}

// options returns what both servers have in common. gRPC's own defaults are
// unlimited streams and two minutes for a handshake.
func (g *guard) options(creds credentials.TransportCredentials, maxMessage int, more []grpc.ServerOption) []grpc.ServerOption {
	return append([]grpc.ServerOption{
		grpc.Creds(creds),
		grpc.MaxConcurrentStreams(maxStreams),
		grpc.ConnectionTimeout(connectionTimeout),
		grpc.MaxRecvMsgSize(maxMessage),
		grpc.MaxHeaderListSize(maxHeaderList),
		grpc.KeepaliveParams(keepalive.ServerParameters{
			MaxConnectionIdle: 15 * time.Minute, MaxConnectionAge: connectionAge, MaxConnectionAgeGrace: connectionGrace,
			Time: time.Minute, Timeout: 20 * time.Second,
		}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 20 * time.Second}),
		grpc.InTapHandle(arm),
		grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
			// Of the name, which the caller made up, nothing goes into a log or a label.
			return g.call(stream.Context(), "unknown", true, func(context.Context) error { return errMethod })
		}),
	}, more...)
}

// armKey is the key under which a call's context has the function that ends its
// stream in the transport, and endKey that of the function that ends the call.
type (
	armKey struct{}
	endKey struct{}
)

// arm gives every call a context of which we can end the transport's own stream: a
// handler that waits to send wakes up. It never refuses, because gRPC keeps what
// belongs to a call refused here until the connection ends.
func arm(ctx context.Context, _ *tap.Info) (context.Context, error) {
	ctx, end := context.WithCancelCause(ctx)
	return context.WithValue(ctx, armKey{}, end), nil
}

// hardEnd is how long a call that was ended has to say why, before its stream is
// ended under it.
const hardEnd = time.Second

// endable returns a context of a call that end ends with a cause: at once for the
// handler and for whoever waits for a message, and after a moment in the
// transport. gRPC sends a status of its own, without a reason, as soon as the
// transport's stream ends.
func endable(ctx context.Context) (c context.Context, end, release context.CancelCauseFunc) {
	hard, ok := ctx.Value(armKey{}).(context.CancelCauseFunc)
	if !ok {
		panic("rpc: internal error: a call without arm")
	}
	ctx, soft := context.WithCancelCause(ctx)
	end = func(cause error) {
		soft(cause)
		time.AfterFunc(hardEnd, func() { hard(cause) })
	}
	return context.WithValue(ctx, endKey{}, end), end, soft
}

// ender returns the function that ends the call of ctx.
func ender(ctx context.Context) context.CancelCauseFunc {
	if end, ok := ctx.Value(endKey{}).(context.CancelCauseFunc); ok {
		return end
	}
	panic("rpc: internal error: a call without guard")
}

// register registers impl with every handler behind the guard, so that nothing of
// a call is read before its caller is admitted. gRPC's own interceptors run after
// the message of a unary call was read and decoded.
func (g *guard) register(s *grpc.Server, service Service) {
	d := *service.desc
	d.Methods = append([]grpc.MethodDesc(nil), d.Methods...)
	d.Streams = append([]grpc.StreamDesc(nil), d.Streams...)
	for i := range d.Methods {
		m := d.Methods[i]
		method := "/" + d.ServiceName + "/" + m.MethodName
		d.Methods[i].Handler = func(srv any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var answer any
			err := g.call(ctx, method, false, func(ctx context.Context) error {
				var err error
				answer, err = m.Handler(srv, ctx, func(v any) error { return received(dec(v)) }, nil)
				return err
			})
			if err != nil {
				return nil, err
			}
			return answer, nil
		}
	}
	for i := range d.Streams {
		m := d.Streams[i]
		method := "/" + d.ServiceName + "/" + m.StreamName
		d.Streams[i].Handler = func(srv any, stream grpc.ServerStream) error {
			return g.call(stream.Context(), method, true, func(ctx context.Context) error {
				return m.Handler(srv, &guarded{ServerStream: stream, ctx: ctx, timeout: g.timeout})
			})
		}
	}
	s.RegisterService(&d, service.impl)
}

// A Service is one gRPC service with its implementation.
type Service struct {
	desc *grpc.ServiceDesc
	impl any
}

// call runs one call. It is the only place where a call is admitted, where a
// panic ends, and from where an error goes to the caller.
func (g *guard) call(ctx context.Context, method string, stream bool, f func(context.Context) error) error {
	id := newRequestID()
	// The id is for people on both sides who must find the same call.
	_ = grpc.SetTrailer(ctx, metadata.Pairs(RequestIDKey, id))
	log := g.log.With("request_id", id)
	ctx, end, release := endable(ctx)
	defer release(nil)
	attrs, err := g.run(ctx, method, stream, end, log, f)
	if cause := context.Cause(ctx); cause != nil {
		// The caller is gone, or must go: then nothing else is said. A timeout, or
		// a caller that hung up, does not hide what went wrong.
		if _, refused := errors.AsType[*query.Refusal](cause); refused || err == nil || isContextError(err) {
			err = cause
		}
	}
	if err == nil {
		return nil
	}
	logFailure(ctx, log.With(attrs...), method, err)
	return statusError(err)
}

func (g *guard) run(ctx context.Context, method string, stream bool, end context.CancelCauseFunc, log *slog.Logger,
	f func(context.Context) error) (attrs []any, err error) {
	defer func() {
		if v := recover(); v != nil {
			g.panics(method)
			// Of the value only what cannot hold content: a panic may print what it
			// was working on.
			stack := debug.Stack()
			if p, ok := v.(*together.Panic); ok {
				stack = p.Stack()
			}
			log.ErrorContext(ctx, "panic", "method", method, "stack", string(stack))
			err = query.Refuse(query.Internal, errors.New("rpc: panic: "+together.Text(v)))
		}
	}()
	ctx, done, attrs, err := g.admit(ctx, method)
	if err != nil {
		return attrs, err
	}
	if done != nil {
		stop := make(chan struct{})
		defer close(stop)
		go func() {
			select {
			case <-done:
				end(query.Refuse(query.UnknownPeer, nil))
			case <-stop:
			}
		}()
	}
	if !stream {
		timer := time.AfterFunc(g.whole, func() { end(context.DeadlineExceeded) })
		defer timer.Stop()
	}
	leave, err := g.enter(ctx, method)
	if err != nil {
		return attrs, err
	}
	defer leave()
	return attrs, f(ctx)
}

func isContextError(err error) bool {
	_, refused := errors.AsType[*query.Refusal](err)
	return !refused && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded))
}

func newRequestID() string {
	var b [8]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}

// A guarded stream has the caller in its context, bounds the time between two
// messages, and sends nothing once the call was ended.
type guarded struct {
	grpc.ServerStream
	ctx     context.Context
	timeout time.Duration
}

func (s *guarded) Context() context.Context { return s.ctx }

func (s *guarded) watch() (stop func() bool) {
	end := ender(s.ctx)
	return time.AfterFunc(s.timeout, func() { end(context.DeadlineExceeded) }).Stop
}

// RecvMsg waits apart from the stream, because a stream that is ended while
// somebody waits sends a status that is not ours. If it returns an error, m may
// still be written to.
func (s *guarded) RecvMsg(m any) error {
	defer s.watch()()
	done := make(chan error, 1)
	go func() { done <- s.ServerStream.RecvMsg(m) }()
	select {
	case err := <-done:
		return received(err)
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
}

func (s *guarded) SendMsg(m any) error {
	if s.ctx.Err() != nil {
		return context.Cause(s.ctx)
	}
	defer s.watch()()
	if err := s.ServerStream.SendMsg(m); err != nil {
		if s.ctx.Err() != nil {
			return context.Cause(s.ctx)
		}
		return fmt.Errorf("rpc: sending: %w", context.Canceled)
	}
	return nil
}

// received returns what an error of receiving a message means. Only gRPC itself
// makes these, but their text may quote what was received.
func received(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return err
	}
	switch code := status.Code(err); code {
	case codes.ResourceExhausted:
		return query.Refuse(query.TooLarge, nil)
	case codes.Canceled, codes.Unavailable:
		return fmt.Errorf("rpc: receiving: %w", context.Canceled)
	case codes.DeadlineExceeded:
		return fmt.Errorf("rpc: receiving: %w", context.DeadlineExceeded)
	default:
		return query.Refuse(query.Malformed, fmt.Errorf("rpc: receiving: %v", code))
	}
}

// tlsInfo returns the TLS state of the connection of ctx.
func tlsInfo(ctx context.Context) (credentials.TLSInfo, bool) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return credentials.TLSInfo{}, false
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	return info, ok
}
