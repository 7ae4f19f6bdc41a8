package help_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/cmd/passerelle/help"
	"github.com/passerelle/passerelle/cmd/passerelle/internal/configdoc"
)

// TestConfigIsCurrent fails if a comment of gateway.Config changed and config.md
// did not: run `go generate ./cmd/passerelle/help`.
func TestConfigIsCurrent(t *testing.T) {
	t.Parallel()
	source, err := os.ReadFile("../../../gateway/config.go")
	if err != nil {
		t.Fatal(err)
	}
	want, err := configdoc.Markdown(source)
	if err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile("config.md")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Error("config.md is not current: run `go generate ./cmd/passerelle/help`")
	}
}

func TestTopics(t *testing.T) {
	t.Parallel()
	for _, topic := range help.Topics() {
		text, ok := help.Text(topic.Name)
		if !ok || !strings.HasPrefix(text, "# ") || len(text) < 1000 {
			t.Errorf("%s: %d bytes, there is one = %v", topic.Name, len(text), ok)
		}
		if strings.Contains(text, "@@") {
			t.Errorf("%s has a part that was never written", topic.Name)
		}
	}
	for _, name := range []string{"", "nonsense", "../help", "config.md"} {
		if text, ok := help.Text(name); ok || text != "" {
			t.Errorf("there is a manual %q", name)
		}
	}
}
