package query

import (
	"bytes"
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
	Version         int             `json:"version"`
	Query           string          `json:"query"`   // query id
	Request         string          `json:"request"` // id of the officer's request, one per lookup or screening
	Officer         string          `json:"officer"` // SPIFFE ID
	Unit            string          `json:"unit"`
	CaseReference   string          `json:"case_reference"`
	Justification   string          `json:"justification"`
	SubjectCategory string          `json:"subject_category"`
	ThreatNote      string          `json:"threat_note,omitempty"`
	AskDigest       []byte          `json:"ask_digest"`    // what the officer signed
	AskSignature    []byte          `json:"ask_signature"` // by the officer's own key
	Input           json.RawMessage `json:"input"`         // facts the policy saw, as stored
	Holder          string          `json:"holder"`        // trust domain, part of every blind
	Seed            []byte          `json:"seed"`          // of the blinds of this query
	Batches         []ContentBatch  `json:"batches"`
	Items           []ContentItem   `json:"items"` // real items; the rest up to the padded number are dummies
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
