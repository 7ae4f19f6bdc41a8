package inspect

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/crypto/sealed"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
)

// ErrNotNamed is returned by [Open] for a ciphertext or a query that is not the one
// of the entry: somebody keeps content that the log does not know.
var ErrNotNamed = errors.New("inspect: not what the entry names")

// Open returns the content of a query, which the auditor's own identity opens. The
// entry is the canonical bytes of the intent, as in the log. Open needs no gateway.
//
// It returns an error wrapping [ErrNotNamed] if the entry is of another query or
// names other content; one of package sealed if the identity or the binding is
// wrong; and one wrapping [entry.ErrMalformed] or [query.ErrMalformed] for an entry
// or content that is not of its form.
func Open(identity sealed.Identity, ciphertext []byte, id query.ID, intent []byte) (*query.Content, error) {
	e, err := entry.ParseEntry(intent)
	if err != nil {
		return nil, fmt.Errorf("inspect: opening: %w", err)
	}
	if e.Query != id || e.Kind != entry.KindIntent {
		return nil, fmt.Errorf("%w: the entry is not the intent of this query", ErrNotNamed)
	}
	if sealed.Digest(ciphertext) != e.Sealed {
		return nil, fmt.Errorf("%w: the hash of the content is not the one in the entry", ErrNotNamed)
	}
	binding, err := e.SealedContext()
	if err != nil {
		return nil, fmt.Errorf("inspect: opening: %w", err)
	}
	b, err := sealed.Open(identity, sealed.Context{QueryID: id, Leaf: binding}, ciphertext)
	if err != nil {
		return nil, fmt.Errorf("inspect: opening: %w", err)
	}
	c, err := query.ParseContent(b)
	if err != nil {
		return nil, fmt.Errorf("inspect: opening: %w", err)
	}
	return c, nil
}

// Evidence is what an auditor holds against the content of a query. Everything may
// be missing but Intent and Header; what is missing is said in the Verdict.
type Evidence struct {
	Intent []byte         // canonical bytes of our intent entry
	Header *query.Request // as the asker stored it, see [query.ParseHeader]; its batches are ignored

	// Ours are our other entries of the query, a receipt or a failure; Theirs is the
	// holder's entry, from the holder's auditor. The caller has verified that they
	// are in the logs.
	Ours   []*entry.Entry
	Theirs *entry.Entry

	// Receipt is the holder's receipt, and HolderKey the key it is signed with, as
	// pinned at the invite.
	Receipt   []byte
	HolderKey ed25519.PublicKey

	// Officer is the SPIFFE ID of the officer whom the register has for the
	// pseudonym in the intent, and OfficerKey that officer's key at that time.
	Officer    string
	OfficerKey ed25519.PublicKey
}

// A Verdict says whether the content of a query describes the request that was
// sent.
type Verdict struct {
	// Result is Different if any check is; Same if the digest of the recomputed
	// request is that of an entry or receipt, and nothing is different; and Missing
	// if there was nothing to compare the digest with.
	Result   Result
	Sentence string   // in words, without content
	Digest   [32]byte // of the recomputed request; zero if there is none
	Checks   []Check
}

// Recompute makes the request that c describes, byte for byte, and compares it
// with the evidence: every blinded element from the seed, the keys and the padded
// number of items, dummies included; then the digest of the whole with those that
// both countries logged before the holder answered. It needs no gateway and no key.
//
// An officer who asked for somebody else than the content says is found: any other
// key, item, seed, or fact gives another digest. What Recompute cannot tell is
// whether the content says the truth beyond the request, such as whether a case is
// the right one.
func Recompute(c *query.Content, e Evidence) Verdict {
	v := &Verdict{}
	intent, err := entry.ParseEntry(e.Intent)
	switch {
	case err != nil || intent.Kind != entry.KindIntent:
		v.add("intent", Different, "The intent is not an entry of its kind.")
		return v.done(false)
	case e.Header == nil:
		v.add("request_header", Missing, "The header of the request is missing; the gateway of the asker keeps it.")
		return v.done(false)
	}
	v.same("query", c.Query == query.ID(intent.Query).String() && e.Header.ID == query.ID(intent.Query),
		"Content, header and entry are of one query.", "Content, header and entry are of different queries.")
	if field := headerDiffers(e.Header, e.Intent, intent); field != "" {
		v.add("request_header", Different, "The header of the request differs from the intent in our log: "+field+".")
	} else {
		v.add("request_header", Same, "The header of the request is that of the intent in our log.")
	}
	v.facts(c, e.Header, intent)
	v.officer(c, &e, intent)
	v.asked(c)

	r, err := request(c, e.Header)
	if err != nil {
		v.add("request", Different, "The content does not give a request: "+err.Error()+".")
		return v.done(false)
	}
	v.Digest = r.Digest()
	return v.done(v.compare(&e, intent))
}

// request puts the batches of c under a header.
func request(c *query.Content, header *query.Request) (*query.Request, error) {
	seed, err := oprf.ParseSeed(c.Seed)
	if err != nil {
		return nil, errors.New("the seed is malformed")
	}
	items := int(header.Facts.Items)
	if items < len(c.Items) || items > query.MaxElements {
		return nil, errors.New("there are more subjects than were sent")
	}
	r := *header
	r.Batches = nil
	for i, class := range c.Batches {
		for first := 0; first < items; first += query.MaxChunk {
			inputs := make([][]byte, min(items-first, query.MaxChunk)) // nil: a dummy
			for j := range inputs {
				if first+j < len(c.Items) {
					inputs[j] = c.Items[first+j].Keys[i]
				}
			}
			chunk := uint32(first / query.MaxChunk)
			elements, err := oprf.Recompute(inputs, seed, oprf.BlindContext{QueryID: header.ID, Holder: c.Holder,
				Info: class.Info, Chunk: chunk})
			if err != nil {
				return nil, errors.New("a lookup key or the public information is malformed")
			}
			b := query.Batch{Class: class.Class, Epoch: class.Epoch, Chunk: chunk, Elements: make([][query.ElementSize]byte,
				len(elements))}
			for j := range elements {
				b.Elements[j] = elements[j]
			}
			r.Batches = append(r.Batches, b)
		}
	}
	if r.Validate() != nil {
		return nil, errors.New("it would be outside the limits of the protocol")
	}
	return &r, nil
}

// compare compares the digest with all that both countries said of it, and reports
// whether there was anything to compare with.
func (v *Verdict) compare(e *Evidence, intent *entry.Entry) (compared bool) {
	for _, ours := range e.Ours {
		if ours.Query != intent.Query || ours.Request == [32]byte{} {
			continue
		}
		compared = true
		v.same("our_log", ours.Request == v.Digest,
			"The "+ours.Kind.String()+" entry of our log has the digest of this request.",
			"The "+ours.Kind.String()+" entry of our log has the digest of another request.")
	}
	if !compared {
		v.add("our_log", Missing, "Our log has no entry with the digest of the request: it may not have been sent.")
	}

	receipt, err := entry.ParseReceipt(e.Receipt)
	switch {
	case e.Receipt == nil:
		v.add("receipt", Missing, "There is no receipt of the holder.")
	case err != nil:
		v.add("receipt", Different, "The receipt is malformed.")
	case e.HolderKey == nil:
		v.add("receipt", Missing, "The key of the holder is missing, so the receipt says nothing.")
	case receipt.CheckSignature(e.HolderKey) != nil:
		v.add("receipt", Different, "The receipt is not signed with the holder's key.")
	default:
		compared = true
		v.same("receipt", receipt.Query == intent.Query && receipt.Request == v.Digest,
			"The holder signed that it was asked with this request.", "The holder signed that it was asked with another request.")
	}

	theirs := e.Theirs
	if theirs == nil {
		v.add("their_log", Missing, "The entry of the holder's log was not given; its auditor has it.")
		return compared
	}
	v.same("their_log", theirs.Query == intent.Query && theirs.Direction == entry.DirectionAnswered && theirs.Request == v.Digest,
		"The holder's log has the digest of this request.", "The holder's log has the digest of another request.")
	v.same("their_binding", theirs.PeerLeaf == entry.LeafHash(e.Intent) && theirs.PeerSealed == intent.Sealed,
		"The holder logged the hash of this very intent and content, before it answered.",
		"The holder logged the hash of another intent or content than these.")
	return true
}

// headerDiffers returns the name of the first field in which the header of a
// request is not that of the intent, or "".
func headerDiffers(h *query.Request, raw []byte, intent *entry.Entry) string {
	f := &h.Facts
	for _, c := range []struct {
		name string
		same bool
	}{
		{"query", h.ID == query.ID(intent.Query)},
		{"agreement", f.Agreement == intent.Agreement && f.AgreementDigest == intent.AgreementDigest},
		{"purpose", f.Purpose == intent.Purpose},
		{"collection", f.Collection == intent.Collection},
		{"number of items", f.Items == intent.Items},
		{"unit", f.Unit == intent.Unit},
		{"versions", h.Protocol == intent.Protocol && h.Normalisation == intent.Normalisation},
		{"list version", h.ListVersion == intent.ListVersion},
		{"rules", slices.Equal(h.Statement.Rules, intent.Rules) && h.Statement.Bundle == intent.Bundle},
		{"leaf of the intent", h.AskerLeaf == entry.LeafHash(raw)},
		{"sealed content", h.Sealed == intent.Sealed},
	} {
		if !c.same {
			return c.name
		}
	}
	return ""
}

// storedAsk is what the stored input of the door `ask` says that can be compared.
type storedAsk struct {
	Door    string
	Officer struct{ Pseudonym, Unit string }
	Subject struct{ Category string }
	Query   struct {
		Collection, Category, Urgency, Kind string
		PurposeCode                         string `json:"purpose_code"`
		LegalBasisRef                       string `json:"legal_basis_ref"`
		OffenceCode                         string `json:"offence_code"`
		SubjectCount                        int    `json:"subject_count"`
	}
}

// facts compares what the holder was told with what the officer said and what our
// rules saw.
func (v *Verdict) facts(c *query.Content, h *query.Request, intent *entry.Entry) {
	f := &h.Facts
	v.same("policy_input", sha256.Sum256(c.Input) == intent.Input,
		"The facts that our rules saw are those that the intent names.",
		"The facts in the content are not those that the intent names.")
	var in storedAsk
	if err := json.Unmarshal(c.Input, &in); err != nil || in.Door != "ask" {
		v.add("facts", Different, "The facts in the content are malformed.")
		return
	}
	field := ""
	for _, x := range []struct {
		name string
		same bool
	}{
		{"collection", in.Query.Collection == f.Collection},
		{"category", in.Query.Category == f.Category},
		{"purpose", in.Query.PurposeCode == f.Purpose},
		{"legal basis", in.Query.LegalBasisRef == f.LegalBasis},
		{"offence class", in.Query.OffenceCode == f.OffenceClass},
		{"urgency", in.Query.Urgency == f.Urgency},
		{"kind", in.Query.Kind == f.Kind.String()},
		{"number of subjects", in.Query.SubjectCount == len(c.Items) && query.PadItems(len(c.Items)) == int(f.Items)},
		{"subject category", in.Subject.Category == c.SubjectCategory},
		{"case reference", f.CaseReference == (c.CaseReference != "")},
		{"justification", f.Justification == (c.Justification != "")},
		{"officer", in.Officer.Pseudonym == hex.EncodeToString(intent.Officer[:])},
		{"unit", in.Officer.Unit == hex.EncodeToString(intent.Unit[:])},
		{"holder", c.Holder == trustDomain(intent.Holder)},
	} {
		if !x.same && field == "" {
			field = x.name
		}
	}
	v.same("facts", field == "", "The holder was told what the officer said and what our rules saw.",
		"What the holder was told, what the officer said and what our rules saw differ: "+field+".")
}

// officer checks that the officer of the content is the one of the entry, and
// signed the ask with the key that the register has.
func (v *Verdict) officer(c *query.Content, e *Evidence, intent *entry.Entry) {
	if len(c.AskSignature) == 0 || len(c.AskDigest) != sha256.Size {
		v.add("officer_signature", Different, "The officer's signature over the ask is not in the content.")
		return
	}
	if e.Officer == "" || e.OfficerKey == nil {
		v.add("officer_signature", Missing, "The officer of the entry, or the officer's key in the register, is missing.")
		return
	}
	v.same("officer", c.Officer == e.Officer, "The officer in the content is the officer of the entry.",
		"The officer in the content is not the officer of the entry.")
	v.same("officer_signature", officer.Check(e.OfficerKey, officer.PurposeAsk, [32]byte(c.AskDigest), c.AskSignature) == nil,
		"The officer signed the ask with the key in the register.",
		"The ask is not signed with the officer's key in the register.")
}

// asked checks that the officer's signature is over what the content says was
// asked, and that the lookup keys are those of the subjects in it: nobody was
// added, left out or exchanged between the officer and the request.
func (v *Verdict) asked(c *query.Content) {
	id, err := query.ParseID(c.Request)
	if err != nil {
		v.add("ask", Different, "The id of the officer's request is malformed.")
		return
	}
	digest := c.Asked.Digest(id)
	v.same("ask", bytes.Equal(digest[:], c.AskDigest), "What the officer signed is what the content says was asked.",
		"The officer signed something else than the content says was asked.")
	same := len(c.Subjects) == len(c.Items)
	for i := 0; same && i < len(c.Items); i++ {
		same = sameKeys(&c.Subjects[i], &c.Items[i], c.Batches)
	}
	v.same("subjects", same, "The lookup keys are those of the subjects that the officer asked for.",
		"The lookup keys are not those of the subjects that the officer asked for.")
}

// sameKeys reports whether the lookup keys of an item are those of a subject.
func sameKeys(a *query.AskedSubject, item *query.ContentItem, batches []query.ContentBatch) bool {
	birth, err := record.ParseDate(a.Birth)
	if err != nil && a.Birth != "" {
		return false
	}
	s := record.Subject{Ref: a.Ref, Name: a.Name, Birth: birth, Nationality: a.Nationality, Sex: a.Sex,
		Document: record.Document{Type: record.DocumentType(a.DocType), Issuer: a.DocIssuer, Number: a.DocNumber}}
	keys := make(map[string][]byte)
	for _, k := range s.Keys() {
		keys[string(k.Class)] = k.Bytes
	}
	for i, b := range batches {
		if !bytes.Equal(keys[b.Class], item.Keys[i]) {
			return false
		}
	}
	return item.Ref == a.Ref
}

func (v *Verdict) add(name string, result Result, sentence string) {
	v.Checks = append(v.Checks, Check{name, result, sentence})
}

func (v *Verdict) same(name string, same bool, right, wrong string) {
	if same {
		v.add(name, Same, right)
	} else {
		v.add(name, Different, wrong)
	}
}

// done draws the conclusion.
func (v *Verdict) done(compared bool) Verdict {
	both := false
	for _, c := range v.Checks {
		if c.Result == Different {
			v.Result, v.Sentence = Different, "The content does not describe the request that was sent. "+c.Sentence
			return *v
		}
		both = both || c.Result == Same && (c.Name == "receipt" || c.Name == "their_log")
	}
	switch {
	case !compared:
		v.Result, v.Sentence = Missing, "There is nothing to compare the request with."
	case both:
		v.Result, v.Sentence = Same, "The content describes the request that was sent, byte for byte, and the holder confirms it."
	default:
		v.Result, v.Sentence = Same,
			"The content describes the request in our own log, byte for byte; the holder's word on it is missing."
	}
	return *v
}
