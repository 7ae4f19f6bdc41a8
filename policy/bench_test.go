package policy_test

import (
	"testing"

	"github.com/passerelle/passerelle/policy"
)

func BenchmarkDecide(b *testing.B) {
	e := engine(b)
	for _, in := range passing() {
		b.Run(string(in.Door()), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := e.Decide(b.Context(), in); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func BenchmarkActivate(b *testing.B) {
	e := engine(b)
	bundle := policy.Default()
	for b.Loop() {
		if err := e.Activate(b.Context(), bundle); err != nil {
			b.Fatal(err)
		}
	}
}
