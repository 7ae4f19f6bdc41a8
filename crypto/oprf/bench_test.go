package oprf_test

import (
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/cloudflare/circl/group"

	"github.com/passerelle/passerelle/crypto/oprf"
)

func BenchmarkHashToGroup(b *testing.B) {
	for b.Loop() {
		oprf.HashToGroup([]byte("a lookup key of some thirty bytes"))
	}
}

func BenchmarkMul(b *testing.B) {
	e, s := oprf.HashToGroup([]byte("x")), group.Ristretto255.RandomScalar(rand.Reader)
	out := group.Ristretto255.NewElement()
	for b.Loop() {
		out.Mul(e, s)
	}
}

func BenchmarkEncode(b *testing.B) {
	e := oprf.HashToGroup([]byte("x"))
	for b.Loop() {
		oprf.Encode(e)
	}
}

func BenchmarkEvaluate(b *testing.B) {
	s := oprf.NewServer(oprf.GeneratePrivateKey())
	for b.Loop() {
		s.Evaluate([]byte("a lookup key of some thirty bytes"), []byte("info"))
	}
}

func benchmarkBatches(b *testing.B, prepare func(n int) func()) {
	for _, n := range []int{1, 4, 256} {
		b.Run(fmt.Sprint(n), func(b *testing.B) {
			f := prepare(n)
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
