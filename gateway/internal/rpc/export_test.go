package rpc

import (
	"context"
	"log/slog"

	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/query"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// What the tests need to see of this package.
var (
	StatusError  = statusError
	ReasonProto  = reasonProto
	RefusalProto = refusalProto
	HeaderProto  = headerProto
	BatchProto   = batchProto
	TermsProto   = termsProto
	TermsOf      = termsOf
	SyncMessages = syncMessages
	ReadSync     = readSync
	ReadAnswer   = readAnswer
)

// LogFailure writes a failure as the guard does.
func LogFailure(log *slog.Logger, method string, err error) {
	logFailure(context.Background(), log, method, err)
}

// RequestOf reads a request from its messages.
func RequestOf(h *pb.EvaluateHeader, batches []*pb.ElementBatch) (*query.Request, error) {
	r, err := newRequestReader(h)
	if err != nil {
		return nil, err
	}
	for _, b := range batches {
		if err := r.add(b); err != nil {
			return nil, err
		}
	}
	return r.finish()
}

// RequireRole is requireRole for a caller.
func RequireRole(c *Caller, roles ...officer.Role) (Caller, error) {
	ctx := context.Background()
	if c != nil {
		ctx = context.WithValue(ctx, callerKey{}, *c)
	}
	return requireRole(ctx, roles...)
}
