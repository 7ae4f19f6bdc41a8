package telemetry

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"google.golang.org/grpc/codes"
)

// This file is the allow-list: every key that may leave the process, and the form
// of its values. A key is added here together with the reason why nothing about a
// person, the size of a list, or an outcome can be told with it.

// other stands for every value that is not of its closed set.
const other = "other"

// none is the reason of what was not refused.
const none = "none"

// Closed sets of labels.
var (
	// A query is asked by us or answered by us.
	directions = set("asked", "answered")

	// What became of a query. Whether anything was found is not among them.
	decisions = set("allowed", "denied", "failed")

	// The reasons of gateway/query, which a test compares.
	reasons = set(none,
		"MALFORMED_REQUEST", "TOO_LARGE", "VERSION_UNSUPPORTED", "QUERY_ID_REUSED", "QUERY_ID_EXPIRED", "CLOCK_SKEW",
		"LIST_STALE", "STATEMENT_INVALID",
		"UNKNOWN_PEER", "AGREEMENT_UNKNOWN", "AGREEMENT_MISMATCH", "AGREEMENT_NOT_YET_VALID", "AGREEMENT_EXPIRED",
		"AGREEMENT_SUSPENDED",
		"POLICY_DENIED", "BUDGET_EXHAUSTED", "ROLE_REQUIRED", "NOT_ENROLLED", "SIGNATURE_INVALID", "NOT_FOUND",
		"PRECONDITION_FAILED",
		"AUDIT_UNAVAILABLE", "STORAGE_UNAVAILABLE", "POLICY_UNAVAILABLE", "OVERLOADED", "QUERY_IN_PROGRESS", "QUERY_FAILED",
		"PEER_UNREACHABLE", "INTERNAL", "PEER_ANSWER_INVALID",
	)

	// The logs of a gateway.
	logs = set("shared", "internal")

	// gRPC status codes, as in the semantic conventions.
	statusCodes = set("OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND", "ALREADY_EXISTS",
		"PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION", "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED",
		"INTERNAL", "UNAVAILABLE", "DATA_LOSS", "UNAUTHENTICATED")
)

// Forms of values. None admits a space, so a value is never a text.
var (
	methodForm      = regexp.MustCompile(`^/[a-zA-Z][a-zA-Z0-9_.]{0,127}/[A-Z][a-zA-Z0-9]{0,63}$`)
	trustDomainForm = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,199}$`)
	nameForm        = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,64}$`) // of agreements and collections
	uuidForm        = regexp.MustCompile(`^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$`)
	requestIDForm   = regexp.MustCompile(`^[0-9a-f]{16}$`)
	digestForm      = regexp.MustCompile(`^[0-9a-f]{8,64}$`)
	gatewayForm     = regexp.MustCompile(`^spiffe://[a-z0-9][a-z0-9._-]{0,199}/gateway/[a-zA-Z0-9._-]{1,64}$`)
	endpointForm    = regexp.MustCompile(`^[a-zA-Z0-9._:\[\]-]{1,255}:[0-9]{1,5}$`)
	originForm      = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,199}/log/[a-z]{1,16}$`)
	messageForm     = regexp.MustCompile(`^[a-z][a-z ,;:'()-]{0,119}$`)
)

// Keys of attributes of spans and metrics. The first three are made by otelgrpc.
const (
	keySystem = attribute.Key("rpc.system.name")
	keyMethod = attribute.Key("rpc.method")
	keyStatus = attribute.Key("rpc.response.status_code")

	keyPeer  = attribute.Key("passerelle.peer")  // the trust domain of a neighbour
	keyItems = attribute.Key("passerelle.items") // of a query, padded and rounded up

	keyDirection  = attribute.Key("direction")
	keyDecision   = attribute.Key("decision")
	keyReason     = attribute.Key("reason")
	keyLog        = attribute.Key("log")
	keyHolder     = attribute.Key("holder")     // the trust domain of a neighbour
	keyCollection = attribute.Key("collection") // its name in agreements
)

// allowed holds what is allowed for one gateway. It is never modified.
type allowed struct {
	methods map[string]bool // full names, with the leading slash
	spans   map[string]bool // names of spans
	span    map[attribute.Key]func(attribute.Value) bool
	metric  map[attribute.Key]func(attribute.Value) bool
}

func newAllowed(methods []string) *allowed {
	a := &allowed{methods: set(methods...), spans: set(other)}
	names := set(other)
	for m := range a.methods {
		names[strings.TrimPrefix(m, "/")] = true
	}
	maps.Copy(a.spans, names)
	for _, s := range stepNames {
		a.spans[s] = true
	}
	a.span = map[attribute.Key]func(attribute.Value) bool{
		keySystem: in(set("grpc")),
		keyMethod: in(names),
		keyStatus: in(statusCodes),
		keyPeer:   matches(trustDomainForm),
		keyItems:  func(v attribute.Value) bool { return v.Type() == attribute.INT64 && v.AsInt64() == bucket(v.AsInt64()) },
	}
	a.metric = map[attribute.Key]func(attribute.Value) bool{
		keyMethod:     in(names),
		keyStatus:     in(statusCodes),
		keyDirection:  in(directions, set(other)),
		keyDecision:   in(decisions, set(other)),
		keyReason:     in(reasons, set(other)),
		keyLog:        in(logs, set(other)),
		keyHolder:     matches(trustDomainForm),
		keyCollection: matches(nameForm),
	}
	return a
}

// method returns a full method name if it is registered, and "other" if not.
func (a *allowed) method(full string) string {
	if a.methods[full] {
		return strings.TrimPrefix(full, "/")
	}
	return other
}

// attributes returns those of list that a span may have.
func (a *allowed) attributes(list []attribute.KeyValue) []attribute.KeyValue {
	var kept []attribute.KeyValue
	for _, kv := range list {
		if ok := a.span[kv.Key]; ok != nil && ok(kv.Value) {
			kept = append(kept, kv)
		}
	}
	return kept
}

// bucket rounds a number of items up to a power of 4, from 1 to 4^8.
func bucket(n int64) int64 {
	b := int64(1)
	for b < n && b < 1<<16 {
		b *= 4
	}
	return b
}

// label returns v if it is of the closed set, and "other" if not.
func label(closed map[string]bool, v string) string {
	if closed[v] {
		return v
	}
	return other
}

// codeName returns the name of a gRPC status code.
func codeName(c codes.Code) string {
	if c <= codes.Unauthenticated {
		return c.String()
	}
	return other
}

func set(values ...string) map[string]bool {
	m := make(map[string]bool, len(values))
	for _, v := range values {
		m[v] = true
	}
	return m
}

func in(sets ...map[string]bool) func(attribute.Value) bool {
	return func(v attribute.Value) bool {
		return v.Type() == attribute.STRING &&
			slices.ContainsFunc(sets, func(s map[string]bool) bool { return s[v.AsString()] })
	}
}

func matches(form *regexp.Regexp) func(attribute.Value) bool {
	return func(v attribute.Value) bool { return v.Type() == attribute.STRING && form.MatchString(v.AsString()) }
}
