package oprf

import (
	"encoding/binary"

	"github.com/gtank/ristretto255"
)

// sumsOfProducts returns the sum of s[i]*e[i] for each e, in variable time. Its
// arguments must be public.
func sumsOfProducts(s []ristretto255.Scalar, e ...[]ristretto255.Element) []ristretto255.Element {
	// From here on, buckets are faster than a table for each element.
	const many = 160
	if len(s) >= many {
		return bucketSums(s, e)
	}
	// A part is computed at once, with doublings in common.
	const part = 64
	parts := max(1, (len(s)+part-1)/part)
	sums := make([]ristretto255.Element, parts*len(e))
	share := 1
	if len(s) == 1 {
		share = len(sums) // see parallel
	}
	parallel(len(sums), share, func(i int) {
		from := i / len(e) * part
		to := min(from+part, len(s))
		tableSum(&sums[i], s[from:to], e[i%len(e)][from:to])
	})
	for i := len(e); i < len(sums); i++ {
		sums[i%len(e)].Add(&sums[i%len(e)], &sums[i])
	}
	return sums[:len(e)]
}

// tableSum sets sum to the sum of s[i]*e[i], in variable time.
func tableSum(sum *ristretto255.Element, s []ristretto255.Scalar, e []ristretto255.Element) {
	if len(s) == 1 {
		sum.VarTimeDoubleScalarBaseMult(&s[0], &e[0], ristretto255.NewScalar())
		return
	}
	ps := make([]*ristretto255.Scalar, len(s))
	pe := make([]*ristretto255.Element, len(e))
	for i := range s {
		ps[i], pe[i] = &s[i], &e[i]
	}
	sum.VarTimeMultiScalarMult(ps, pe)
}

// bucketSums is sumsOfProducts by the bucket method of Pippenger. With scalars in
// base 2^w, it adds up, for each position, the elements that have the same digit
// there, and weights the sums by running addition. Digits are between -2^(w-1) and
// 2^(w-1), because subtraction costs no more than addition and so half of the
// buckets do.
func bucketSums(s []ristretto255.Scalar, e [][]ristretto255.Element) []ristretto255.Element {
	const bits = 254 // of a reduced scalar, with a carry
	w, positions, cost := 0, 0, 0
	for try := 2; try <= 10; try++ {
		p := (bits + try - 1) / try
		if c := p * (len(s) + 1<<try); w == 0 || c < cost {
			w, positions, cost = try, p, c
		}
	}
	digits := make([]int16, positions*len(s)) // by position, then by scalar
	parallel(len(s), 64, func(i int) {
		b := scalarBytes(&s[i])
		carry := 0
		for p := range positions {
			d := window(&b, p*w, w) + carry
			carry = 0
			if d > 1<<(w-1) {
				d, carry = d-1<<w, 1
			}
			digits[p*len(s)+i] = int16(d)
		}
	})
	weighted := make([]ristretto255.Element, positions*len(e)) // by e, then by position
	parallel(len(weighted), 2, func(i int) {
		p := i % positions
		bucketSum(&weighted[i], 1<<(w-1), digits[p*len(s):(p+1)*len(s)], e[i/positions])
	})
	sums := make([]ristretto255.Element, len(e))
	parallel(len(e), 1, func(i int) {
		sum, of := &sums[i], weighted[i*positions:(i+1)*positions]
		*sum = of[positions-1]
		for p := positions - 2; p >= 0; p-- {
			for range w {
				sum.Add(sum, sum)
			}
			sum.Add(sum, &of[p])
		}
	})
	return sums
}

// bucketSum sets sum to the sum of digits[i]*e[i], where no digit is farther from
// zero than most.
func bucketSum(sum *ristretto255.Element, most int, digits []int16, e []ristretto255.Element) {
	buckets := make([]ristretto255.Element, most+1) // the first is not used
	used := make([]bool, most+1)
	for i, d := range digits {
		switch {
		case d > 0 && used[d]:
			buckets[d].Add(&buckets[d], &e[i])
		case d > 0:
			buckets[d], used[d] = e[i], true
		case d < 0 && used[-d]:
			buckets[-d].Subtract(&buckets[-d], &e[i])
		case d < 0:
			buckets[-d].Negate(&e[i])
			used[-d] = true
		}
	}
	// running is the sum of the buckets from d on, and is added once for each of
	// the digits from d down to 1.
	running := *ristretto255.NewIdentityElement()
	*sum = running
	for d := most; d > 0; d-- {
		if used[d] {
			running.Add(&running, &buckets[d])
		}
		sum.Add(sum, &running)
	}
}

// window returns w bits, at most 16, of the little-endian number b from bit at on.
func window(b *[32]byte, at, w int) int {
	var wide [8]byte
	copy(wide[:], b[at/8:])
	return int(binary.LittleEndian.Uint64(wide[:])>>(at%8)) & (1<<w - 1)
}
