package entry_test

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/transparency-dev/merkle/proof"
	"golang.org/x/mod/sumdb/note"
)

// The vectors in test/vectors are for other implementations of these formats, and
// keep ours from changing unnoticed. A file is a header of "name: value" lines, an
// empty line, and the bytes in hex:
//
//	entry_*.txt      header: expect; for ok also leaf (leaf hash) and json
//	receipt_*.txt    header: expect, public (key), query, request, answer
//	tlogproof_*.txt  header: expect, vkey, entry (bytes); for ok also index and size
//
// where expect is ok, or the sentinel that must be returned: malformed, receipt,
// checkpoint, proof. They are written anew with
//
//	go test ./gateway/audit/entry -run TestVectors -write-vectors
//
// which must change none of them as long as the version bytes are the same.

const vectorDir = "../../../test/vectors"

var writeVectors = flag.Bool("write-vectors", false, "write the files in test/vectors")

// sentinels are the values of expect.
var sentinels = map[string]error{
	"ok":         nil,
	"malformed":  entry.ErrMalformed,
	"receipt":    entry.ErrReceipt,
	"checkpoint": entry.ErrCheckpoint,
	"proof":      entry.ErrProof,
}

// A vector is one file.
type vector struct {
	name   string
	header map[string]string
	order  []string
	body   []byte
}

func newVector(name string, body []byte, header ...string) vector {
	v := vector{name: name, header: make(map[string]string), body: body}
	for i := 0; i < len(header); i += 2 {
		v.header[header[i]] = header[i+1]
		v.order = append(v.order, header[i])
	}
	return v
}

func (v vector) bytes() []byte {
	var b bytes.Buffer
	for _, k := range v.order {
		fmt.Fprintf(&b, "%s: %s\n", k, v.header[k])
	}
	b.WriteByte('\n')
	for h := hex.EncodeToString(v.body); h != ""; {
		n := min(64, len(h))
		b.WriteString(h[:n] + "\n")
		h = h[n:]
	}
	return b.Bytes()
}

func readVectors(t testing.TB, kind string) []vector {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(vectorDir, kind+"_*.txt"))
	if err != nil || len(names) == 0 {
		t.Fatalf("no vectors of %s, %v", kind, err)
	}
	var out []vector
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		head, body, ok := strings.Cut(string(b), "\n\n")
		raw, err := hex.DecodeString(strings.ReplaceAll(body, "\n", ""))
		if !ok || err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		var header []string
		for line := range strings.SplitSeq(head, "\n") {
			k, value, ok := strings.Cut(line, ": ")
			if !ok {
				t.Fatalf("%s: header line %q", name, line)
			}
			header = append(header, k, value)
		}
		v := newVector(filepath.Base(name), raw, header...)
		if _, ok := sentinels[v.header["expect"]]; !ok {
			t.Fatalf("%s: expect %q", name, v.header["expect"])
		}
		out = append(out, v)
	}
	return out
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// makeVectors returns what is in the files, by other means than what reads them.
func makeVectors(t *testing.T) []vector {
	var out []vector
	add := func(name string, body []byte, header ...string) {
		out = append(out, newVector(name+".txt", body, header...))
	}

	// Entries.
	names := []string{"intent", "decision_allowed", "decision_denied", "intent_profile", "failure", "receipt",
		"manifest_published", "manifest_accepted", "bundle_activated", "agreement", "federation", "register",
		"outcome", "read", "budget_notice", "started", "recovery", "epoch"}
	for i, e := range samples() {
		b := mustBytes(t, &e)
		leaf := entry.LeafHash(b)
		j, err := json.Marshal(&e)
		if err != nil {
			t.Fatal(err)
		}
		add("entry_"+names[i], b, "expect", "ok", "leaf", hex.EncodeToString(leaf[:]), "json", string(j))
	}
	good := samples()[2] // decision_denied
	base := mustBytes(t, &good)
	bad := func(name string, change func(b []byte) []byte) {
		add("entry_bad_"+name, change(bytes.Clone(base)), "expect", "malformed")
	}
	// Offsets in base: 0 version, 1 kind, 2 time, 10 query, 26 direction, 27 asker.
	afterIDs := 27 + 1 + len(asker) + 1 + len(holder)
	decisionAt := afterIDs + 1 + 32 + 3 + 4
	reasonAt := len(base) - 64 - 1 - len(good.Reason)
	bad("empty", func([]byte) []byte { return nil })
	bad("version", func(b []byte) []byte { b[0] = 2; return b })
	bad("zero_kind", func(b []byte) []byte { b[1] = 0; return b })
	bad("unknown_kind", func(b []byte) []byte { b[1] = 17; return b })
	bad("negative_time", func(b []byte) []byte { b[2] |= 0x80; return b })
	bad("no_query", func(b []byte) []byte { copy(b[10:26], make([]byte, 16)); return b })
	bad("direction", func(b []byte) []byte { b[26] = 1; return b })
	bad("asker_not_spiffe", func(b []byte) []byte { b[28] = 'x'; return b })
	bad("no_decision", func(b []byte) []byte { b[decisionAt] = 0; return b })
	bad("empty_rule", func(b []byte) []byte {
		b[decisionAt+2] = 1
		return append(b[:decisionAt+3], append([]byte{0}, b[decisionAt+3:]...)...)
	})
	bad("officer_in_decision", func(b []byte) []byte { b[decisionAt+3+64] = 1; return b })
	bad("reason_lower_case", func(b []byte) []byte { b[reasonAt] |= 0x20; return b })
	bad("outcome", func(b []byte) []byte { b[len(b)-65] = 1; return b })
	bad("trailing_byte", func(b []byte) []byte { return append(b, 0) })
	bad("cut_off", func(b []byte) []byte { return b[:len(b)-1] })
	bad("too_long", func(b []byte) []byte { return append(b, make([]byte, 1024-len(b))...) })

	// Receipts.
	key := testKey(1)
	pub := key.Public().(ed25519.PublicKey)
	signed := func(r entry.Receipt) []byte {
		b, err := entry.SignReceipt(r, key)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	r := receipt()
	ok := signed(r)
	deniedReceipt := r
	deniedReceipt.Decision, deniedReceipt.Answer = entry.DecisionDenied, [32]byte{}
	addReceipt := func(name, expect string, b []byte, answer [32]byte, query byte) {
		q, req := b16(query), b32(2)
		add("receipt_"+name, b, "expect", expect, "public", hex.EncodeToString(pub), "query", hex.EncodeToString(q[:]),
			"request", hex.EncodeToString(req[:]), "answer", hex.EncodeToString(answer[:]))
	}
	flip := func(b []byte, i int) []byte { b = bytes.Clone(b); b[i] ^= 1; return b }
	body := ok[:len(ok)-ed25519.SignatureSize]
	addReceipt("allowed", "ok", ok, b32(3), 1)
	addReceipt("denied", "ok", signed(deniedReceipt), [32]byte{}, 1)
	addReceipt("bad_signature", "receipt", flip(ok, len(ok)-1), b32(3), 1)
	addReceipt("bad_domain", "receipt", append(bytes.Clone(body), ed25519.Sign(key, body)...), b32(3), 1)
	addReceipt("bad_key", "receipt", append(bytes.Clone(body), ed25519.Sign(testKey(2), append([]byte("passerelle/v1 receipt\x00"), body...))...), b32(3), 1)
	addReceipt("bad_leaf", "receipt", flip(ok, 1+16+32+32+8+1), b32(3), 1)
	addReceipt("other_query", "receipt", ok, b32(3), 9)
	addReceipt("other_answer", "receipt", ok, b32(9), 1)
	addReceipt("bad_version", "malformed", flip(ok, 0), b32(3), 1)
	addReceipt("bad_no_decision", "malformed", flip(ok, 1+16+32+32+8), b32(3), 1)
	addReceipt("bad_trailing_byte", "malformed", append(bytes.Clone(ok), 0), b32(3), 1)
	addReceipt("bad_cut_off", "malformed", ok[:len(ok)-1], b32(3), 1)

	// Proofs, in a log of 5 entries and one of 1.
	l := newLog(t, 5)
	vkey, err := note.NewEd25519VerifierKey(origin, pub)
	if err != nil {
		t.Fatal(err)
	}
	prove := func(i, n uint64, keys ...byte) []byte {
		nodes, err := proof.Inclusion(i, n)
		p := entry.Proof{Index: i, Hashes: l.hashes(t, nodes, err), Checkpoint: sign(t, l.checkpoint(t, int(n)).Text(), keys...)}
		return p.Bytes()
	}
	addProof := func(name, expect string, b []byte, i uint64, more ...string) {
		add("tlogproof_"+name, b, append([]string{"expect", expect, "vkey", vkey, "entry", hex.EncodeToString(l.entries[i])}, more...)...)
	}
	replace := func(b []byte, old, new string) []byte {
		if !bytes.Contains(b, []byte(old)) {
			t.Fatalf("no %q", old)
		}
		return bytes.Replace(b, []byte(old), []byte(new), 1)
	}
	third := prove(2, 5, 1)
	addProof("first", "ok", prove(0, 5, 1), 0, "index", "0", "size", "5")
	addProof("third", "ok", third, 2, "index", "2", "size", "5")
	addProof("last", "ok", prove(4, 5, 1), 4, "index", "4", "size", "5")
	addProof("only", "ok", prove(0, 1, 1), 0, "index", "0", "size", "1")
	addProof("cosigned", "ok", prove(2, 5, 1, 2), 2, "index", "2", "size", "5")
	addProof("bad_other_entry", "proof", third, 3)
	addProof("bad_index", "proof", replace(third, "index 2\n", "index 3\n"), 2)
	addProof("bad_index_beyond", "proof", replace(third, "index 2\n", "index 5\n"), 2)
	hash := strings.Split(string(third), "\n")[2]
	addProof("bad_hash_missing", "proof", replace(third, hash+"\n", ""), 2)
	addProof("bad_hash_twice", "proof", replace(third, hash+"\n", hash+"\n"+hash+"\n"), 2)
	addProof("bad_hash_loose_base64", "malformed", replace(third, hash, hash[:42]+loose(hash[42])+"="), 2)
	addProof("bad_leading_zero", "malformed", replace(third, "index 2\n", "index 02\n"), 2)
	addProof("bad_header", "malformed", replace(third, "@v1", "@v2"), 2)
	addProof("bad_extra_line", "malformed", replace(third, "index 2\n", "extra AAAA\nindex 2\n"), 2)
	addProof("bad_crlf", "malformed", bytes.ReplaceAll(third, []byte("\n"), []byte("\r\n")), 2)
	addProof("bad_no_checkpoint", "malformed", third[:bytes.Index(third, []byte("\n\n"))+2], 2)
	addProof("bad_key", "checkpoint", prove(2, 5, 2), 2)
	addProof("bad_size", "checkpoint", replace(third, origin+"\n5\n", origin+"\n6\n"), 2)
	root := l.checkpoint(t, 5).Root
	other := root
	other[0] ^= 1
	addProof("bad_root", "checkpoint", replace(third, base64.StdEncoding.EncodeToString(root[:]), base64.StdEncoding.EncodeToString(other[:])), 2)
	return out
}

func TestVectors(t *testing.T) {
	t.Parallel()
	made := makeVectors(t)
	if *writeVectors {
		for _, v := range made {
			if err := os.WriteFile(filepath.Join(vectorDir, v.name), v.bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, v := range made {
		got, err := os.ReadFile(filepath.Join(vectorDir, v.name))
		if err != nil || !bytes.Equal(got, v.bytes()) {
			t.Errorf("%s is not what it was: %v", v.name, err)
		}
	}
	read := 0
	for _, v := range readVectors(t, "entry") {
		read++
		e, err := entry.ParseEntry(v.body)
		if !errors.Is(err, sentinels[v.header["expect"]]) || (err == nil) != (e != nil) {
			t.Errorf("%s: %v", v.name, err)
		}
		if e == nil {
			continue
		}
		leaf, err := e.Leaf()
		if err != nil || hex.EncodeToString(leaf[:]) != v.header["leaf"] {
			t.Errorf("%s: leaf %x, %v", v.name, leaf, err)
		}
		if j, err := json.Marshal(e); err != nil || string(j) != v.header["json"] {
			t.Errorf("%s: %s, %v", v.name, j, err)
		}
	}
	for _, v := range readVectors(t, "receipt") {
		read++
		r, err := entry.CheckReceipt(v.body, unhex(t, v.header["public"]), [16]byte(unhex(t, v.header["query"])),
			[32]byte(unhex(t, v.header["request"])), [32]byte(unhex(t, v.header["answer"])))
		if !errors.Is(err, sentinels[v.header["expect"]]) || (err == nil) != (r != nil) {
			t.Errorf("%s: %v", v.name, err)
		}
	}
	for _, v := range readVectors(t, "tlogproof") {
		read++
		verifier, err := note.NewVerifier(v.header["vkey"])
		if err != nil {
			t.Fatal(err)
		}
		index, c, err := entry.CheckProof(unhex(t, v.header["entry"]), v.body, verifier)
		if !errors.Is(err, sentinels[v.header["expect"]]) || (err == nil) != (c != nil) {
			t.Errorf("%s: %v", v.name, err)
		}
		if c != nil && (fmt.Sprint(index) != v.header["index"] || fmt.Sprint(c.Size) != v.header["size"]) {
			t.Errorf("%s: index %d, size %d", v.name, index, c.Size)
		}
	}
	if read != len(made) {
		t.Errorf("%d files, and %d vectors are made", read, len(made))
	}
}
