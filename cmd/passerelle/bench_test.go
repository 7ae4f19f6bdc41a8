package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
)

// TestBenchIdentity runs the smallest measurement: it fails by itself if an answer
// is wrong.
func TestBenchIdentity(t *testing.T) {
	if testing.Short() {
		t.Skip("two whole gateways")
	}
	t.Parallel()
	var stdout, stderr bytes.Buffer
	args := []string{"bench", "identity", "--records", "100", "--items", "8", "--lookups", "4", "--json"}
	if code := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr); code != exitDone {
		t.Fatalf("exit code %d: %s%s", code, &stdout, &stderr)
	}
	if stderr.Len() > 0 {
		t.Errorf("stderr, which is no terminal: %q", &stderr)
	}
	var report map[string]any
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil || strings.Count(stdout.String(), "\n") != 1 {
		t.Fatalf("stdout %q: %v", &stdout, err)
	}
	for name, v := range report {
		if n, ok := v.(float64); ok && n < 0 || v == "" {
			t.Errorf("%s is %v", name, v)
		}
	}
	for name, want := range map[string]float64{"records": 100, "items": 8, "lookups": 4} {
		if report[name] != want {
			t.Errorf("%s is %v, want %v", name, report[name], want)
		}
	}
	for _, name := range []string{"tags", "lookup_ms_p50", "append_ms_p50", "bytes_up", "bytes_down", "tagset_bytes",
		"tagset_bytes_per_tag", "screen_ms"} {
		if n, ok := report[name].(float64); !ok || n <= 0 {
			t.Errorf("%s is %v", name, report[name])
		}
	}
}

func TestBenchIdentityUsage(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"", "identity --records 99", "identity --items 5", "identity --items 40004", "identity --lookups 1",
		"identity --classes names", "identity --dir ..", "identity extra", "identity --enumerate --per-day 0",
		"identity --enumerate --days 400", "identity --enumerate --documents -1", "identity --enumerate --bound-ppm 0"} {
		var stdout, stderr bytes.Buffer
		line := append([]string{"bench"}, strings.Fields(args)...)
		if code := run(t.Context(), line, strings.NewReader(""), &stdout, &stderr); code != exitUsage {
			t.Errorf("passerelle %s: exit code %d, want %d", strings.Join(line, " "), code, exitUsage)
		}
	}
}

// TestBenchEnumerate runs the computation with generated people and with too few.
func TestBenchEnumerate(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	args := []string{"bench", "identity", "--enumerate", "--json"}
	if code := run(t.Context(), args, strings.NewReader(""), &stdout, &stderr); code != exitDone {
		t.Fatalf("exit code %d: %s", code, &stderr)
	}
	var report struct {
		Generated bool
		Classes   []struct {
			Class    string
			FoundPPM float64 `json:"found_ppm"`
			Within   bool    `json:"within_bound"`
			Allowed  int64   `json:"per_day_within_bound"`
		}
	}
	if err := json.Unmarshal(stdout.Bytes(), &report); err != nil || !report.Generated || len(report.Classes) != keysPerPerson {
		t.Fatalf("stdout %q: %v", &stdout, err)
	}
	// 6,000,000 guesses at 10,000,000 numbers.
	if c := report.Classes[0]; c.Class != "doc" || c.FoundPPM != 600_000 || c.Within || c.Allowed != 3333 {
		t.Errorf("documents: %+v, want 600000 ppm, which is not within the bound, and 3333 a day", c)
	}
	for _, c := range report.Classes[1:3] {
		if !c.Within || c.Allowed < 1_000_000 {
			t.Errorf("with a date of birth: %+v, want out of reach", c)
		}
	}
	stdout.Reset()
	args = append(args, "--population", "-")
	if code := run(t.Context(), args, strings.NewReader("name,dob\nAna Lee,1990-01-01\n"), &stdout, &stderr); code != exitUsage ||
		!strings.Contains(stdout.String()+stderr.String(), "too few people") {
		t.Errorf("with one person: exit code %d: %s%s", code, &stdout, &stderr)
	}
}
