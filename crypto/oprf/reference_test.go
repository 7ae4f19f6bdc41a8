package oprf_test

// Comparisons with circl, which has its own implementation of the group, of its
// encodings and of the protocol.

import (
	"bytes"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/cloudflare/circl/group"
	circl "github.com/cloudflare/circl/oprf"
	"github.com/cloudflare/circl/zk/dleq"

	"github.com/passerelle/passerelle/crypto/oprf"
)

// encodeCircl serializes an element of circl.
func encodeCircl(t testing.TB, e group.Element) oprf.Element {
	t.Helper()
	b, err := e.MarshalBinaryCompress()
	if err != nil {
		t.Fatal(err)
	}
	return oprf.Element(b)
}

// checkDecode holds the decoding of one element, and of one scalar, to circl's.
func checkDecode(t *testing.T, b [32]byte) {
	t.Helper()
	e := group.Ristretto255.NewElement()
	// Unlike circl, we take the identity for malformed.
	want := e.UnmarshalBinary(b[:]) == nil && !e.IsIdentity()
	again, ok := oprf.Decode(b)
	if ok != want {
		t.Errorf("element %x: accepted %v, by circl %v", b, ok, want)
	}
	if ok && (again != encodeCircl(t, e) || again != b) {
		t.Errorf("element %x: encoded again %x, by circl %x", b, again, encodeCircl(t, e))
	}
	if _, err := oprf.ParsePublicKey(b[:]); (err == nil) != want {
		t.Errorf("public key %x: %v, by circl %v", b, err, want)
	}
	if ok {
		// The same element has the same double.
		twice := [32]byte{2}
		double := group.Ristretto255.NewElement().Dbl(e)
		if got := oprf.SumsOfProducts([][32]byte{twice}, []oprf.Element{b}); got[0] != encodeCircl(t, double) {
			t.Errorf("element %x: its double is %x, by circl %x", b, got[0], encodeCircl(t, double))
		}
	}

	s := group.Ristretto255.NewScalar()
	want = s.UnmarshalBinary(b[:]) == nil
	parsed, ok := oprf.ParseScalar(b[:])
	if ok != want {
		t.Errorf("scalar %x: accepted %v, by circl %v", b, ok, want)
	}
	if ok && parsed != b {
		t.Errorf("scalar %x: serialized again %x", b, parsed)
	}
}

// decodeSeeds are encodings near each border of what is canonical.
func decodeSeeds(t testing.TB) [][32]byte {
	var out [][32]byte
	for _, e := range badElements(t) {
		out = append(out, e)
	}
	p := unhex(t, "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f")
	order := unhex(t, "edd3f55c1a631258d69cf7a2def9de1400000000000000000000000000000010")
	for _, middle := range [][]byte{make([]byte, 32), p, order, bytes.Repeat([]byte{0xff}, 32)} {
		for near := -20; near <= 20; near++ {
			var b [32]byte
			copy(b[:], middle)
			low := binary.LittleEndian.Uint64(b[:]) + uint64(near)
			binary.LittleEndian.PutUint64(b[:], low)
			out = append(out, b)
		}
	}
	// A canonical element, and every bit of it changed.
	e := oprf.HashToGroup([]byte("an element"), "a tag")
	out = append(out, e)
	for bit := range 256 {
		b := e
		b[bit/8] ^= 1 << (bit % 8)
		out = append(out, b)
	}
	return out
}

func TestDecode(t *testing.T) {
	t.Parallel()
	for _, b := range decodeSeeds(t) {
		checkDecode(t, b)
	}
}

func FuzzDecode(f *testing.F) {
	for _, b := range decodeSeeds(f) {
		f.Add(b[:])
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		var b [32]byte
		copy(b[:], in)
		checkDecode(t, b)
		// Bytes are rarely an element; that of their hash is always one.
		checkDecode(t, oprf.HashToGroup(in, "fuzz"))
	})
}

// TestHashes compares hashing to the group and to scalars, for each length of
// message, also beyond the buffers.
func TestHashes(t *testing.T) {
	t.Parallel()
	const dst = "HashToScalar-OPRFV1-\x02-ristretto255-SHA512"
	msg := bytes.Repeat([]byte("0123456789 "), 130)
	lengths := []int{oprf.MaxInfoSize + 6, len(msg)}
	for n := range oprf.MaxInputSize + 2 {
		lengths = append(lengths, n)
	}
	for _, n := range lengths {
		tag := "tag" + string(msg[:n%250])
		if got, want := oprf.HashToGroup(msg[:n], tag), group.Ristretto255.HashToElement(msg[:n], []byte(tag)); got != encodeCircl(t, want) {
			t.Errorf("%d bytes: the element differs from circl's", n)
		}
		want, err := group.Ristretto255.HashToScalar(msg[:n], []byte(dst)).MarshalBinary()
		if got := oprf.HashToScalar(msg[:n]); err != nil || !bytes.Equal(got[:], want) {
			t.Errorf("%d bytes: the scalar differs from circl's (%v)", n, err)
		}
	}
}

// exchangeCircl asks circl's server with our client, and answers circl's client
// with our server, under one key. Outputs must be equal, and a changed proof must
// be refused.
func exchangeCircl(t *testing.T, key oprf.PrivateKey, inputs [][]byte, info []byte, flip byte) {
	t.Helper()
	server, pk := oprf.NewServer(key), key.PublicKey()
	var ck circl.PrivateKey
	if err := ck.UnmarshalBinary(circl.SuiteRistretto255, key.Bytes()); err != nil {
		t.Fatal(err)
	}
	var cpk circl.PublicKey
	if err := cpk.UnmarshalBinary(circl.SuiteRistretto255, pk[:]); err != nil {
		t.Fatal(err)
	}
	theirServer := circl.NewPartialObliviousServer(circl.SuiteRistretto255, &ck)
	theirClient := circl.NewPartialObliviousClient(circl.SuiteRistretto255, &cpk)
	parse := func(in []oprf.Element) []circl.Blinded {
		var out []circl.Blinded
		for _, e := range in {
			el := group.Ristretto255.NewElement()
			if err := el.UnmarshalBinary(e[:]); err != nil {
				t.Fatal(err)
			}
			out = append(out, el)
		}
		return out
	}
	serialize := func(in []circl.Blinded) []oprf.Element {
		var out []oprf.Element
		for _, e := range in {
			out = append(out, encodeCircl(t, e))
		}
		return out
	}

	bc := blindContext()
	bc.Info = info
	pending, req, err := newClient(t, pk).Blind(inputs, oprf.GenerateSeed(), bc)
	if err != nil {
		t.Fatal(err)
	}
	ev, err := theirServer.Evaluate(&circl.EvaluationRequest{Elements: parse(req)}, info)
	if err != nil {
		t.Fatal(err)
	}
	proof, err := ev.Proof.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	ours, err := pending.Finalize(serialize(ev.Elements), oprf.Proof(proof))
	if err != nil {
		t.Fatalf("circl's answer is refused: %v", err)
	}
	bad := oprf.Proof(proof)
	bad[flip%oprf.ProofSize] ^= 1 << (flip / oprf.ProofSize)
	if out, err := pending.Finalize(serialize(ev.Elements), bad); !errors.Is(err, oprf.ErrVerify) || out != nil {
		t.Errorf("a changed proof of circl: %v", err)
	}

	fin, er, err := theirClient.Blind(inputs)
	if err != nil {
		t.Fatal(err)
	}
	evaluated, p, err := server.BlindEvaluate(serialize(er.Elements), info)
	if err != nil {
		t.Fatal(err)
	}
	answer := &circl.Evaluation{Elements: parse(evaluated), Proof: new(dleq.Proof)}
	if err := answer.Proof.UnmarshalBinary(group.Ristretto255, p[:]); err != nil {
		t.Fatal(err)
	}
	theirs, err := theirClient.Finalize(fin, answer, info)
	if err != nil {
		t.Fatalf("circl refuses our answer: %v", err)
	}
	for i, in := range inputs {
		direct, err := server.Evaluate(in, info)
		if err != nil || ours[i] != direct || !bytes.Equal(theirs[i], direct[:]) {
			t.Errorf("output %d of %d: %x by circl's server, %x by circl's client, %x by ours (%v)",
				i, len(inputs), ours[i], theirs[i], direct, err)
		}
	}
}

// TestExchange runs batches that take each way of summing.
func TestExchange(t *testing.T) {
	t.Parallel()
	for _, n := range []int{1, 2, 5, 40, 65, 200} {
		exchangeCircl(t, oprf.GeneratePrivateKey(), inputsOf(n), []byte("info"), byte(n))
	}
}

func FuzzExchange(f *testing.F) {
	f.Add([]byte("a seed of a key, of 32 bytes ...."), []byte("info"), []byte("input"), byte(1), byte(0))
	f.Add([]byte{1}, []byte{0}, []byte{0xff}, byte(7), byte(127))
	f.Fuzz(func(t *testing.T, secret, info, input []byte, n, flip byte) {
		if len(info) == 0 || len(info) > oprf.MaxInfoSize || len(input) > oprf.MaxInputSize-1 {
			t.Skip("outside of the limits")
		}
		k := oprf.HashToScalar(secret)
		key, err := oprf.ParsePrivateKey(k[:])
		if err != nil {
			t.Skip("the key is zero")
		}
		inputs := make([][]byte, 1+n%9)
		for i := range inputs {
			inputs[i] = append([]byte{byte(i)}, input...)
		}
		exchangeCircl(t, key, inputs, info, flip)
	})
}
