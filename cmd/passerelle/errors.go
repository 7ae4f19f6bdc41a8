package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// Exit codes, a contract with scripts.
const (
	exitDone        = 0
	exitFailed      = 1
	exitUsage       = 2
	exitDenied      = 3
	exitUnreachable = 4
)

// errorDomain is the domain of the google.rpc.ErrorInfo of our services.
const errorDomain = "passerelle"

// maxDenials bounds the rules that are read from one error, in bytes.
const maxDenials = 16 << 10

// A usageError is a wrong command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// usagef returns a usageError.
func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// exited is the error of a command that has already printed what happened.
type exited int

func (e exited) Error() string { return "exit code " + strconv.Itoa(int(e)) }

// A failure is an error in words for people and in codes for scripts.
type failure struct {
	Reason     string          `json:"reason,omitempty"` // of google.rpc.ErrorInfo
	Message    string          `json:"message"`
	Advice     string          `json:"advice,omitempty"`
	Denials    []failureDenial `json:"denials,omitempty"`
	RetryAfter int64           `json:"retry_after_ms,omitempty"`
	Request    string          `json:"request,omitempty"` // id of the call in the gateway's log
	Code       int             `json:"exit_code"`
}

// A failureDenial is one rule that refused.
type failureDenial struct {
	Rule     string `json:"rule"`
	Title    string `json:"title"`
	Citation string `json:"citation"`
	Sentence string `json:"sentence"`
}

// reasons say, for each reason, what happened and what to do. The texts are for
// whoever called: the holder's own texts never travel.
var reasons = map[string]struct{ what, do string }{
	"MALFORMED_REQUEST": {"the request is not of the documented form",
		"check the values; if they are right, the two versions of the software do not fit"},
	"TOO_LARGE": {"the request is too large", "split it"},
	"VERSION_UNSUPPORTED": {"the two gateways have no version in common",
		"`passerelle peer list` says which side must upgrade"},
	"QUERY_ID_REUSED":  {"this request was made before", "make a new one; if you did not, tell your operator"},
	"QUERY_ID_EXPIRED": {"the request is too old", "make a new one, and compare the clocks if this repeats"},
	"CLOCK_SKEW": {"the clocks differ by too much",
		"set the clock of this machine or of the gateway (help runbook)"},
	"LIST_STALE": {"our copy of the tag sets is too old, or there is none", "run `passerelle sync`"},
	"STATEMENT_INVALID": {"the holder did not accept our statement that our rules permit this",
		"compare the fingerprints of the invites (help runbook)"},
	"UNKNOWN_PEER":      {"the two gateways are not federated", "exchange invites, see `passerelle peer`"},
	"AGREEMENT_UNKNOWN": {"no agreement covers this", "`passerelle agreement list` shows what is agreed"},
	"AGREEMENT_MISMATCH": {"the two sides hold different versions of the agreement",
		"both sides accept the same file; compare the digests with `passerelle agreement list`"},
	"AGREEMENT_NOT_YET_VALID": {"the agreement is not in force yet", "`passerelle agreement list` says from when it is"},
	"AGREEMENT_EXPIRED":       {"the agreement has ended", "the legal officers sign a new one"},
	"AGREEMENT_SUSPENDED":     {"the agreement is suspended", "ask your legal officer"},
	"POLICY_DENIED":           {"the rules do not permit this", "ask your legal officer"},
	"BUDGET_EXHAUSTED":        {"the budget of the agreement is used up", "wait until it is renewed"},
	"ROLE_REQUIRED": {"you do not have the role that this needs",
		"two administrators can give it to you, see `passerelle officer`"},
	"NOT_ENROLLED": {"you are not enrolled at this gateway, or were retired",
		"ask an administrator, see `passerelle officer add`"},
	"SIGNATURE_INVALID": {"a signature is missing or does not verify",
		"check that --identity is the folder of the enrolled officer"},
	"NOT_FOUND":           {"there is no such thing here, or you may not know of it", "check the name"},
	"PRECONDITION_FAILED": {"this cannot be done in the present state", "look at it with the `list` command, and try again"},
	"AUDIT_UNAVAILABLE": {"the log cannot be written, so nothing is answered",
		"tell your operator (help runbook, \"Audit unavailable\")"},
	"STORAGE_UNAVAILABLE": {"the store cannot be read or written", "tell your operator (help runbook, \"Disk full\")"},
	"POLICY_UNAVAILABLE": {"the rules gave no usable decision, which denies",
		"tell your legal officer; `passerelle policy test` shows faults"},
	"OVERLOADED":        {"the gateway is busy", "try again in a moment"},
	"QUERY_IN_PROGRESS": {"the same query is being answered now", "try again in a moment"},
	"QUERY_FAILED":      {"the query was charged and logged, and then failed", "make a new one"},
	"PEER_UNREACHABLE": {"the other gateway cannot be reached",
		"try again; if this repeats, see help runbook, \"Peer unreachable\""},
	"INTERNAL": {"the gateway had a fault", "its log has the detail; tell your operator"},
	"PEER_ANSWER_INVALID": {"the other gateway did not keep the protocol, so nothing of its answer is used",
		"tell your operator; this must be looked at before asking again"},
}

// exitOf returns the exit code of a reason.
func exitOf(reason string) int {
	switch {
	case reason == "POLICY_DENIED", reason == "BUDGET_EXHAUSTED", reason == "ROLE_REQUIRED",
		strings.HasPrefix(reason, "AGREEMENT_"):
		return exitDenied
	case reason == "PEER_UNREACHABLE":
		return exitUnreachable
	}
	return exitFailed
}

// reasonName returns a reason as it is on the wire.
func reasonName(r passerellev1.ErrorReason) string {
	return strings.TrimPrefix(r.String(), "ERROR_REASON_")
}

// explain returns what err means to whoever typed the command.
func explain(err error) failure {
	var usage usageError
	var lost connectionError
	switch s, isStatus := status.FromError(err); {
	case errors.As(err, &usage):
		return failure{Message: oneLine(usage), Code: exitUsage}
	case errors.As(err, &lost):
		return failure{Message: lost.Error(), Advice: lost.advice, Code: exitFailed}
	case errors.Is(err, context.Canceled), isStatus && s.Code() == codes.Canceled:
		return failure{Message: "interrupted", Code: exitFailed}
	case errors.Is(err, context.DeadlineExceeded), isStatus && s.Code() == codes.DeadlineExceeded:
		return failure{Message: "no answer in time", Advice: "try again, with a longer --timeout", Code: exitFailed}
	case isStatus:
		f := explainStatus(s)
		var call callError
		if errors.As(err, &call) && (f.Reason == "" || f.Reason == "INTERNAL") {
			f.Request = call.request
		}
		return f
	}
	return failure{Message: oneLine(err), Code: exitFailed}
}

// explainStatus is explain for what a gateway answered.
func explainStatus(s *status.Status) failure {
	f := failure{Code: exitFailed}
	for _, d := range s.Details() {
		switch d := d.(type) {
		case *errdetails.ErrorInfo:
			if d.GetDomain() == errorDomain {
				f.Reason, f.Denials = d.GetReason(), parseDenials(d.GetMetadata())
			}
		case *errdetails.RetryInfo:
			f.RetryAfter = d.GetRetryDelay().AsDuration().Milliseconds()
		}
	}
	if f.Reason == "" {
		f.Message = "the gateway answered " + s.Code().String()
		if s.Code() == codes.Unimplemented {
			f.Advice = "it does not offer this; compare `passerelle version` with `passerelle status`"
		}
		return f
	}
	f.Message, f.Advice, f.Code = f.Reason, "", exitOf(f.Reason)
	if r, ok := reasons[f.Reason]; ok {
		f.Message, f.Advice = r.what, r.do
	}
	return f
}

// parseDenials reads the rules from the metadata of an ErrorInfo, in the form of
// proto/SPEC.md, "Errors".
func parseDenials(md map[string]string) []failureDenial {
	var out []failureDenial
	if text := md["denials"]; len(text) > maxDenials || json.Unmarshal([]byte(text), &out) != nil {
		return nil
	}
	return out
}

// explainRefusal returns what one refusal within an answer means.
func explainRefusal(r *passerellev1.Refusal) failure {
	reason := reasonName(r.GetReason())
	f := failure{Reason: reason, Message: reason, Code: exitOf(reason), RetryAfter: int64(r.GetRetryAfterMs())}
	if t, ok := reasons[reason]; ok {
		f.Message, f.Advice = t.what, t.do
	}
	for _, d := range r.GetDenials() {
		f.Denials = append(f.Denials, failureDenial{d.GetRule(), d.GetTitle(), d.GetCitation(), d.GetSentence()})
	}
	return f
}

// print writes f for people, with every line after the first indented.
func (f failure) print(w io.Writer, prefix, indent string) {
	fmt.Fprintf(w, "%s%s", prefix, f.Message)
	if f.Reason != "" {
		fmt.Fprintf(w, " (%s)", f.Reason)
	}
	if f.Advice != "" {
		fmt.Fprintf(w, ": %s", f.Advice)
	}
	if f.Request != "" {
		fmt.Fprintf(w, "; it is request %s in that log", printable(f.Request))
	}
	if f.RetryAfter > 0 {
		fmt.Fprintf(w, "; again in %s", rounded(time.Duration(f.RetryAfter)*time.Millisecond))
	}
	fmt.Fprintln(w)
	for _, d := range f.Denials {
		fmt.Fprintf(w, "%s  %s  %s\n", indent, printable(d.Rule), printable(d.Title))
		if d.Citation != "" {
			fmt.Fprintf(w, "%s         %s\n", indent, printable(d.Citation))
		}
		if d.Sentence != "" {
			fmt.Fprintf(w, "%s         %s\n", indent, printable(d.Sentence))
		}
	}
}

// report prints err and returns the exit code.
func report(cmd *cobra.Command, err error, asJSON bool, stdout, stderr io.Writer) int {
	var done exited
	if errors.As(err, &done) {
		return int(done)
	}
	f := explain(err)
	name := "passerelle"
	if cmd != nil {
		name = cmd.CommandPath()
	}
	f.print(stderr, name+": ", "")
	if f.Code == exitUsage && cmd != nil {
		fmt.Fprintf(stderr, "`%s --help` says how it is used.\n", name)
	}
	if asJSON {
		b, err := json.Marshal(struct {
			Error failure `json:"error"`
		}{f})
		if err == nil {
			fmt.Fprintf(stdout, "%s\n", b)
		}
	}
	return f.Code
}

// oneLine returns the text of err in one line.
func oneLine(err error) string {
	return printable(strings.Join(strings.FieldsFunc(err.Error(), func(r rune) bool { return r == '\n' || r == '\r' }), "; "))
}
