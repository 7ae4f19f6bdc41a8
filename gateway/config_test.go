package gateway_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/passerelle/passerelle/crypto/sealed"
	"github.com/passerelle/passerelle/gateway"
)

// validConfig returns what somebody must set, and nothing else.
func validConfig(t testing.TB) gateway.Config {
	t.Helper()
	id, err := sealed.GenerateIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return gateway.Config{TrustDomain: "border.utopia.example", Country: "UTO", Agency: "Border Service", AgencyCode: "uto-bp",
		Listen: "127.0.0.1:0", Auditor: id.Recipient().String(), Founding: strings.Repeat("0123456789abcdef", 4)}
}

// load writes c into a folder and loads it.
func load(t testing.TB, c *gateway.Config) (dir string, loaded *gateway.Config, err error) {
	t.Helper()
	b, err := c.YAML()
	if err != nil {
		t.Fatal(err)
	}
	dir = t.TempDir()
	file := filepath.Join(dir, gateway.ConfigFile)
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	loaded, err = gateway.LoadConfig(file)
	return dir, loaded, err
}

func TestConfigDefaults(t *testing.T) {
	t.Parallel()
	c := validConfig(t)
	dir, got, err := load(t, &c)
	if err != nil {
		t.Fatal(err)
	}
	want := c
	want.Gateway, want.Endpoint = "main", c.Listen
	want.Data, want.Socket, want.Wrapping = dir, filepath.Join(dir, "passerelle.sock"), filepath.Join(dir, "wrapping")
	want.CheckpointInterval, want.MaxQueries = time.Second, 64
	want.Collections = []gateway.CollectionConfig{{Name: "watchlist", Category: "watchlist"}, {Name: "documents", Category: "document"}}
	if !reflect.DeepEqual(*got, want) {
		t.Errorf("loaded\n%+v, want\n%+v", *got, want)
	}
	if got, want := got.ID(), "spiffe://border.utopia.example/gateway/main"; got != want {
		t.Errorf("ID = %q, want %q", got, want)
	}
}

// TestConfigPaths checks from where relative paths are seen.
func TestConfigPaths(t *testing.T) {
	t.Parallel()
	c := validConfig(t)
	c.Data, c.Socket, c.Wrapping, c.Policy = "data", "g.sock", "/elsewhere/wrapping", "rules"
	dir, got, err := load(t, &c)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, got, want string }{
		{"data", got.Data, filepath.Join(dir, "data")},
		{"socket", got.Socket, filepath.Join(dir, "data", "g.sock")},
		{"wrapping", got.Wrapping, "/elsewhere/wrapping"},
		{"policy", got.Policy, filepath.Join(dir, "rules")},
	} {
		if tt.got != tt.want {
			t.Errorf("%s = %q, want %q", tt.name, tt.got, tt.want)
		}
	}
}

// TestConfigRoundTrip checks that YAML and ParseConfig are inverses, for a
// configuration with every field and for one with none.
func TestConfigRoundTrip(t *testing.T) {
	t.Parallel()
	all := validConfig(t)
	all.Gateway, all.Endpoint, all.Socket, all.Data, all.Wrapping = "north", "gw.utopia.example:7443", "/run/p.sock", "/srv/p", "/srv/w"
	all.Founding = strings.Repeat("1", 62) + "e1" // must stay text, and not become a number
	all.Collections = []gateway.CollectionConfig{{Name: "on", Category: "no"}}
	all.Policy, all.CheckpointInterval, all.MaxQueries = "rules", 2500*time.Millisecond, 7
	all.Notify = []string{"/usr/local/bin/tell-auditor", "--urgent"}
	all.WorkloadAPI = "unix:///run/spire/agent.sock"
	all.Telemetry = gateway.TelemetryConfig{OTLP: "127.0.0.1:4317", Insecure: true, Prometheus: "127.0.0.1:9464"}
	for i, v := range reflect.ValueOf(all).Fields() {
		if v.IsZero() {
			t.Fatalf("the test sets no %s", i.Name)
		}
	}
	for name, c := range map[string]gateway.Config{"all": all, "none": {}} {
		b, err := c.YAML()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got, err := gateway.ParseConfig(b)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !reflect.DeepEqual(*got, c) {
			t.Errorf("%s: parsed\n%+v, want\n%+v, from\n%s", name, *got, c, b)
		}
	}
}

func TestParseConfigRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ name, text string }{
		{"unknown key", "trust_domain: a.example\ntrust_domains: [b.example]\n"},
		{"unknown key below", "telemetry: {otel: '127.0.0.1:1'}\n"},
		{"key twice", "country: UTO\ncountry: QVA\n"},
		{"another type", "max_queries: many\n"},
		{"duration without unit", "checkpoint_interval: fast\n"},
		{"two documents", "country: UTO\n---\ncountry: QVA\n"},
		{"no YAML", "country: [\n"},
	} {
		c, err := gateway.ParseConfig([]byte(tt.text))
		if err == nil || c != nil {
			t.Errorf("%s: ParseConfig = %v, %v", tt.name, c, err)
		} else if !strings.HasPrefix(err.Error(), "gateway: config: ") {
			t.Errorf("%s: error %q", tt.name, err)
		}
	}
}

func TestLoadConfigRefuses(t *testing.T) {
	t.Parallel()
	if c, err := gateway.LoadConfig(filepath.Join(t.TempDir(), "absent.yaml")); !errors.Is(err, fs.ErrNotExist) || c != nil {
		t.Errorf("LoadConfig of no file = %v, %v", c, err)
	}
	bad := validConfig(t)
	bad.Country = "Utopia"
	if _, c, err := load(t, &bad); err == nil || c != nil {
		t.Errorf("LoadConfig of an invalid one = %v, %v", c, err)
	}
}

// TestValidateReportsAll breaks every field that can be wrong, all at once, and
// each alone.
func TestValidateReportsAll(t *testing.T) {
	t.Parallel()
	_, valid, err := func() (string, *gateway.Config, error) { c := validConfig(t); return load(t, &c) }()
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		field string
		spoil func(*gateway.Config)
	}{
		{"trust_domain", func(c *gateway.Config) { c.TrustDomain = "Border.Utopia" }},
		{"country", func(c *gateway.Config) { c.Country = "UT" }},
		{"agency", func(c *gateway.Config) { c.Agency = strings.Repeat("x", 129) }},
		{"agency_code", func(c *gateway.Config) { c.AgencyCode = "UTO BP" }},
		{"gateway", func(c *gateway.Config) { c.Gateway = ".." }},
		{"listen", func(c *gateway.Config) { c.Listen = "127.0.0.1" }},
		{"endpoint", func(c *gateway.Config) { c.Endpoint = "" }},
		{"telemetry.otlp", func(c *gateway.Config) { c.Telemetry.OTLP = "collector" }},
		{"telemetry.prometheus", func(c *gateway.Config) { c.Telemetry.Prometheus = "9464" }},
		{"socket", func(c *gateway.Config) { c.Socket = "/" + strings.Repeat("s", 100) }},
		{"auditor", func(c *gateway.Config) { c.Auditor = "" }},
		{"founding", func(c *gateway.Config) { c.Founding = c.Founding[2:] }},
		{"collections", func(c *gateway.Config) {
			c.Collections = []gateway.CollectionConfig{{Name: "..", Category: "document"}}
		}},
		{"checkpoint_interval", func(c *gateway.Config) { c.CheckpointInterval = time.Hour }},
		{"max_queries", func(c *gateway.Config) { c.MaxQueries = -1 }},
		{"notify", func(c *gateway.Config) { c.Notify = []string{"sendmail", "auditor@example"} }},
	}
	all := *valid
	for _, tt := range tests {
		c := *valid
		tt.spoil(&c)
		tt.spoil(&all)
		err := c.Validate()
		if err == nil || strings.Count(err.Error(), "\n") != 0 || !strings.HasPrefix(err.Error(), "gateway: config: "+tt.field+": ") {
			t.Errorf("%s: Validate = %v", tt.field, err)
		}
	}
	err = all.Validate()
	if err == nil {
		t.Fatal("Validate accepted a configuration in which everything is wrong")
	}
	lines := strings.Split(err.Error(), "\n")
	for i, tt := range tests {
		if len(lines) != len(tests) || !strings.HasPrefix(lines[i], "gateway: config: "+tt.field+": ") {
			t.Fatalf("Validate does not report %s, in order:\n%v", tt.field, err)
		}
	}
	if strings.Contains(err.Error(), valid.Auditor) || strings.Contains(err.Error(), valid.Founding) {
		t.Errorf("Validate repeats what is none of a log's business: %v", err)
	}
}

func TestValidateCollections(t *testing.T) {
	t.Parallel()
	c := validConfig(t)
	c.Collections = []gateway.CollectionConfig{{"a", "document"}, {"a", "document"}, {"b", ""}, {"", "document"}, {"a/b", "document"}}
	_, _, err := load(t, &c)
	if err == nil || strings.Count(err.Error(), "gateway: config: collections: ") != 4 {
		t.Errorf("LoadConfig = %v, want four faults", err)
	}
}
