package query_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/passerelle/passerelle/gateway/query"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// request returns a valid request of n real items and two classes.
func request(n int) *query.Request {
	r := &query.Request{
		ID:            query.NewID(noon),
		Protocol:      query.Protocol,
		Normalisation: 1,
		Facts: query.Facts{
			Agreement: "uto-qva-1", Collection: "watchlist", Purpose: "ct-travel-screening",
			LegalBasis: "Border-Act s.14(2)", OffenceClass: "terrorism", Urgency: "ordinary",
			Category: "watchlist", Kind: query.Set, Items: uint32(query.PadItems(n)),
			CaseReference: true, Justification: true,
		},
		ListVersion: 7,
		Statement:   query.Statement{Rules: []string{"RU-01", "RU-03"}},
	}
	for _, class := range []string{"doc", "name+year"} {
		for left, chunk := int(r.Facts.Items), uint32(0); left > 0; chunk++ {
			size := min(left, query.MaxChunk)
			b := query.Batch{Class: class, Epoch: 3, Chunk: chunk, Elements: make([][32]byte, size)}
			for i := range b.Elements {
				b.Elements[i][0], b.Elements[i][1] = byte(i), byte(i>>8)
			}
			r.Batches = append(r.Batches, b)
			left -= size
		}
	}
	return r
}

func TestIDRoundTrip(t *testing.T) {
	t.Parallel()
	id := query.NewID(noon)
	got, err := query.ParseID(id.String())
	if err != nil || got != id {
		t.Errorf("ParseID(%s) = %v, %v", id, got, err)
	}
	if got := id.Time(); !got.Equal(noon) {
		t.Errorf("Time = %v, want %v", got, noon)
	}
	for _, bad := range []string{"", strings.ToUpper(id.String()) + "A", strings.ReplaceAll(id.String(), "-", ""),
		"00000000-0000-0000-0000-000000000000", "018f0000-0000-4000-8000-000000000000"} {
		if got, err := query.ParseID(bad); !errors.Is(err, query.ErrID) || !got.IsZero() {
			t.Errorf("ParseID(%q) = %v, %v, want the zero id and ErrID", bad, got, err)
		}
	}
}

func TestIDCheck(t *testing.T) {
	t.Parallel()
	id := query.NewID(noon)
	tests := []struct {
		now  time.Time
		want error
	}{
		{noon, nil},
		{noon.Add(24 * time.Hour), nil},
		{noon.Add(24*time.Hour + time.Millisecond), query.ErrExpiredID},
		{noon.Add(-time.Minute), nil},
		{noon.Add(-time.Minute - time.Millisecond), query.ErrClock},
	}
	for _, tt := range tests {
		if err := id.Check(tt.now, 24*time.Hour, time.Minute); !errors.Is(err, tt.want) {
			t.Errorf("Check at %v = %v, want %v", tt.now, err, tt.want)
		}
	}
}

func TestRequestValidate(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 64, 65, 1025, 3000} {
		if err := request(n).Validate(); err != nil {
			t.Errorf("Validate of %d items: %v", n, err)
		}
	}
	tests := []struct {
		name   string
		change func(*query.Request)
	}{
		{"zero id", func(r *query.Request) { r.ID = query.ID{} }},
		{"other protocol", func(r *query.Request) { r.Protocol++ }},
		{"no agreement", func(r *query.Request) { r.Facts.Agreement = "" }},
		{"control character", func(r *query.Request) { r.Facts.Purpose = "a\nb" }},
		{"long legal basis", func(r *query.Request) { r.Facts.LegalBasis = strings.Repeat("x", 129) }},
		{"no kind", func(r *query.Request) { r.Facts.Kind = 0 }},
		{"single with many items", func(r *query.Request) { r.Facts.Kind = query.Single }},
		{"no items", func(r *query.Request) { r.Facts.Items = 0 }},
		{"items not padded", func(r *query.Request) { r.Facts.Items = 65 }},
		{"too many rules", func(r *query.Request) { r.Statement.Rules = make([]string, 65) }},
		{"no batches", func(r *query.Request) { r.Batches = nil }},
		{"class twice", func(r *query.Request) { r.Batches[1].Class = r.Batches[0].Class }},
		{"element missing", func(r *query.Request) { r.Batches[1].Elements = r.Batches[1].Elements[1:] }},
		{"element more", func(r *query.Request) { r.Batches[0].Elements = append(r.Batches[0].Elements, [32]byte{}) }},
		{"chunk skipped", func(r *query.Request) { r.Batches[1].Chunk = 1 }},
		{"class of another", func(r *query.Request) { r.Batches[1].Class = "" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := request(4)
			tt.change(r)
			if err := r.Validate(); !errors.Is(err, query.ErrMalformed) {
				t.Errorf("Validate = %v, want ErrMalformed", err)
			}
		})
	}
}

// TestRequestDigest changes every field in turn: each must change the digest,
// because both countries log nothing else of a request.
func TestRequestDigest(t *testing.T) {
	t.Parallel()
	base := request(4)
	changes := []func(*query.Request){
		func(r *query.Request) { r.ID[15] ^= 1 },
		func(r *query.Request) { r.Protocol++ },
		func(r *query.Request) { r.Normalisation++ },
		func(r *query.Request) { r.Facts.Agreement += "x" },
		func(r *query.Request) { r.Facts.AgreementDigest[0] ^= 1 },
		func(r *query.Request) { r.Facts.Collection += "x" },
		func(r *query.Request) { r.Facts.Purpose += "x" },
		func(r *query.Request) { r.Facts.LegalBasis += "x" },
		func(r *query.Request) { r.Facts.OffenceClass += "x" },
		func(r *query.Request) { r.Facts.Urgency += "x" },
		func(r *query.Request) { r.Facts.Category += "x" },
		func(r *query.Request) { r.Facts.Kind = query.Single },
		func(r *query.Request) { r.Facts.Items++ },
		func(r *query.Request) { r.Facts.Unit[0] ^= 1 },
		func(r *query.Request) { r.Facts.CaseReference = false },
		func(r *query.Request) { r.Facts.Justification = false },
		func(r *query.Request) { r.ListVersion++ },
		func(r *query.Request) { r.AskerLeaf[0] ^= 1 },
		func(r *query.Request) { r.Sealed[0] ^= 1 },
		func(r *query.Request) { r.Statement.Rules = r.Statement.Rules[:1] },
		func(r *query.Request) { r.Statement.Bundle[0] ^= 1 },
		func(r *query.Request) { r.Statement.Signature[0] ^= 1 },
		func(r *query.Request) { r.Batches[0].Class += "x" },
		func(r *query.Request) { r.Batches[0].Epoch++ },
		func(r *query.Request) { r.Batches[0].Chunk++ },
		func(r *query.Request) { r.Batches[1].Elements[3][31] ^= 1 },
		func(r *query.Request) { r.Batches = r.Batches[:1] },
	}
	seen := map[[32]byte]int{base.Digest(): -1}
	for i, change := range changes {
		r := request(4)
		r.ID = base.ID
		r.Statement.Rules = []string{"RU-01", "RU-03"}
		change(r)
		d := r.Digest()
		if j, ok := seen[d]; ok {
			t.Errorf("change %d gives the digest of %d", i, j)
		}
		seen[d] = i
	}
}

func answer(r *query.Request) *query.Answer {
	a := &query.Answer{ID: r.ID, Receipt: []byte("receipt")}
	for _, b := range r.Batches {
		a.Batches = append(a.Batches, query.AnswerBatch{Class: b.Class, Chunk: b.Chunk, Evaluated: b.Elements, Proof: [64]byte{1, 2}})
	}
	return a
}

func TestAnswerRoundTrip(t *testing.T) {
	t.Parallel()
	r := request(70)
	a := answer(r)
	got, err := query.ParseAnswer(a.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), a.Bytes()) || got.Digest() != a.Digest() {
		t.Error("the parsed answer encodes to other bytes")
	}
	if err := got.Matches(r); err != nil {
		t.Errorf("Matches = %v", err)
	}
	got.Batches[0].Evaluated = got.Batches[0].Evaluated[1:]
	if err := got.Matches(r); !errors.Is(err, query.ErrMalformed) {
		t.Errorf("Matches of a short answer = %v, want ErrMalformed", err)
	}
}

func TestPadItems(t *testing.T) {
	t.Parallel()
	for n := 1; n < 5000; n++ {
		p := query.PadItems(n)
		if p < n || query.PadItems(p) != p {
			t.Fatalf("PadItems(%d) = %d", n, p)
		}
	}
}

// FuzzParseAnswer checks that the encoding is canonical, and that an error comes
// with no answer.
func FuzzParseAnswer(f *testing.F) {
	f.Add(answer(request(4)).Bytes())
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		a, err := query.ParseAnswer(b)
		if err != nil {
			if a != nil {
				t.Error("an answer beside an error")
			}
			return
		}
		if got := a.Bytes(); !bytes.Equal(got, b) {
			t.Errorf("not canonical:\n got %x\nfrom %x", got, b)
		}
	})
}

func TestHeaderRoundTrip(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 70} {
		r := request(n)
		r.AskerLeaf[3], r.Sealed[4], r.Statement.Signature[5], r.Facts.Unit[6] = 1, 2, 3, 4
		h, err := query.ParseHeader(r.AppendHeader(nil))
		if err != nil {
			t.Fatal(err)
		}
		if len(h.Batches) != 0 {
			t.Errorf("a header with %d batches", len(h.Batches))
		}
		h.Batches = r.Batches
		if h.Digest() != r.Digest() {
			t.Error("header and batches give another digest than the request")
		}
	}
	good := request(1).AppendHeader(nil)
	for i := range good {
		if h, err := query.ParseHeader(good[:i]); !errors.Is(err, query.ErrMalformed) || h != nil {
			t.Fatalf("ParseHeader of %d bytes = %v, %v", i, h, err)
		}
	}
	if _, err := query.ParseHeader(append(good, 0)); !errors.Is(err, query.ErrMalformed) {
		t.Errorf("ParseHeader with a byte more = %v", err)
	}
}

// FuzzParseHeader checks that the encoding is canonical, and that an error comes
// with no request.
func FuzzParseHeader(f *testing.F) {
	f.Add(request(1).AppendHeader(nil))
	f.Add(request(70).AppendHeader(nil))
	f.Add([]byte{1})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := query.ParseHeader(b)
		if err != nil {
			if h != nil {
				t.Error("a request beside an error")
			}
			return
		}
		if got := h.AppendHeader(nil); !bytes.Equal(got, b) {
			t.Errorf("not canonical:\n got %x\nfrom %x", got, b)
		}
	})
}

func TestReasonOf(t *testing.T) {
	t.Parallel()
	cause := errors.New("cause")
	err := error(query.Refuse(query.ListStale, cause))
	if got := query.ReasonOf(err); got != query.ListStale || !errors.Is(err, cause) {
		t.Errorf("ReasonOf = %q", got)
	}
	if got := query.ReasonOf(cause); got != query.Internal {
		t.Errorf("ReasonOf of another error = %q, want INTERNAL", got)
	}
	if got := query.ReasonOf(nil); got != "" {
		t.Errorf("ReasonOf(nil) = %q", got)
	}
}
