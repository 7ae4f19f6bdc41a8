package oprf

import (
	"slices"
	"time"

	"github.com/gtank/ristretto255"
)

// MeasureUnits measures what one operation costs on this machine, on one thread:
// hashing an input to the group, one multiplication of an element by a scalar,
// and encoding an element. Each is the median of nine runs of n operations,
// divided by n. An n below 1 means 100.
func MeasureUnits(n int) (hash, mul, encoding time.Duration) {
	if n < 1 {
		n = 100
	}
	k, _ := GeneratePrivateKey().k()
	input := make([]byte, 32)
	var e, out ristretto255.Element
	hashToGroup(&e, input)

	median := func(f func()) time.Duration {
		var runs [9]time.Duration
		for i := range runs {
			start := time.Now()
			for range n {
				f()
			}
			runs[i] = time.Since(start) / time.Duration(n)
		}
		slices.Sort(runs[:])
		return runs[len(runs)/2]
	}
	hash = median(func() { hashToGroup(&out, input) })
	mul = median(func() { out.ScalarMult(k, &e) })
	encoding = median(func() { encode(&out) })
	return hash, mul, encoding
}
