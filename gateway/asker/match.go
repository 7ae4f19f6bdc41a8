package asker

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/passerelle/passerelle/crypto/oprf"
	"github.com/passerelle/passerelle/crypto/psi"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/store"
	"github.com/passerelle/passerelle/policy"
)

// identityThreshold is the code of the least evidence weight in an agreement's
// thresholds. Without one every match is a candidate.
const identityThreshold = "identity"

// match is step 7: it looks every output up in the local copy of the holder's
// tags, and adds up the evidence of the classes that name the same handle.
//
// Below the agreement's threshold nothing is returned (RU-26). What the asker's
// own gateway could see below it is said in DESIGN, section 2.
func match(r *run, outputs map[string][]oprf.Output) []Candidate {
	type key struct {
		item   int
		handle psi.Handle
	}
	found := make(map[key]*Candidate)
	var labels []psi.Label
	for n := range r.t.list.Classes {
		class := &r.t.list.Classes[n]
		out := outputs[class.Name]
		for i := range r.items {
			if r.items[i].keys[class.Name] == nil {
				continue // a dummy
			}
			labels = class.appendLookup(labels[:0], &out[i])
			for _, label := range labels {
				k := key{i, label.Handle}
				c := found[k]
				if c == nil {
					c = &Candidate{
						Request: r.ask.Request, Query: r.id, Holder: r.t.holder, Collection: r.t.collection.Name,
						Ref: r.items[i].ref, Item: i, Handle: label.Handle, ListVersion: r.t.list.Version, Time: r.began,
					}
					c.AlertKind, c.Instruction = r.t.collection.Shown(label.Kind, label.Instruction)
					c.ID = query.NewID(r.began)
					found[k] = c
				}
				if !slices.Contains(c.Classes, class.Name) {
					c.Classes = append(c.Classes, class.Name)
					c.Weight += uint32(label.Weight)
				}
			}
		}
	}
	least := int64(r.t.agreement.Thresholds[identityThreshold])
	if limit, ok := r.decision.Limits()[policy.MatchThreshold]; ok {
		least = max(least, limit)
	}
	var candidates []Candidate
	for _, c := range found {
		if int64(c.Weight) >= least {
			candidates = append(candidates, *c)
		}
	}
	slices.SortFunc(candidates, func(a, b Candidate) int {
		return cmp.Or(cmp.Compare(a.Item, b.Item), compareEvidence(a, b))
	})
	return candidates
}

// compareEvidence orders candidates by evidence, strongest first, and then by
// holder, collection and handle, so that the order says nothing else.
func compareEvidence(a, b Candidate) int {
	return cmp.Or(-cmp.Compare(a.Weight, b.Weight), cmp.Compare(a.Holder, b.Holder),
		cmp.Compare(a.Collection, b.Collection), slices.Compare(a.Handle[:], b.Handle[:]))
}

// row returns c as it is stored, to be deleted at the given time.
func (c *Candidate) row(epoch uint32, expires time.Time) store.Candidate {
	return store.Candidate{
		ID: c.ID, Query: c.Query, Request: c.Request, Holder: c.Holder, Collection: c.Collection, Epoch: epoch,
		ListVersion: c.ListVersion, Handle: c.Handle, Item: c.Ref, Weight: int64(c.Weight), Kind: c.AlertKind,
		Instruction: c.Instruction, State: CandidateOpen, Detail: []byte(strings.Join(c.Classes, " ")), Created: c.Time,
		Expires: expires,
	}
}

// CandidateOpen is the state of a candidate that nobody has compared yet.
const CandidateOpen = "open"
