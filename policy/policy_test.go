package policy_test

import (
	"os"
	"testing"

	"github.com/passerelle/passerelle/policy"
)

func TestDefaultBundle(t *testing.T) {
	t.Parallel()
	fsys := os.DirFS("rego")
	check, err := policy.Check(t.Context(), fsys)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range check.Problems {
		t.Error(p)
	}
	report, err := policy.Test(t.Context(), fsys)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range report.Failures {
		t.Error(p)
	}
	for _, p := range report.Uncovered {
		t.Error(p)
	}
	t.Logf("%d tests, %.1f %% of lines", report.Passed, report.Coverage)
}
