package gateway

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/passerelle/passerelle/crypto/sealed"
)

// Config is the configuration of a gateway, in the form of its YAML file. Every
// field says whether it is required and what its zero value means; `passerelle
// help config` prints this text. Unknown keys are refused.
type Config struct {
	// TrustDomain is our SPIFFE trust domain, such as "border.utopia.example".
	// Required. It never changes: keys, tag sets and logs are bound to it.
	TrustDomain string `yaml:"trust_domain"`

	// Country is our ICAO 9303 code of three letters, such as UTO. Required.
	Country string `yaml:"country"`

	// Agency is our agency's name for people, at most 128 bytes. Required.
	Agency string `yaml:"agency"`

	// AgencyCode is our agency's code in agreements, such as uto-bp: 1 to 64 small
	// letters, digits, dots, dashes, underscores. Required.
	AgencyCode string `yaml:"agency_code"`

	// Gateway is this gateway's name in its SPIFFE ID, 1 to 64 letters, digits, dots,
	// dashes, underscores. Empty means "main".
	Gateway string `yaml:"gateway"`

	// Listen is the TCP address on which neighbours' gateways reach us, as
	// host:port. Required.
	Listen string `yaml:"listen"`

	// Endpoint is that address as neighbours see it, as host:port; it goes into
	// our invites. Empty means Listen.
	Endpoint string `yaml:"endpoint"`

	// Socket is the path of the Unix socket for our own officers and operators.
	// Empty means "passerelle.sock" in the data folder. At most 100 bytes.
	Socket string `yaml:"socket"`

	// Data is the folder of the database, the logs, the tag sets and the keys.
	// Empty means the folder of the configuration file. One process owns it.
	Data string `yaml:"data"`

	// Wrapping is the folder of the keys that wrap the epoch keys. It must not be
	// in any backup: destroying a wrapping key destroys its epoch. Empty means
	// "wrapping" in the data folder, which `passerelle backup` leaves out.
	Wrapping string `yaml:"wrapping"`

	// Auditor is the recipient to which the content of every query is sealed,
	// made by the auditor with `passerelle audit keygen`. Required: there is no
	// gateway without an auditor.
	Auditor string `yaml:"auditor"`

	// Founding is the digest of the founding of the register of officers, in hex,
	// as `passerelle init` wrote it: the register is checked against it at every
	// start. Required.
	Founding string `yaml:"founding"`

	// Collections are the lists we may share, each named in agreements.
	// Empty means "watchlist" and "documents".
	Collections []CollectionConfig `yaml:"collections"`

	// Policy is a folder of Rego files. Empty means the rules we are built with.
	Policy string `yaml:"policy"`

	// CheckpointInterval is the fixed cadence of the logs' checkpoints. Zero
	// means one second. Between 100ms and one minute.
	CheckpointInterval time.Duration `yaml:"checkpoint_interval"`

	// WorkloadAPI is the address of a SPIFFE Workload API, such as
	// unix:///run/spire/agent.sock. Empty means the embedded authority.
	WorkloadAPI string `yaml:"workload_api"`

	// MaxQueries bounds the queries answered at one time; more wait for a
	// moment and are then refused as OVERLOADED. Zero means 64. At most 10000.
	MaxQueries int `yaml:"max_queries"`

	// Notify is the command that is run for each notice to auditors, such as that a
	// budget is used up: an absolute path and its arguments. It gets one line of JSON
	// on its standard input, and nothing of our environment but PATH. Empty means that
	// notices are in the internal log and in ours, and nobody is called.
	Notify []string `yaml:"notify"`

	// Telemetry is off by default.
	Telemetry TelemetryConfig `yaml:"telemetry"`
}

// CollectionConfig is one list that we may share.
type CollectionConfig struct {
	// Name is the collection's name in agreements, 1 to 64 letters, digits, dots,
	// dashes, underscores. Required.
	Name string `yaml:"name"`

	// Category is the data category of its records, such as watchlist or
	// document. Required.
	Category string `yaml:"category"`
}

// TelemetryConfig says where traces and metrics go. Attributes pass an
// allow-list: no identifier, name, count of a list or outcome is ever among them.
type TelemetryConfig struct {
	// OTLP is the host:port of an OTLP/gRPC collector for traces. Empty means no
	// traces.
	OTLP string `yaml:"otlp"`

	// Insecure sends traces without TLS, for a collector on this machine.
	Insecure bool `yaml:"insecure"`

	// Prometheus is the host:port on which /metrics is served. Empty means no
	// metrics.
	Prometheus string `yaml:"prometheus"`
}

// LoadConfig reads the configuration file at path and fills in the defaults.
// Relative paths in it are relative to its folder, but those of Socket and Wrapping
// to Data. It returns an error wrapping that of package fs if the file cannot be
// read, and that of [Config.Validate], with every fault, if it is not valid.
func LoadConfig(path string) (*Config, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("gateway: reading the configuration: %w", err)
	}
	c, err := ParseConfig(b)
	if err != nil {
		return nil, fmt.Errorf("%w, in %s", err, filepath.Base(path))
	}
	dir, err := filepath.Abs(filepath.Dir(path))
	if err != nil {
		return nil, fmt.Errorf("gateway: %w", err)
	}
	c.resolve(dir)
	if err := c.Validate(); err != nil {
		return nil, err
	}
	return c, nil
}

// ParseConfig parses the YAML of a configuration file: one document, without keys
// that are not those of Config. An empty one is the zero Config. It fills in no
// defaults and checks no values, see [LoadConfig].
func ParseConfig(b []byte) (*Config, error) {
	d := yaml.NewDecoder(bytes.NewReader(b))
	d.KnownFields(true)
	var c Config
	switch err := d.Decode(&c); {
	case errors.Is(err, io.EOF):
		return &Config{}, nil
	case err != nil:
		return nil, fmt.Errorf("gateway: config: %w", err)
	}
	if err := d.Decode(new(Config)); !errors.Is(err, io.EOF) {
		return nil, errors.New("gateway: config: more than one document")
	}
	return &c, nil
}

// resolve fills in the defaults and makes paths absolute, seen from dir.
func (c *Config) resolve(dir string) {
	path := func(p *string, base, def string) {
		if *p == "" {
			*p = def
		}
		if *p != "" && !filepath.IsAbs(*p) {
			*p = filepath.Join(base, *p)
		}
	}
	path(&c.Data, dir, ".")
	path(&c.Socket, c.Data, "passerelle.sock")
	path(&c.Wrapping, c.Data, "wrapping")
	path(&c.Policy, dir, "")
	if c.Gateway == "" {
		c.Gateway = "main"
	}
	if c.Endpoint == "" {
		c.Endpoint = c.Listen
	}
	if c.CheckpointInterval == 0 {
		c.CheckpointInterval = time.Second
	}
	if c.MaxQueries == 0 {
		c.MaxQueries = 64
	}
	if len(c.Collections) == 0 {
		c.Collections = []CollectionConfig{{"watchlist", "watchlist"}, {"documents", "document"}}
	}
}

var (
	trustDomain = regexp.MustCompile(`^[a-z0-9._-]{1,200}$`)
	pathSegment = regexp.MustCompile(`^[a-zA-Z0-9._-]{1,64}$`)
	code        = regexp.MustCompile(`^[a-z0-9][a-z0-9._-]{0,63}$`)
	countryCode = regexp.MustCompile(`^[A-Z]{3}$`)
)

// isSegment reports whether s may be part of a SPIFFE ID, and the name of a folder:
// "." and ".." are neither (SPIFFE-ID, Section 2.2).
func isSegment(s string) bool { return pathSegment.MatchString(s) && s != "." && s != ".." }

// Validate reports everything that is wrong with c, not only the first thing, in
// the order of the fields.
func (c *Config) Validate() error {
	var errs []error
	bad := func(field, format string, args ...any) {
		errs = append(errs, fmt.Errorf("gateway: config: %s: "+format, append([]any{field}, args...)...))
	}
	if !trustDomain.MatchString(c.TrustDomain) {
		bad("trust_domain", "%q is not a SPIFFE trust domain name", c.TrustDomain)
	}
	if !countryCode.MatchString(c.Country) {
		bad("country", "%q is not a code of three capital letters (ICAO Doc 9303-3, Section 5)", c.Country)
	}
	if c.Agency == "" || len(c.Agency) > 128 {
		bad("agency", "must be set, to at most 128 bytes")
	}
	if !code.MatchString(c.AgencyCode) {
		bad("agency_code", "%q: 1 to 64 small letters, digits, dots, dashes, underscores", c.AgencyCode)
	}
	if !isSegment(c.Gateway) {
		bad("gateway", "%q: 1 to 64 letters, digits, dots, dashes, underscores", c.Gateway)
	}
	for _, a := range []struct {
		field, addr string
		optional    bool
	}{{"listen", c.Listen, false}, {"endpoint", c.Endpoint, false}, {"telemetry.otlp", c.Telemetry.OTLP, true},
		{"telemetry.prometheus", c.Telemetry.Prometheus, true}} {
		if _, _, err := net.SplitHostPort(a.addr); err != nil && (a.addr != "" || !a.optional) {
			bad(a.field, "%q is not host:port", a.addr)
		}
	}
	if len(c.Socket) > 100 {
		bad("socket", "%d bytes, at most 100: set a shorter path, such as one in /run", len(c.Socket))
	}
	if _, err := sealed.ParseRecipient(c.Auditor); err != nil {
		bad("auditor", "not a recipient; the auditor makes one with `passerelle audit keygen`")
	}
	if b, err := hex.DecodeString(c.Founding); err != nil || len(b) != 32 {
		bad("founding", "must be the 64 hexadecimal digits that `passerelle init` wrote")
	}
	names := make(map[string]bool)
	for _, l := range c.Collections {
		if !isSegment(l.Name) || names[l.Name] {
			bad("collections", "name %q is malformed or there twice", l.Name)
		}
		if l.Category == "" {
			bad("collections", "%s has no category", l.Name)
		}
		names[l.Name] = true
	}
	if d := c.CheckpointInterval; d < 100*time.Millisecond || d > time.Minute {
		bad("checkpoint_interval", "%v is not between 100ms and 1m", d)
	}
	if c.MaxQueries < 1 || c.MaxQueries > 10000 {
		bad("max_queries", "%d is not between 1 and 10000", c.MaxQueries)
	}
	if len(c.Notify) > 0 && !filepath.IsAbs(c.Notify[0]) {
		bad("notify", "%q is not the absolute path of a command", c.Notify[0])
	}
	return errors.Join(errs...)
}

// ID returns our gateway's SPIFFE ID. It is only one if c is valid.
func (c *Config) ID() string { return "spiffe://" + c.TrustDomain + "/gateway/" + c.Gateway }

// YAML returns c as a configuration file, without the fields that are zero.
func (c *Config) YAML() ([]byte, error) {
	doc := yaml.Node{Kind: yaml.MappingNode}
	v := reflect.ValueOf(*c)
	for i := range v.NumField() {
		if v.Field(i).IsZero() {
			continue
		}
		var value yaml.Node
		if err := value.Encode(v.Field(i).Interface()); err != nil {
			return nil, fmt.Errorf("gateway: config: %w", err)
		}
		key, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
		doc.Content = append(doc.Content, &yaml.Node{Kind: yaml.ScalarNode, Value: key}, &value)
	}
	return yaml.Marshal(&doc)
}
