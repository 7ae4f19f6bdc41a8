package store_test

import (
	"testing"

	"github.com/passerelle/passerelle/gateway/store"
)

// BenchmarkHolder is what the store adds to a query at the holder: two commits.
func BenchmarkHolder(b *testing.B) {
	s, err := store.Open(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	answer := make([]byte, 4*(32+64)+200)
	for i := range b.N {
		q := begin(i)
		for _, class := range []string{"doc", "doc+dob", "name+dob", "name+year"} {
			q.Charges = append(q.Charges, store.Charge{Counter: "day/" + class, Amount: 1, Limit: 1 << 40},
				store.Charge{Counter: "burst/" + class, Amount: 1, Limit: 1 << 40})
		}
		if _, err := s.BeginQuery(b.Context(), q); err != nil {
			b.Fatal(err)
		}
		if err := s.FinishQuery(b.Context(), q.QueryKey, store.Finish{Progress: store.Answered, Answer: answer, Time: noon,
			Leaves: []store.Leaf{{Query: q.ID, Log: "shared", Kind: "decision", Index: uint64(i)}}}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkPutRecords is the cost of one record of a file.
func BenchmarkPutRecords(b *testing.B) {
	s, err := store.Open(b.Context(), b.TempDir())
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	json := make([]byte, 500)
	_, err = s.PutRecords(b.Context(), "list", "file", func(yield func(store.RecordRow, error) bool) {
		for i := range b.N {
			id := begin(i).ID
			if !yield(store.RecordRow{ID: string([]byte{id[13] + 'a', id[14], id[15]}), JSON: json}, nil) {
				return
			}
		}
	})
	if err != nil {
		b.Fatal(err)
	}
}
