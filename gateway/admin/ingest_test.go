package admin_test

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/passerelle/passerelle/gateway/admin"
	"github.com/passerelle/passerelle/gateway/query"
)

const list = `id,name,date_of_birth,nationality,document_type,document_number,document_issuer
1,Canary Alpha,1980-02-03,UTO,passport,CANARY1,UTO
2,,1980-02-03,UTO,,,
3,Canary Gamma,,UTO,,,
1,Canary Again,1970-01-01,UTO,,,
4,Canary Delta,1990,FRA,passport,CANARY4,FRA
`

var watchlist = admin.IngestHeader{Collection: "watchlist", Kind: "watchlist", Filename: "list.csv"}

func TestIngest(t *testing.T) {
	t.Parallel()
	u, a := neighbours(t)
	_, err := u.admin.AcceptAgreement(t.Context(), u.id("legal"), agree(t, u, a))
	u.ok(err)
	ingest := func(h admin.IngestHeader, text string) *admin.IngestReport {
		t.Helper()
		r, err := u.admin.Ingest(t.Context(), u.id("operator"), h, strings.NewReader(text), nil)
		u.ok(err)
		return r
	}
	count := func(want int64) {
		t.Helper()
		if n, err := u.config.Store.CountRecords(t.Context(), "watchlist"); err != nil || n != want {
			t.Errorf("%d records, %v, want %d", n, err, want)
		}
	}

	dry := watchlist
	dry.DryRun = true
	r := ingest(dry, list)
	if r.Read != 5 || r.Added != 3 || r.Rejected != 2 || r.Total != 0 || len(r.Published) != 0 {
		t.Errorf("dry run: %+v", r)
	}
	count(0)

	r = ingest(watchlist, list)
	if r.Format != "csv" || r.Read != 5 || r.Added != 3 || r.Rejected != 2 || r.Total != 3 || r.WithoutKeys != 1 || r.Gaps == 0 ||
		r.LookupKeys == 0 {
		t.Errorf("first: %+v", r)
	}
	for _, x := range append(slices.Clone(r.Rejections), r.GapList...) {
		if x.Line == 0 || x.Reason == "" || strings.Contains(strings.ToLower(x.Reason), "canary") {
			t.Errorf("rejection %+v", x)
		}
	}
	if got := []int{r.Rejections[0].Line, r.Rejections[1].Line}; !slices.Equal(got, []int{3, 5}) {
		t.Errorf("rejected lines %v", got)
	}
	count(3)
	row, err := u.config.Store.Record(t.Context(), "watchlist", "1")
	u.ok(err)
	if row.State != "active" || row.BirthDate != "1980-02-03" || row.Originator != u.config.TrustDomain || row.SourceList != "watchlist" {
		t.Error("the facts beside the record are not those of the record")
	}

	// Again, with one change; the dry run says the same.
	changed := strings.Replace(list, "CANARY4", "CANARY5", 1)
	for _, h := range []admin.IngestHeader{dry, watchlist} {
		if r = ingest(h, changed); r.Added != 0 || r.Changed != 1 || r.Unchanged != 2 {
			t.Errorf("again: %+v", r)
		}
	}

	// Replace removes nothing while records are rejected, or if there is none.
	replace := watchlist
	replace.Replace = true
	for name, text := range map[string]string{
		"rejected":  "id,name,year_of_birth\n1,Canary Alpha,1980\n2,,1980\n",
		"no record": "id,name,year_of_birth\n",
	} {
		if r = ingest(replace, text); r.Removed != 0 || len(r.Rejections) == 0 || r.Rejections[0].Line != 0 {
			t.Errorf("%s: %+v", name, r)
		}
		count(3)
	}
	if r = ingest(replace, "id,name,year_of_birth\n1,Canary Alpha,1980\n"); r.Removed != 2 || r.Total != 1 {
		t.Errorf("replaced: %+v", r)
	}
	count(1)
	if s := u.admin.Status(t.Context()); !s.Collections[0].Ingested.Equal(u.now) || s.Collections[0].Records != 1 {
		t.Errorf("status: %+v", s.Collections[0])
	}

	// Publishing that fails is reported, and what was stored stays.
	u.mu.Lock()
	u.publishing = errors.New("no")
	u.mu.Unlock()
	if r = ingest(watchlist, list); !slices.Equal(r.NotPublished, []string{a.config.TrustDomain}) || r.Total != 3 {
		t.Errorf("not published: %+v", r)
	}
}

// TestIngestNothing checks that nothing of a file is stored that was not read to
// its end.
func TestIngestNothing(t *testing.T) {
	t.Parallel()
	c := newCountry(t, "utopia", "UTO")
	many := &strings.Builder{}
	many.WriteString("id,name,year_of_birth\n")
	for i := range 5000 {
		fmt.Fprintf(many, "r%d,Canary Number,%d\n", i, 1900+i%100)
	}
	broken := errors.New("the connection broke")
	for name, tt := range map[string]struct {
		file   io.Reader
		want   error
		report bool
	}{
		"broken":    {io.MultiReader(strings.NewReader(many.String()), iotest.ErrReader(broken)), broken, false},
		"refused":   {io.MultiReader(strings.NewReader(many.String()), iotest.ErrReader(query.Refuse(query.TooLarge, nil))), nil, false},
		"not UTF-8": {strings.NewReader(many.String() + "x,\xff\xff,1950\n"), nil, true},
		"empty":     {strings.NewReader(""), nil, true},
	} {
		r, err := c.admin.Ingest(t.Context(), c.id("operator"), watchlist, tt.file, nil)
		if tt.report {
			if err != nil || r.Rejected != 1 || r.Rejections[0].Line != 0 || r.Added != 0 || r.Rejections[0].Reason == "" {
				t.Errorf("%s: %+v, %v", name, r, err)
			}
		} else if err == nil || tt.want != nil && !errors.Is(err, tt.want) {
			t.Errorf("%s: error = %v, want %v", name, err, tt.want)
		}
		if name == "refused" && query.ReasonOf(err) != query.TooLarge {
			t.Errorf("%s: %v", name, err)
		}
		if n, err := c.config.Store.CountRecords(t.Context(), "watchlist"); err != nil || n != 0 {
			t.Errorf("%s: %d records were stored, %v", name, n, err)
		}
	}
	for name, h := range map[string]admin.IngestHeader{
		"collection": {Collection: "canary", Kind: "watchlist"},
		"kind":       {Collection: "watchlist", Kind: "gallery"},
	} {
		if _, err := c.admin.Ingest(t.Context(), c.id("operator"), h, strings.NewReader(list), nil); err == nil {
			t.Errorf("another %s was accepted", name)
		}
	}
	h := watchlist
	h.Format = "parchment"
	if r, err := c.admin.Ingest(t.Context(), c.id("operator"), h, strings.NewReader(list), nil); err != nil || r.Rejected != 1 {
		t.Errorf("unknown format: %+v, %v", r, err)
	}
}

// TestErrorsHoldNothing looks for what callers gave in what errors say.
func TestErrorsHoldNothing(t *testing.T) {
	t.Parallel()
	u, a := neighbours(t)
	v, err := u.admin.AcceptAgreement(t.Context(), u.id("legal"), agree(t, u, a))
	u.ok(err)
	const canary = "canary"
	long := strings.Repeat(canary, 100)
	ctx, operator, legal := t.Context(), u.id("operator"), u.id("legal")
	for name, call := range map[string]func() error{
		"caller": func() error { _, err := u.admin.Invite(ctx, u.id(canary)); return err },
		"other":  func() error { _, err := u.admin.Invite(ctx, "spiffe://canary.example/officer/canary"); return err },
		"collection": func() error {
			_, err := u.admin.Ingest(ctx, operator, admin.IngestHeader{Collection: canary}, nil, nil)
			return err
		},
		"invite":     func() error { _, err := u.admin.AcceptInvite(ctx, operator, []byte(canary), canary); return err },
		"end":        func() error { _, err := u.admin.EndPeer(ctx, operator, canary, ""); return err },
		"end reason": func() error { _, err := u.admin.EndPeer(ctx, operator, a.config.TrustDomain, long); return err },
		"sign":       func() error { _, err := u.admin.SignAgreement(ctx, legal, []byte(canary), nil); return err },
		"accept":     func() error { _, err := u.admin.AcceptAgreement(ctx, legal, []byte(canary)); return err },
		"suspend":    func() error { _, err := u.admin.SuspendAgreement(ctx, legal, v.ID, long); return err },
		"resume":     func() error { _, err := u.admin.ResumeAgreement(ctx, legal, v.ID, long); return err },
		"change": func() error {
			_, err := u.admin.ProposeOfficerChange(ctx, u.id("admin-a"), []byte(canary), nil)
			return err
		},
		"certificate": func() error { _, err := u.admin.IssueSVID(ctx, []byte(canary)); return err },
		"agreement":   func() error { _, err := u.admin.Agreement(ctx, canary, 0); return err },
	} {
		err := call()
		if err == nil || strings.Contains(strings.ToLower(err.Error()), canary) {
			t.Errorf("%s: %v", name, err)
		}
		if r, ok := errors.AsType[*query.Refusal](err); !ok || r.Reason == query.Internal {
			t.Errorf("%s: %v is not a refusal with a reason", name, err)
		}
	}
}
