package configdoc_test

import (
	"strings"
	"testing"

	"github.com/passerelle/passerelle/cmd/passerelle/internal/configdoc"
)

const source = `package x

import "time"

// Config is one.
type Config struct {
	// Listen is where. Required.
	Listen string ` + "`yaml:\"listen\"`" + `

	// Endpoint is Listen as others see it.
	Endpoint string ` + "`yaml:\"endpoint,omitempty\"`" + `

	// Parts are the parts.
	Parts []Part ` + "`yaml:\"parts\"`" + `
}

// Part is a part.
type Part struct {
	// Every is how often.
	Every time.Duration ` + "`yaml:\"every\"`" + `
}
`

func TestMarkdown(t *testing.T) {
	t.Parallel()
	b, err := configdoc.Markdown([]byte(source))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"## `listen`\n\nText.\n\n`listen` is where. Required.\n", "`endpoint` is `listen` as others see it.",
		"## `parts`\n\nA list; each: a group of fields.\n", "## `parts.every`\n\nA duration, such as"} {
		if !strings.Contains(string(b), want) {
			t.Errorf("there is no %q in\n%s", want, b)
		}
	}
	for name, wrong := range map[string]string{
		"no comment":  strings.ReplaceAll(source, "\t// Listen is where. Required.\n", ""),
		"no tag":      strings.ReplaceAll(source, "`yaml:\"every\"`", ""),
		"no Config":   strings.ReplaceAll(source, "type Config", "type Other"),
		"other type":  strings.ReplaceAll(source, "time.Duration", "map[string]string"),
		"not Go":      "package",
		"other field": strings.ReplaceAll(source, "Listen string", "Listen, Other string"),
	} {
		if b, err := configdoc.Markdown([]byte(wrong)); err == nil || b != nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
