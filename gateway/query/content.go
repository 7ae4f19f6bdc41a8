package query

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"fmt"
)

// ContentVersion is the version of the sealed content of an asker's intent.
const ContentVersion = 1

// A Content is what the asker seals to its own country's auditor before it asks:
// who asked for whom and why, and all that is needed to compute the request
// again, byte for byte. It never leaves the country, and it is erasable.
//
// The auditor who opens it computes each blinded element from Seed, Batches and
// Items and compares the request's digest with the entries of both countries:
// an officer who asked for somebody else than the file says is found.
//
// All of it is secret: it names a traveller.
type Content struct {
	Version      int             `json:"version"`
	Query        string          `json:"query"`   // query id
	Request      string          `json:"request"` // id of the officer's request, one per lookup or screening
	Officer      string          `json:"officer"` // SPIFFE ID
	Unit         string          `json:"unit"`
	Asked                        // what the officer asked for and why, as signed
	AskDigest    []byte          `json:"ask_digest"`    // what the officer signed
	AskSignature []byte          `json:"ask_signature"` // by the officer's own key
	Input        json.RawMessage `json:"input"`         // facts the policy saw, as stored
	Holder       string          `json:"holder"`        // trust domain, part of every blind
	Seed         []byte          `json:"seed"`          // of the blinds of this query
	Batches      []ContentBatch  `json:"batches"`
	Items        []ContentItem   `json:"items"` // real items; the rest up to the padded number are dummies
}

// Asked is everything that an officer asks for and gives as the reason, in the
// officer's own words: what the officer's signature covers.
type Asked struct {
	Purpose         string         `json:"purpose"`
	LegalBasis      string         `json:"legal_basis"`
	OffenceClass    string         `json:"offence_class"`
	Urgency         string         `json:"urgency"`
	CaseReference   string         `json:"case_reference"`
	Justification   string         `json:"justification"`
	SubjectCategory string         `json:"subject_category"`
	ThreatNote      string         `json:"threat_note"`
	Kind            string         `json:"kind"` // as Kind.String
	Holders         []string       `json:"holders"`
	Collections     []string       `json:"collections"`
	Subjects        []AskedSubject `json:"subjects"`
}

// An AskedSubject is one subject as the officer gave it.
type AskedSubject struct {
	Ref         string `json:"ref"`
	Name        string `json:"name"`
	Birth       string `json:"birth"`
	DocType     string `json:"document_type"`
	DocIssuer   string `json:"document_issuer"`
	DocNumber   string `json:"document_number"`
	Nationality string `json:"nationality"`
	Sex         string `json:"sex"`
}

// Digest returns what the officer signs for the request with the given id: the
// SHA-256 hash of
//
//	struct {
//	    opaque domain<0..2^32-1> = "passerelle/v1 ask";
//	    opaque request[16];
//	    opaque reason<0..2^32-1>[9];  // purpose to threat_note, then kind
//	    uint32 holders;     opaque holder<0..2^32-1>[holders];
//	    uint32 collections; opaque collection<0..2^32-1>[collections];
//	    uint32 subjects;    AskedSubject subject[subjects];
//	} Ask;
//
//	struct {
//	    opaque field<0..2^32-1>[8];   // ref to sex
//	} AskedSubject;
//
// so that nobody else, and no administrator, can ask in that name.
func (a *Asked) Digest(request ID) [32]byte {
	h := sha256.New()
	number := func(n int) { h.Write(binary.BigEndian.AppendUint32(nil, uint32(n))) }
	field := func(s string) {
		number(len(s))
		h.Write([]byte(s))
	}
	field("passerelle/v1 ask")
	h.Write(request[:])
	for _, s := range []string{a.Purpose, a.LegalBasis, a.OffenceClass, a.Urgency, a.CaseReference, a.Justification,
		a.SubjectCategory, a.ThreatNote, a.Kind} {
		field(s)
	}
	for _, list := range [][]string{a.Holders, a.Collections} {
		number(len(list))
		for _, s := range list {
			field(s)
		}
	}
	number(len(a.Subjects))
	for i := range a.Subjects {
		s := &a.Subjects[i]
		for _, v := range []string{s.Ref, s.Name, s.Birth, s.DocType, s.DocIssuer, s.DocNumber, s.Nationality, s.Sex} {
			field(v)
		}
	}
	return [32]byte(h.Sum(nil))
}

// A ContentBatch says with which public information and key one class of the
// request was made.
type ContentBatch struct {
	Class     string `json:"class"`
	Epoch     uint32 `json:"epoch"`
	Info      []byte `json:"info"`
	PublicKey []byte `json:"public_key"`
}

// A ContentItem is one subject: the caller's reference for it, and its lookup
// key in each class of Batches, empty where it has none.
type ContentItem struct {
	Ref  string   `json:"ref"`
	Keys [][]byte `json:"keys"`
}

// Bytes returns the JSON of c.
func (c *Content) Bytes() ([]byte, error) {
	b, err := json.Marshal(c)
	if err != nil {
		return nil, fmt.Errorf("query: encoding content: %w", err)
	}
	return b, nil
}

// ParseContent parses what [Content.Bytes] returned. It returns an error wrapping
// [ErrMalformed] for anything else, and never quotes the content in it.
func ParseContent(b []byte) (*Content, error) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var c Content
	if err := d.Decode(&c); err != nil || c.Version != ContentVersion {
		return nil, malformed("sealed content")
	}
	for _, item := range c.Items {
		if len(item.Keys) != len(c.Batches) {
			return nil, malformed("sealed content: keys of an item")
		}
	}
	return &c, nil
}
