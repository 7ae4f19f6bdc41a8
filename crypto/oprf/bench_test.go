package oprf_test

import (
	"fmt"
	"testing"

	"github.com/passerelle/passerelle/crypto/oprf"
)

// BenchmarkUnits measures what the other benchmarks are made of.
func BenchmarkUnits(b *testing.B) {
	hash, mul, encoding := oprf.MeasureUnits(0)
	for b.Loop() {
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(float64(hash.Nanoseconds())/1e3, "hash-us")
	b.ReportMetric(float64(mul.Nanoseconds())/1e3, "mul-us")
	b.ReportMetric(float64(encoding.Nanoseconds())/1e3, "encode-us")
}

func BenchmarkEvaluate(b *testing.B) {
	s := oprf.NewServer(oprf.GeneratePrivateKey())
	for b.Loop() {
		s.Evaluate([]byte("a lookup key of some thirty bytes"), []byte("info"))
	}
}

func benchmarkBatches(b *testing.B, prepare func(n int) func()) {
	for _, n := range []int{1, 4, 256, 1024} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := prepare(n)
			b.ReportAllocs()
			for b.Loop() {
				f()
			}
			b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N*n), "us/element")
		})
	}
}

func BenchmarkBlind(b *testing.B) {
	c := newClient(b, oprf.GeneratePrivateKey().PublicKey())
	seed := oprf.GenerateSeed()
	benchmarkBatches(b, func(n int) func() {
		in := inputsOf(n)
		return func() { c.Blind(in, seed, blindContext()) }
	})
}

func BenchmarkBlindEvaluate(b *testing.B) {
	s := oprf.NewServer(oprf.GeneratePrivateKey())
	benchmarkBatches(b, func(n int) func() {
		req, err := oprf.Recompute(inputsOf(n), oprf.GenerateSeed(), blindContext())
		if err != nil {
			b.Fatal(err)
		}
		return func() { s.BlindEvaluate(req, []byte("info")) }
	})
}

func BenchmarkFinalize(b *testing.B) {
	key := oprf.GeneratePrivateKey()
	s, c := oprf.NewServer(key), newClient(b, key.PublicKey())
	benchmarkBatches(b, func(n int) func() {
		p, req, err := c.Blind(inputsOf(n), oprf.GenerateSeed(), blindContext())
		if err != nil {
			b.Fatal(err)
		}
		ev, proof, err := s.BlindEvaluate(req, []byte("info"))
		if err != nil {
			b.Fatal(err)
		}
		return func() {
			if _, err := p.Finalize(ev, proof); err != nil {
				b.Fatal(err)
			}
		}
	})
}
