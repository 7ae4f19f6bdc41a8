package rpc

import (
	"errors"
	"fmt"
	"math"
	"time"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/passerelle/passerelle/gateway/query"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// The limits on the wire, proto/SPEC.md, Limits. Sizes are in bytes.
const (
	maxCode        = 64  // a code of the agreement
	maxClass       = 32  // the name of a key class
	maxLegalBasis  = 128 //
	maxSoftware    = 64
	maxVersions    = 4 // versions of a kind that one side supports
	maxBatches     = 65536
	maxRules       = 64
	maxAgreements  = 64 // between two parties, and collections of one
	maxHeld        = 4096
	maxInMessage   = 64       // manifests in one message
	maxChain       = 4096     // manifests of a class in one answer
	maxChains      = 64 << 20 // all manifests of one answer, with their proofs
	maxManifest    = 512 << 10
	maxManifests   = 3 << 20 // what we put into one message; at most 4 MiB
	maxCheckpoint  = 8 << 10
	maxConsistency = 63
	maxEntry       = 1023
	maxProof       = 16 << 10
	maxSegmentPart = 256 << 10
)

// errForm is the cause of every refusal of a message that is not of the
// documented form. It names the field and never its content.
var errForm = errors.New("rpc: message is not of the documented form")

func form(field string) error { return fmt.Errorf("%w: %s", errForm, field) }

// A reader takes values out of a message and remembers the first fault, so that a
// conversion reads as a list of fields. After a fault, what it returns is not
// used.
type reader struct{ err error }

func (r *reader) bad(field string) {
	if r.err == nil {
		r.err = form(field)
	}
}

func (r *reader) check(ok bool, field string) {
	if !ok {
		r.bad(field)
	}
}

// code takes printable ASCII of at most size bytes.
func (r *reader) code(field, s string, size int, optional bool) string {
	r.check(len(s) <= size && (s != "" || optional) && printable(s), field)
	return s
}

// copy fills a fixed-size value.
func (r *reader) copy(field string, dst, src []byte) {
	r.check(len(src) == len(dst), field)
	copy(dst, src)
}

func (r *reader) hash(field string, b []byte) (h [32]byte) {
	r.copy(field, h[:], b)
	return h
}

func (r *reader) id(field string, b []byte) query.ID {
	id, err := query.IDFromBytes(b)
	r.check(err == nil, field)
	return id
}

func (r *reader) bytes(field string, b []byte, size int) []byte {
	r.check(len(b) > 0 && len(b) <= size, field)
	return b
}

func (r *reader) version(field string, v uint32) uint16 {
	r.check(v > 0 && v <= math.MaxUint16, field)
	return uint16(v)
}

func (r *reader) versions(field string, list []uint32) (out []uint16) {
	r.check(len(list) > 0 && len(list) <= maxVersions, field)
	for _, v := range list {
		out = append(out, r.version(field, v))
	}
	return out
}

func (r *reader) time(field string, t *timestamppb.Timestamp) time.Time {
	if t == nil {
		return time.Time{}
	}
	r.check(t.CheckValid() == nil, field)
	return t.AsTime()
}

func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] > 0x7e {
			return false
		}
	}
	return true
}

// known reports whether m has no field that we do not know, at any depth: what is
// in no digest must not travel with a query.
func known(m proto.Message) bool {
	ok := true
	var visit func(m protoreflect.Message)
	visit = func(m protoreflect.Message) {
		if len(m.GetUnknown()) > 0 {
			ok = false
			return
		}
		m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
			switch {
			case f.IsMap() || f.Message() == nil:
			case f.IsList():
				for i := range v.List().Len() {
					visit(v.List().Get(i).Message())
				}
			default:
				visit(v.Message())
			}
			return ok
		})
	}
	visit(m.ProtoReflect())
	return ok
}

func timestamp(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func uint32s(list []uint16) (out []uint32) {
	for _, v := range list {
		out = append(out, uint32(v))
	}
	return out
}

// A requestReader puts a request together from the messages of its stream. It
// takes no more than the header declared, and the header declares no more than
// one request may have.
type requestReader struct {
	request  *query.Request
	batches  int // that are still to come
	elements int
}

// newRequestReader begins a request with its header.
func newRequestReader(h *pb.EvaluateHeader) (*requestReader, error) {
	if h == nil || !known(h) {
		return nil, query.Refuse(query.Malformed, form("header"))
	}
	if h.GetBatches() > maxBatches || h.GetElements() > query.MaxElements {
		return nil, query.Refuse(query.TooLarge, form("declared batches or elements"))
	}
	if h.GetBatches() == 0 || h.GetElements() < h.GetBatches() {
		return nil, query.Refuse(query.Malformed, form("declared batches or elements"))
	}
	if h.GetProtocol() != uint32(query.Protocol) || h.GetNormalisation() == 0 || h.GetNormalisation() > math.MaxUint16 {
		return nil, query.Refuse(query.VersionUnsupported, nil)
	}
	var r reader
	f, s := h.GetFacts(), h.GetStatement()
	r.check(f != nil, "facts")
	r.check(s != nil, "statement")
	r.check(len(s.GetRules()) <= maxRules, "rules")
	req := &query.Request{
		ID: r.id("query_id", h.GetQueryId()), Protocol: uint16(h.GetProtocol()), Normalisation: uint16(h.GetNormalisation()),
		Facts: query.Facts{
			Agreement:       r.code("agreement", f.GetAgreement(), maxCode, false),
			AgreementDigest: r.hash("agreement_digest", f.GetAgreementDigest()),
			Collection:      r.code("collection", f.GetCollection(), maxCode, false),
			Purpose:         r.code("purpose", f.GetPurpose(), maxCode, false),
			LegalBasis:      r.code("legal_basis", f.GetLegalBasis(), maxLegalBasis, true),
			OffenceClass:    r.code("offence_class", f.GetOffenceClass(), maxCode, true),
			Urgency:         r.code("urgency", f.GetUrgency(), maxCode, false),
			Category:        r.code("category", f.GetCategory(), maxCode, false),
			Items:           f.GetItems(),
			CaseReference:   f.GetCaseReference(),
			Justification:   f.GetJustification(),
		},
		ListVersion: h.GetListVersion(),
		AskerLeaf:   r.hash("asker_leaf", h.GetAskerLeaf()),
		Sealed:      r.hash("sealed", h.GetSealed()),
		Statement:   query.Statement{Bundle: r.hash("bundle", s.GetBundle())},
	}
	switch f.GetKind() {
	case pb.QueryKind_QUERY_KIND_SINGLE:
		req.Facts.Kind = query.Single
	case pb.QueryKind_QUERY_KIND_SET:
		req.Facts.Kind = query.Set
	default:
		r.bad("kind")
	}
	r.check(req.Facts.Items > 0 && req.Facts.Items <= h.GetElements(), "items")
	r.copy("unit", req.Facts.Unit[:], f.GetUnit())
	r.copy("signature", req.Statement.Signature[:], s.GetSignature())
	for _, rule := range s.GetRules() {
		req.Statement.Rules = append(req.Statement.Rules, r.code("rules", rule, 32, false))
	}
	if r.err != nil {
		return nil, query.Refuse(query.Malformed, r.err)
	}
	return &requestReader{request: req, batches: int(h.GetBatches()), elements: int(h.GetElements())}, nil
}

// add takes the next batch.
func (q *requestReader) add(b *pb.ElementBatch) error {
	if b == nil || !known(b) {
		return query.Refuse(query.Malformed, form("batch"))
	}
	n := len(b.GetElements()) / query.ElementSize
	if n > query.MaxChunk {
		return query.Refuse(query.TooLarge, form("elements of a batch"))
	}
	var r reader
	r.check(n > 0 && len(b.GetElements())%query.ElementSize == 0, "elements of a batch")
	r.check(q.batches > 0 && n <= q.elements, "more than the header declared")
	out := query.Batch{Class: r.code("class", b.GetClass(), maxClass, false), Epoch: b.GetEpoch(), Chunk: b.GetChunk()}
	if r.err != nil {
		return query.Refuse(query.Malformed, r.err)
	}
	out.Elements = elements(b.GetElements())
	q.batches--
	q.elements -= n
	q.request.Batches = append(q.request.Batches, out)
	return nil
}

// finish returns the request. All that was declared must have come, and what came
// must be a request: half of one is never given on.
func (q *requestReader) finish() (*query.Request, error) {
	if q.batches != 0 || q.elements != 0 {
		return nil, query.Refuse(query.Malformed, form("less than the header declared"))
	}
	if err := q.request.Validate(); err != nil {
		return nil, query.Refuse(query.Malformed, err)
	}
	return q.request, nil
}

// elements cuts b, a multiple of the size of an element.
func elements(b []byte) [][query.ElementSize]byte {
	out := make([][query.ElementSize]byte, len(b)/query.ElementSize)
	for i := range out {
		copy(out[i][:], b[i*query.ElementSize:])
	}
	return out
}

func joined(list [][query.ElementSize]byte) []byte {
	b := make([]byte, 0, len(list)*query.ElementSize)
	for i := range list {
		b = append(b, list[i][:]...)
	}
	return b
}

// headerProto returns the header of a request. Its inverse is newRequestReader.
func headerProto(q *query.Request) *pb.EvaluateHeader {
	f, s := &q.Facts, &q.Statement
	kind := pb.QueryKind_QUERY_KIND_SET
	if f.Kind == query.Single {
		kind = pb.QueryKind_QUERY_KIND_SINGLE
	}
	return &pb.EvaluateHeader{
		QueryId: q.ID[:], Protocol: uint32(q.Protocol), Normalisation: uint32(q.Normalisation),
		Facts: &pb.QueryFacts{
			Agreement: f.Agreement, AgreementDigest: f.AgreementDigest[:], Collection: f.Collection, Purpose: f.Purpose,
			LegalBasis: f.LegalBasis, OffenceClass: f.OffenceClass, Urgency: f.Urgency, Category: f.Category,
			Kind: kind, Items: f.Items, Unit: f.Unit[:], CaseReference: f.CaseReference, Justification: f.Justification,
		},
		ListVersion: q.ListVersion, AskerLeaf: q.AskerLeaf[:], Sealed: q.Sealed[:],
		Statement: &pb.AskStatement{Rules: s.Rules, Bundle: s.Bundle[:], Signature: s.Signature[:]},
		Batches:   uint32(len(q.Batches)), Elements: uint32(q.Elements()),
	}
}

// batchProto returns one batch. Its inverse is requestReader.add.
func batchProto(b *query.Batch) *pb.ElementBatch {
	return &pb.ElementBatch{Class: b.Class, Epoch: b.Epoch, Chunk: b.Chunk, Elements: joined(b.Elements)}
}

func answerBatchProto(b *query.AnswerBatch) *pb.EvaluatedBatch {
	return &pb.EvaluatedBatch{Class: b.Class, Chunk: b.Chunk, Evaluated: joined(b.Evaluated), Proof: b.Proof[:]}
}

// answerBatch returns the answer to one batch, which it must fit.
func answerBatch(p *pb.EvaluatedBatch, to *query.Batch) (query.AnswerBatch, error) {
	if p == nil || !known(p) || p.GetClass() != to.Class || p.GetChunk() != to.Chunk ||
		len(p.GetEvaluated()) != len(to.Elements)*query.ElementSize || len(p.GetProof()) != query.ProofSize {
		return query.AnswerBatch{}, form("batch of the answer")
	}
	out := query.AnswerBatch{Class: to.Class, Chunk: to.Chunk, Evaluated: elements(p.GetEvaluated())}
	copy(out.Proof[:], p.GetProof())
	return out, nil
}

// Terms.

func termsProto(t *query.Terms) *pb.TermsResponse {
	p := &pb.TermsResponse{Protocols: uint32s(t.Protocols), Normalisations: uint32s(t.Normalisations), Software: t.Software,
		Checkpoint: t.Checkpoint, Time: timestamp(t.Time)}
	for i := range t.Agreements {
		a := &t.Agreements[i]
		ap := &pb.AgreementTerms{Agreement: a.Agreement, Digest: a.Digest[:], Status: pb.AgreementStatus(a.Status)}
		for j := range a.Collections {
			c := &a.Collections[j]
			cp := &pb.CollectionTerms{Collection: c.Collection, ListVersion: c.ListVersion, Published: timestamp(c.Published)}
			for k := range c.Heads {
				h := &c.Heads[k]
				cp.Heads = append(cp.Heads, &pb.ManifestHead{Class: h.Class, Epoch: h.Epoch, ManifestHash: h.Hash[:]})
			}
			ap.Collections = append(ap.Collections, cp)
		}
		p.Agreements = append(p.Agreements, ap)
	}
	return p
}

func termsOf(p *pb.TermsResponse) (*query.Terms, error) {
	var r reader
	t := &query.Terms{
		Protocols:      r.versions("protocols", p.GetProtocols()),
		Normalisations: r.versions("normalisations", p.GetNormalisations()),
		Software:       r.code("software", p.GetSoftware(), maxSoftware, true),
		Checkpoint:     r.bytes("checkpoint", p.GetCheckpoint(), maxCheckpoint),
		Time:           r.time("time", p.GetTime()),
	}
	r.check(p.GetTime() != nil, "time")
	r.check(len(p.GetAgreements()) <= maxAgreements, "agreements")
	for _, ap := range p.GetAgreements() {
		if r.err != nil {
			break
		}
		a := query.AgreementTerms{Agreement: r.code("agreement", ap.GetAgreement(), maxCode, false),
			Digest: r.hash("digest", ap.GetDigest()), Status: query.AgreementStatus(ap.GetStatus())}
		r.check(ap.GetStatus() > 0 && ap.GetStatus() <= pb.AgreementStatus(query.Superseded), "status")
		r.check(len(ap.GetCollections()) <= maxAgreements, "collections")
		for _, cp := range ap.GetCollections() {
			c := query.CollectionTerms{Collection: r.code("collection", cp.GetCollection(), maxCode, false),
				ListVersion: cp.GetListVersion(), Published: r.time("published", cp.GetPublished())}
			r.check(len(cp.GetHeads()) <= query.MaxClasses, "heads")
			for _, h := range cp.GetHeads() {
				c.Heads = append(c.Heads, query.ManifestHead{Class: r.code("class", h.GetClass(), maxClass, false), Epoch: h.GetEpoch(),
					Hash: r.hash("manifest_hash", h.GetManifestHash())})
			}
			a.Collections = append(a.Collections, c)
		}
		t.Agreements = append(t.Agreements, a)
	}
	if r.err != nil {
		return nil, r.err
	}
	return t, nil
}

// Synchronising.

func syncRequestProto(q *query.SyncRequest) *pb.SyncTagSetRequest {
	p := &pb.SyncTagSetRequest{Agreement: q.Agreement, AgreementDigest: q.AgreementDigest[:], Collection: q.Collection,
		FromListVersion: q.FromVersion, FromLogSize: q.FromLogSize}
	for i := range q.Held {
		p.HeldSegments = append(p.HeldSegments, q.Held[i][:])
	}
	return p
}

func syncRequestOf(p *pb.SyncTagSetRequest) (query.SyncRequest, error) {
	if len(p.GetHeldSegments()) > maxHeld {
		return query.SyncRequest{}, query.Refuse(query.TooLarge, form("held_segments"))
	}
	var r reader
	q := query.SyncRequest{
		Agreement:       r.code("agreement", p.GetAgreement(), maxCode, false),
		AgreementDigest: r.hash("agreement_digest", p.GetAgreementDigest()),
		Collection:      r.code("collection", p.GetCollection(), maxCode, false),
		FromVersion:     p.GetFromListVersion(), FromLogSize: p.GetFromLogSize(),
	}
	for _, h := range p.GetHeldSegments() {
		q.Held = append(q.Held, r.hash("held_segments", h))
	}
	if r.err != nil {
		return query.SyncRequest{}, query.Refuse(query.Malformed, r.err)
	}
	return q, nil
}

func checkpointProto(c *query.CheckpointProof) *pb.CheckpointProof {
	p := &pb.CheckpointProof{Checkpoint: c.Checkpoint}
	for i := range c.Consistency {
		p.Consistency = append(p.Consistency, c.Consistency[i][:])
	}
	return p
}

func (r *reader) checkpoint(p *pb.CheckpointProof) query.CheckpointProof {
	c := query.CheckpointProof{Checkpoint: r.bytes("checkpoint", p.GetCheckpoint(), maxCheckpoint)}
	r.check(len(p.GetConsistency()) <= maxConsistency, "consistency")
	for _, h := range p.GetConsistency() {
		c.Consistency = append(c.Consistency, r.hash("consistency", h))
	}
	return c
}

func logProofProto(l *query.LogProof) *pb.LogProof {
	return &pb.LogProof{Entry: l.Entry, TlogProof: l.Proof}
}

func (r *reader) logProof(p *pb.LogProof) query.LogProof {
	return query.LogProof{Entry: r.bytes("entry", p.GetEntry(), maxEntry), Proof: r.bytes("tlog_proof", p.GetTlogProof(), maxProof)}
}

// syncMessages returns the header and the manifests as the messages of their
// stream, each within its limits. Their inverse is chainReader.
func syncMessages(h *query.SyncHeader) []*pb.SyncTagSetResponse {
	header := &pb.SyncTagSetHeader{ListVersion: h.ListVersion, Checkpoint: checkpointProto(&h.Checkpoint)}
	for i := range h.Classes {
		header.Classes = append(header.Classes, h.Classes[i].Class)
	}
	out := []*pb.SyncTagSetResponse{{Message: &pb.SyncTagSetResponse_Header{Header: header}}}
	for i := range h.Classes {
		var chain *pb.ManifestChain
		size := 0
		for j := range h.Classes[i].Manifests {
			m := &h.Classes[i].Manifests[j]
			n := len(m.Signed) + len(m.Proof.Entry) + len(m.Proof.Proof) + 64
			if chain == nil || len(chain.Manifests) == maxInMessage || size+n > maxManifests {
				chain, size = &pb.ManifestChain{Class: h.Classes[i].Class}, 0
				out = append(out, &pb.SyncTagSetResponse{Message: &pb.SyncTagSetResponse_Manifests{Manifests: chain}})
			}
			size += n
			chain.Manifests = append(chain.Manifests, &pb.PublishedManifest{SignedManifest: m.Signed, Proof: logProofProto(&m.Proof)})
		}
	}
	return out
}

// A chainReader puts a header together from the messages of its stream.
type chainReader struct {
	header *query.SyncHeader
	class  int // of the last manifests
	size   int // of all manifests
}

func newChainReader(p *pb.SyncTagSetHeader) (*chainReader, error) {
	var r reader
	h := &query.SyncHeader{ListVersion: p.GetListVersion(), Checkpoint: r.checkpoint(p.GetCheckpoint())}
	r.check(p.GetListVersion() > 0, "list_version")
	r.check(len(p.GetClasses()) > 0 && len(p.GetClasses()) <= query.MaxClasses, "classes")
	seen := make(map[string]bool)
	for _, class := range p.GetClasses() {
		r.check(!seen[class], "classes")
		seen[class] = true
		h.Classes = append(h.Classes, query.ManifestChain{Class: r.code("classes", class, maxClass, false)})
	}
	if r.err != nil {
		return nil, r.err
	}
	return &chainReader{header: h}, nil
}

// add takes the next manifests. Classes come in the order of the header.
func (c *chainReader) add(p *pb.ManifestChain) error {
	for c.class < len(c.header.Classes) && c.header.Classes[c.class].Class != p.GetClass() {
		c.class++
	}
	if c.class == len(c.header.Classes) {
		return form("class of manifests")
	}
	if n := len(p.GetManifests()); n == 0 || n > maxInMessage {
		return form("manifests of a message")
	}
	var r reader
	chain := &c.header.Classes[c.class]
	for _, m := range p.GetManifests() {
		signed := r.bytes("signed_manifest", m.GetSignedManifest(), maxManifest)
		out := query.PublishedManifest{Signed: signed, Proof: r.logProof(m.GetProof())}
		c.size += len(out.Signed) + len(out.Proof.Entry) + len(out.Proof.Proof)
		chain.Manifests = append(chain.Manifests, out)
	}
	r.check(len(chain.Manifests) <= maxChain && c.size <= maxChains, "number of manifests")
	return r.err
}

func segmentProto(s *query.Segment) *pb.SegmentChunk {
	return &pb.SegmentChunk{Class: s.Class, Segment: s.Index, Offset: s.Offset, Data: s.Data}
}

func segmentOf(p *pb.SegmentChunk) (query.Segment, error) {
	var r reader
	s := query.Segment{Class: r.code("class", p.GetClass(), maxClass, false), Index: p.GetSegment(), Offset: p.GetOffset(),
		Data: r.bytes("data", p.GetData(), maxSegmentPart)}
	if r.err != nil {
		return query.Segment{}, r.err
	}
	return s, nil
}
