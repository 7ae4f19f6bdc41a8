package main

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/passerelle/passerelle/cmd/passerelle/help"
)

// TestManuals checks that every command and flag that a manual shows is there.
func TestManuals(t *testing.T) {
	t.Parallel()
	shown := regexp.MustCompile("(?m)(?:^    +|`)passerelle ((?:[^`\n]|\\\\\n)+)")
	for _, topic := range help.Topics() {
		if topic.Name == "config" || topic.Name == "wire" {
			continue // not written here
		}
		text, _ := help.Text(topic.Name)
		for _, m := range shown.FindAllStringSubmatch(text, -1) {
			line := strings.ReplaceAll(m[1], "\\\n", " ")
			if name, ok := strings.CutPrefix(line, "help "); ok {
				if _, ok := help.Text(name); !ok {
					t.Errorf("%s: there is no manual %q", topic.Name, name)
				}
				continue
			}
			root := newRoot(&bytes.Buffer{}, &bytes.Buffer{}, &bytes.Buffer{})
			cmd, _, err := root.Find(strings.Fields(line))
			if err != nil || cmd == root || cmd.HasSubCommands() {
				t.Errorf("%s: there is no command: passerelle %s", topic.Name, line)
				continue
			}
			for _, flag := range regexp.MustCompile(`(?:^| )--([a-z-]+)`).FindAllStringSubmatch(line, -1) {
				if cmd.Flags().Lookup(flag[1]) == nil && root.PersistentFlags().Lookup(flag[1]) == nil {
					t.Errorf("%s: %s has no flag --%s", topic.Name, cmd.CommandPath(), flag[1])
				}
			}
		}
	}
}
