package rpc_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/passerelle/passerelle/gateway/internal/rpc"
	"github.com/passerelle/passerelle/gateway/query"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// reasons returns every constant of type query.Reason, from the source, so that a
// new one is not forgotten here.
func reasons(t testing.TB) []query.Reason {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), "../../query/refusal.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var out []query.Reason
	ast.Inspect(f, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if name, ok := spec.Type.(*ast.Ident); !ok || name.Name != "Reason" {
			return true
		}
		for _, v := range spec.Values {
			text, err := strconv.Unquote(v.(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, query.Reason(text))
		}
		return true
	})
	if len(out) < 25 {
		t.Fatalf("found %d reasons only", len(out))
	}
	return out
}

// TestReasons holds reasons, statuses and the enumeration of proto complete, both
// ways.
func TestReasons(t *testing.T) {
	t.Parallel()
	seen := make(map[string]bool)
	texts := make(map[string]query.Reason)
	for _, r := range reasons(t) {
		seen["ERROR_REASON_"+string(r)] = true
		text := rpc.Text(r)
		if text == "" {
			t.Errorf("%s has no shape", r)
			continue
		}
		if other, ok := texts[text]; ok {
			t.Errorf("%s and %s have one text", r, other)
		}
		texts[text] = r
		if got := rpc.ReasonProto(r); got.String() != "ERROR_REASON_"+string(r) {
			t.Errorf("%s is %v in the enumeration", r, got)
		}
		sent := query.Refuse(r, errors.New("cause"))
		sent.RetryAfter = 3 * time.Second
		sent.Denials = []query.Denial{{Rule: "RU-03", Title: "Purpose", Citation: "UNSCR 2396, OP 11", Sentence: "Ask for another purpose."}}
		err := rpc.StatusError(sent)
		if st := status.Convert(err); st.Code() == codes.OK || st.Code() == codes.Unknown || st.Message() != text {
			t.Errorf("%s: status %v", r, st)
		}
		got := rpc.RefusalOf(err)
		want := r
		if r == query.Unreachable || r == query.PeerInvalid {
			// Not for the other side to say: the code decides.
			want = map[codes.Code]query.Reason{codes.Unavailable: query.Unreachable, codes.DataLoss: query.Internal}[status.Code(err)]
		} else if !reflect.DeepEqual(got.Denials, sent.Denials) {
			t.Errorf("%s: denials %v", r, got.Denials)
		}
		if got.Reason != want || got.RetryAfter != sent.RetryAfter {
			t.Errorf("%s came back as %v after %v, want %s", r, got.Reason, got.RetryAfter, want)
		}
		p := rpc.RefusalProto(sent)
		if p.GetReason() != rpc.ReasonProto(r) || p.GetRetryAfterMs() != 3000 || p.GetDenials()[0].GetSentence() != sent.Denials[0].Sentence {
			t.Errorf("%s as a part of an answer: %v", r, p)
		}
	}
	for _, name := range pb.ErrorReason_name {
		if name != "ERROR_REASON_UNSPECIFIED" && !seen[name] {
			t.Errorf("%s is no reason of package query", name)
		}
	}
	if rpc.RefusalProto(nil) != nil || rpc.RefusalOf(nil) != nil || rpc.StatusError(nil) != nil {
		t.Error("nothing is something")
	}
}

// TestStatusLeaksNothing wraps a canary in every kind of error.
func TestStatusLeaksNothing(t *testing.T) {
	t.Parallel()
	canary := errors.New("canary JANE DOE L898902C3")
	errs := []error{
		canary,
		fmt.Errorf("store: %w", canary),
		fmt.Errorf("%w: %w", context.Canceled, canary),
		fmt.Errorf("%w: %w", context.DeadlineExceeded, canary),
		errors.Join(canary, query.Refuse(query.NotFound, canary)),
		query.Refuse("canary JANE DOE", canary),
		status.Error(codes.NotFound, canary.Error()),
	}
	for _, r := range reasons(t) {
		errs = append(errs, query.Refuse(r, canary), fmt.Errorf("rpc: %w", query.Refuse(r, canary)))
	}
	for _, err := range errs {
		st := status.Convert(rpc.StatusError(err))
		if text := st.Proto().String() + st.Message(); strings.Contains(text, "canary") || strings.Contains(text, "JANE") {
			t.Errorf("%v is sent as %s", err, text)
		}
	}
}

// TestStatusOfErrors is the table of what is not a refusal.
func TestStatusOfErrors(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err  error
		want codes.Code
	}{
		{context.Canceled, codes.Canceled},
		{fmt.Errorf("store: %w", context.DeadlineExceeded), codes.DeadlineExceeded},
		{errors.New("anything"), codes.Internal},
		{query.Refuse("NO_SUCH_REASON", nil), codes.Internal},
		{query.Refuse(query.NotFound, context.Canceled), codes.NotFound},
	} {
		if got := status.Code(rpc.StatusError(tt.err)); got != tt.want {
			t.Errorf("%v: %v, want %v", tt.err, got, tt.want)
		}
	}
}

// TestRefusalOfHostile has statuses that another gateway made up.
func TestRefusalOfHostile(t *testing.T) {
	t.Parallel()
	with := func(code codes.Code, info *errdetails.ErrorInfo) error {
		st, err := status.New(code, "evil\x1b[2Jtext").WithDetails(info)
		if err != nil {
			t.Fatal(err)
		}
		return st.Err()
	}
	denial := func(s string) map[string]string { return map[string]string{"denials": s} }
	many := "[" + strings.TrimSuffix(strings.Repeat("{},", 65), ",") + "]"
	for _, tt := range []struct {
		name string
		err  error
		want query.Reason
	}{
		{"no status", errors.New("evil text"), query.Unreachable},
		{"another domain", with(codes.NotFound, &errdetails.ErrorInfo{Reason: "NOT_FOUND", Domain: "googleapis.com"}), query.Internal},
		{"unknown reason", with(codes.NotFound, &errdetails.ErrorInfo{Reason: "EVIL", Domain: "passerelle"}), query.Internal},
		{"our own reason", with(codes.NotFound, &errdetails.ErrorInfo{Reason: "PEER_UNREACHABLE", Domain: "passerelle"}), query.Internal},
		{"no detail", status.Error(codes.PermissionDenied, "evil text"), query.Internal},
		{"over our limits", status.Error(codes.ResourceExhausted, "grpc: received message larger than max"), query.PeerInvalid},
		{"an older gateway", status.Error(codes.Unimplemented, "evil text"), query.VersionUnsupported},
		{"its time is over", status.Error(codes.DeadlineExceeded, "evil text"), query.Unreachable},
		{"denials that are none", with(codes.PermissionDenied, &errdetails.ErrorInfo{Reason: "POLICY_DENIED", Domain: "passerelle", Metadata: denial("{")}), query.PolicyDenied},
		{"too many denials", with(codes.PermissionDenied, &errdetails.ErrorInfo{Reason: "POLICY_DENIED", Domain: "passerelle", Metadata: denial(many)}), query.PolicyDenied},
		{"a denial with an escape", with(codes.PermissionDenied, &errdetails.ErrorInfo{Reason: "POLICY_DENIED", Domain: "passerelle",
			Metadata: denial(`[{"rule":"RU-01","sentence":"evil\u001b[2J"}]`)}), query.PolicyDenied},
		{"a long denial", with(codes.PermissionDenied, &errdetails.ErrorInfo{Reason: "POLICY_DENIED", Domain: "passerelle",
			Metadata: denial(`[{"rule":"` + strings.Repeat("R", 33) + `"}]`)}), query.PolicyDenied},
	} {
		r := rpc.RefusalOf(tt.err)
		if r.Reason != tt.want || len(r.Denials) != 0 || r.RetryAfter != 0 {
			t.Errorf("%s: %v with %d denials, want %v and none", tt.name, r.Reason, len(r.Denials), tt.want)
		}
		if tt.name != "no status" && strings.Contains(r.Error(), "evil") {
			t.Errorf("%s: the foreign text is in %q", tt.name, r)
		}
	}
	// What may be of our own transport is kept, without what a terminal obeys.
	r := rpc.RefusalOf(status.Error(codes.Unavailable, "connection refused\x1b[2J"+strings.Repeat("x", 10_000)))
	if text := r.Error(); !strings.Contains(text, "connection refused") || strings.Contains(text, "\x1b") || len(text) > 400 {
		t.Errorf("Unavailable is %d bytes: %.100q", len(text), text)
	}
}

// TestLogFailure holds one line for each failure, with the level by who must act.
func TestLogFailure(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		err   error
		level string
	}{
		{query.Refuse(query.PolicyDenied, nil), "INFO"},
		{query.Refuse(query.StorageUnavailable, errors.New("disk")), "ERROR"},
		{errors.New("a bug"), "ERROR"},
		{context.Canceled, "INFO"},
	} {
		var b bytes.Buffer
		rpc.LogFailure(slog.New(slog.NewTextHandler(&b, nil)), "/m", tt.err)
		if got := b.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level="+tt.level) {
			t.Errorf("%v: %q, want one line with %s", tt.err, got, tt.level)
		}
	}
}
