package query

// MaxHeaderSize bounds what [Request.AppendHeader] appends, in bytes.
const MaxHeaderSize = 4096

// ParseHeader parses what [Request.AppendHeader] appended to nothing: a request
// without its batches. The asker keeps it, so that its auditor can put the batches
// back that the sealed content gives, and compare the digest.
//
// It returns an error wrapping [ErrMalformed] for anything that would not encode to
// b again, and for a header that no valid request has.
func ParseHeader(b []byte) (*Request, error) {
	p := parser(b)
	var r Request
	f := &r.Facts
	ok := len(b) <= MaxHeaderSize
	number := func(n int) uint64 {
		v, read := p.uint(n)
		ok = ok && read
		return v
	}
	fixed := func(out []byte) {
		var raw []byte
		ok = ok && p.take(&raw, len(out))
		copy(out, raw)
	}
	text := func(out *string) {
		var raw []byte
		n := number(1)
		ok = ok && p.take(&raw, int(n))
		*out = string(raw)
	}

	version := number(1)
	fixed(r.ID[:])
	r.Protocol, r.Normalisation = uint16(number(2)), uint16(number(2))
	text(&f.Agreement)
	fixed(f.AgreementDigest[:])
	for _, s := range []*string{&f.Collection, &f.Purpose, &f.LegalBasis, &f.OffenceClass, &f.Urgency, &f.Category} {
		text(s)
	}
	f.Kind = Kind(number(1))
	f.Items = uint32(number(4))
	fixed(f.Unit[:])
	bits := number(1)
	f.CaseReference, f.Justification = bits&1 != 0, bits&2 != 0
	r.ListVersion = number(8)
	fixed(r.AskerLeaf[:])
	fixed(r.Sealed[:])
	var rules []byte
	size := number(2)
	ok = ok && p.take(&rules, int(size))
	for rest := parser(rules); ok && len(rest) > 0; {
		var rule []byte
		n, read := rest.uint(1)
		ok = read && rest.take(&rule, int(n))
		r.Statement.Rules = append(r.Statement.Rules, string(rule))
	}
	fixed(r.Statement.Bundle[:])
	fixed(r.Statement.Signature[:])
	if !ok || version != 1 || bits > 3 || len(p) != 0 {
		return nil, malformed("request header")
	}
	if err := r.validateHeader(); err != nil {
		return nil, err
	}
	return &r, nil
}
