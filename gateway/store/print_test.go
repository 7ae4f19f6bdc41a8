package store_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/gateway/store"
)

// TestHidden prints what is personal data in every way there is.
func TestHidden(t *testing.T) {
	t.Parallel()
	const secret = "JOHN-DOE"
	type inside struct {
		R store.RecordRow
		C *store.Candidate
	}
	row := store.RecordRow{ID: secret, JSON: []byte(secret), BirthDate: secret}
	c := store.Candidate{Item: secret, Detail: []byte(secret), State: secret}
	for _, v := range []any{row, &row, c, &c, inside{row, &c}, []store.Candidate{c}, store.AskUpdate{Candidates: []store.Candidate{c}}} {
		var out bytes.Buffer
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			fmt.Fprintf(&out, verb+"\n", v)
		}
		slog.New(slog.NewTextHandler(&out, nil)).Info("x", "v", v)
		slog.New(slog.NewJSONHandler(&out, nil)).Info("x", "v", v)
		if err := json.NewEncoder(&out).Encode(v); err != nil {
			t.Error(err)
		}
		text := strings.ToLower(out.String())
		for _, s := range []string{secret, fmt.Sprintf("%x", secret), "sk9itI1ET0U"} {
			if strings.Contains(text, strings.ToLower(s)) {
				t.Errorf("%T shows its content", v)
			}
		}
	}
}
