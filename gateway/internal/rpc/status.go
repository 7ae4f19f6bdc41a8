package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/passerelle/passerelle/gateway/query"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// domain is the domain of every google.rpc.ErrorInfo that we send or believe.
const domain = "passerelle"

// A shape is how one reason looks on the wire. The text is fixed: what went wrong
// in detail is in the log of the side that refused.
type shape struct {
	code codes.Code
	text string
}

// shapes has every reason of [query.Reason]; a test holds it complete.
var shapes = map[query.Reason]shape{
	query.Malformed:          {codes.InvalidArgument, "malformed request"},
	query.TooLarge:           {codes.InvalidArgument, "request is over a limit; split it"},
	query.VersionUnsupported: {codes.FailedPrecondition, "version not supported; see the terms for who must upgrade"},
	query.QueryIDReused:      {codes.AlreadyExists, "query id was used with another request"},
	query.QueryIDExpired:     {codes.FailedPrecondition, "query id is too old; make a new query"},
	query.ClockSkew:          {codes.FailedPrecondition, "query id is from the future; compare the clocks"},
	query.ListStale:          {codes.FailedPrecondition, "list version is not current; synchronise first"},
	query.StatementInvalid:   {codes.PermissionDenied, "statement of the asker does not verify"},
	query.UnknownPeer:        {codes.PermissionDenied, "not a federated peer"},
	query.AgreementUnknown:   {codes.PermissionDenied, "no such agreement"},
	query.AgreementMismatch:  {codes.FailedPrecondition, "the two sides hold different versions of the agreement"},
	query.AgreementNotYet:    {codes.PermissionDenied, "agreement is not yet in effect"},
	query.AgreementExpired:   {codes.PermissionDenied, "agreement has expired"},
	query.AgreementSuspended: {codes.PermissionDenied, "agreement is suspended"},
	query.PolicyDenied:       {codes.PermissionDenied, "denied by policy"},
	query.BudgetExhausted:    {codes.ResourceExhausted, "budget is used up"},
	query.RoleRequired:       {codes.PermissionDenied, "a role is required that the officer does not hold"},
	query.NotEnrolled:        {codes.Unauthenticated, "officer is not enrolled"},
	query.SignatureInvalid:   {codes.Unauthenticated, "signature does not verify"},
	query.NotFound:           {codes.NotFound, "not found"},
	query.Precondition:       {codes.FailedPrecondition, "not possible in the present state"},
	query.AuditUnavailable:   {codes.Unavailable, "audit log unavailable; nothing is answered"},
	query.StorageUnavailable: {codes.Unavailable, "storage unavailable"},
	query.PolicyUnavailable:  {codes.Unavailable, "no usable policy decision"},
	query.Overloaded:         {codes.ResourceExhausted, "overloaded"},
	query.InProgress:         {codes.Aborted, "the same query is being answered; retry later"},
	query.QueryFailed:        {codes.Aborted, "the query failed and is not computed again; make a new one"},
	query.Unreachable:        {codes.Unavailable, "the other gateway cannot be reached"},
	query.Internal:           {codes.Internal, "internal error"},
	query.PeerInvalid:        {codes.DataLoss, "the other gateway's answer does not verify; nothing of it is used"},
}

// statusError returns the error to send in place of err.
//
// This is the only place where an error becomes a status. Of a refusal the reason
// travels, and the denials of a decision that may be explained; no cause, no
// wrapped text, and nothing of the query does. Anything else is INTERNAL.
func statusError(err error) error {
	if err == nil {
		return nil
	}
	refusal, ok := errors.AsType[*query.Refusal](err)
	switch {
	case ok:
	case errors.Is(err, context.Canceled):
		return status.Error(codes.Canceled, "canceled")
	case errors.Is(err, context.DeadlineExceeded):
		return status.Error(codes.DeadlineExceeded, "deadline exceeded")
	case errors.Is(err, errMethod):
		return status.Error(codes.Unimplemented, "unknown method")
	default:
		refusal = query.Refuse(query.Internal, nil)
	}
	s, ok := shapes[refusal.Reason]
	if !ok {
		refusal = query.Refuse(query.Internal, nil)
		s = shapes[query.Internal]
	}
	st := status.New(s.code, s.text)
	info := &errdetails.ErrorInfo{Reason: string(refusal.Reason), Domain: domain}
	if len(refusal.Denials) > 0 {
		b, err := json.Marshal(refusal.Denials)
		if err == nil && len(b) <= maxDenials {
			info.Metadata = map[string]string{"denials": string(b)}
		}
	}
	detailed, err := st.WithDetails(info)
	if err == nil && refusal.RetryAfter > 0 {
		detailed, err = st.WithDetails(info, &errdetails.RetryInfo{RetryDelay: durationpb.New(refusal.RetryAfter)})
	}
	if err != nil {
		return st.Err()
	}
	return detailed.Err()
}

// maxDenials bounds the denials in one status, in bytes of JSON.
const maxDenials = 16 << 10

// RefusalOf returns what a status of the other side says. It believes a reason
// only in our domain and only if it is one that the other side can have; of
// denials it takes what has their form. The text of a status is never shown, and
// of one that may come from our own transport the beginning is kept for our log.
//
// A status without a reason is UNREACHABLE if nothing answered; VERSION_UNSUPPORTED
// if the method is unknown there; PEER_ANSWER_INVALID if the answer is over our
// limits; and else INTERNAL.
func RefusalOf(err error) *query.Refusal {
	if err == nil {
		return nil
	}
	if refusal, ok := errors.AsType[*query.Refusal](err); ok {
		return refusal
	}
	st, ok := status.FromError(err)
	if !ok {
		return query.Refuse(query.Unreachable, err)
	}
	reason, cause := query.Internal, fmt.Errorf("rpc: status %v", st.Code())
	switch st.Code() {
	case codes.Unavailable:
		reason, cause = query.Unreachable, fmt.Errorf("rpc: status %v: %.200q", st.Code(), st.Message())
	case codes.Canceled, codes.DeadlineExceeded:
		reason = query.Unreachable
	case codes.Unimplemented:
		reason = query.VersionUnsupported
	case codes.ResourceExhausted:
		reason = query.PeerInvalid
	}
	var denials []query.Denial
	var wait time.Duration
	for _, d := range st.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			r := query.Reason(d.GetReason())
			// What only our own side can find is not for the other to say.
			if d.GetDomain() != domain || shapes[r].text == "" || r == query.Unreachable || r == query.PeerInvalid {
				continue
			}
			reason, denials = r, denialsOf(d.GetMetadata()["denials"])
		case *errdetails.RetryInfo:
			if d := d.GetRetryDelay().AsDuration(); d > 0 && d <= 24*time.Hour {
				wait = d
			}
		}
	}
	refusal := query.Refuse(reason, cause)
	refusal.Denials, refusal.RetryAfter = denials, wait
	return refusal
}

// denialsOf reads the denials of a status, or none if they do not have their form
// (Denial in common.proto): they are shown to officers.
func denialsOf(s string) []query.Denial {
	if len(s) == 0 || len(s) > maxDenials {
		return nil
	}
	var list []query.Denial
	if json.Unmarshal([]byte(s), &list) != nil || len(list) > maxRules {
		return nil
	}
	for _, d := range list {
		for _, f := range []struct {
			s   string
			max int
		}{{d.Rule, 32}, {d.Title, 256}, {d.Citation, 1024}, {d.Sentence, 1024}} {
			if len(f.s) > f.max || !utf8.ValidString(f.s) || strings.ContainsFunc(f.s, func(r rune) bool { return !unicode.IsPrint(r) }) {
				return nil
			}
		}
	}
	return list
}

// Text returns the fixed text of a reason.
func Text(r query.Reason) string { return shapes[r].text }

// refusalProto returns a refusal in the form in which a part of an answer has it.
func refusalProto(r *query.Refusal) *pb.Refusal {
	if r == nil {
		return nil
	}
	p := &pb.Refusal{Reason: reasonProto(r.Reason), RetryAfterMs: uint64(max(r.RetryAfter, 0) / time.Millisecond)}
	for _, d := range r.Denials {
		p.Denials = append(p.Denials, &pb.Denial{Rule: d.Rule, Title: d.Title, Citation: d.Citation, Sentence: d.Sentence})
	}
	return p
}

// reasonProto returns the enum value of a reason.
func reasonProto(r query.Reason) pb.ErrorReason {
	if n, ok := pb.ErrorReason_value["ERROR_REASON_"+string(r)]; ok {
		return pb.ErrorReason(n)
	}
	return pb.ErrorReason_ERROR_REASON_INTERNAL
}

// logFailure writes what the caller is not told to our own log, once.
func logFailure(ctx context.Context, log *slog.Logger, method string, err error) {
	if isContextError(err) || errors.Is(err, errMethod) {
		log.InfoContext(ctx, "call ended", "method", method, "err", err)
		return
	}
	switch reason := query.ReasonOf(err); reason {
	case "":
	case query.Internal, query.AuditUnavailable, query.StorageUnavailable, query.PolicyUnavailable, query.PeerInvalid:
		log.ErrorContext(ctx, "call failed", "method", method, "reason", string(reason), "err", err)
	default:
		log.InfoContext(ctx, "call refused", "method", method, "reason", string(reason), "err", err)
	}
}
