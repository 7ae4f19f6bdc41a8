package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/passerelle/passerelle/examples/fiction"
	"github.com/passerelle/passerelle/gateway"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/record"
)

// How large the demo is.
const (
	demoRecords    = 400 // on each watch list
	demoPassengers = 300
	demoPlanted    = 3               // passengers on each list
	demoTerm       = 8 * time.Second // of the agreement that ends: it must be signed and accepted before, also on a busy machine
	demoSeed       = 2396
)

func (a *app) demoCommand() *cobra.Command {
	var serve bool
	var dir string
	c := &cobra.Command{
		Use:   "demo",
		Short: "Three fictional countries on this machine, every kind of query, and what each side learned",
		Long: "Makes three countries, Utopia, Valdera and Norlanda, each a whole gateway with its own trust domain, keys, rules,\n" +
			"database and audit log, and lets them ask each other over mutual TLS on the loopback. Every step is one of the\n" +
			"commands of this program, run as an officer would; with --json each step is one line.\n\n" +
			"It ends by itself and removes what it made; with --serve the gateways go on, and their folders stay.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.demo(cmd.Context(), dir, serve)
		},
	}
	c.Flags().BoolVar(&serve, "serve", false, "keep the gateways running until they are interrupted")
	c.Flags().StringVar(&dir, "dir", "", "folder to work in, which must be empty (default: a temporary one)")
	return c
}

// A demoCountry is one of the three.
type demoCountry struct {
	name, code, trustDomain string
	dir                     string // of its gateway
	gateway                 *gateway.Gateway
	stop                    context.CancelFunc
	done                    chan error
}

// identity returns the folder of an officer.
func (c *demoCountry) identity(officer string) string {
	return filepath.Join(c.dir, "officers", officer)
}

// A demoStep is one step, as --json prints it.
type demoStep struct {
	Step    string          `json:"step"`
	Command string          `json:"command,omitempty"`
	Exit    int             `json:"exit"`
	Result  json.RawMessage `json:"result,omitempty"`
	Asker   string          `json:"asker_learned,omitempty"`
	Holder  string          `json:"holder_learned,omitempty"`
}

// A demo is a run of the demo.
type demo struct {
	a                         *app
	ctx                       context.Context
	dir                       string
	utopia, valdera, norlanda *demoCountry
	listed                    map[string][]record.Record // by country code
	planted                   []record.Record
	ends                      time.Time // the agreement about documents
	printed                   string    // by the last command that was shown to people
}

// demo runs all steps. It fails if one of them does not end as it says.
func (a *app) demo(ctx context.Context, dir string, serve bool) (err error) {
	if dir == "" {
		if dir, err = shortTempDir(); err != nil {
			return err
		}
		if !serve {
			defer os.RemoveAll(dir)
		}
	} else if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return usagef("--dir %s is not empty", dir)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	d := &demo{a: a, ctx: ctx, dir: dir, listed: make(map[string][]record.Record)}
	d.utopia = &demoCountry{name: "Utopia", code: "UTO", trustDomain: "border.utopia.example"}
	d.valdera = &demoCountry{name: "Valdera", code: "QVA", trustDomain: "border.valdera.example"}
	d.norlanda = &demoCountry{name: "Norlanda", code: "QNL", trustDomain: "border.norlanda.example"}
	defer func() { err = errors.Join(err, d.close()) }()
	for _, step := range []func() error{d.countries, d.lists, d.federate, d.agree, d.synchronise, d.found, d.notFound, d.screen,
		d.denied, d.expired, d.verify, d.tamper} {
		if err := step(); err != nil {
			return err
		}
	}
	if serve {
		a.notef("\nThe gateways go on until they are interrupted. As the officer of Utopia, for instance:\n\n"+
			"  export PASSERELLE_GATEWAY=%s PASSERELLE_IDENTITY=%s\n"+
			"  passerelle candidate list\n\nThe folders stay in %s.\n", d.utopia.dir, d.utopia.identity("clerk"), d.dir)
		<-ctx.Done()
	}
	return nil
}

// shortTempDir makes a temporary folder. Unix sockets need short paths, so it is
// not below a long TMPDIR if there is another place.
func shortTempDir() (string, error) {
	dir, err := os.MkdirTemp("/tmp", "passerelle-")
	if err != nil {
		dir, err = os.MkdirTemp("", "passerelle-")
	}
	return dir, err
}

func (d *demo) all() []*demoCountry { return []*demoCountry{d.utopia, d.valdera, d.norlanda} }

// close stops the gateways.
func (d *demo) close() error {
	var errs []error
	for _, c := range d.all() {
		if c != nil && c.stop != nil {
			c.stop()
			errs = append(errs, <-c.done)
		}
	}
	return errors.Join(errs...)
}

// title begins a step for people.
func (d *demo) title(format string, args ...any) {
	if !d.a.json {
		fmt.Fprintf(d.a.stdout, "\n== "+format+"\n", args...)
	}
}

// command runs one command line of this program as an officer, with --json, and
// decodes what it printed into result if that is not nil. It fails if the exit
// code is not want.
func (d *demo) command(c *demoCountry, officer string, want int, result any, args ...string) ([]byte, error) {
	line := append([]string{"--json", "--gateway", c.dir, "--identity", c.identity(officer)}, args...)
	var stdout, stderr bytes.Buffer
	code := run(d.ctx, line, strings.NewReader(""), &stdout, &stderr)
	if code != want {
		return nil, fmt.Errorf("demo: passerelle %s: exit code %d, want %d: %s%s", strings.Join(args, " "), code, want,
			strings.TrimSpace(stderr.String()), strings.TrimSpace(stdout.String()))
	}
	if result != nil {
		if err := json.Unmarshal(stdout.Bytes(), result); err != nil {
			return nil, fmt.Errorf("demo: passerelle %s: %w", strings.Join(args, " "), err)
		}
	}
	return stdout.Bytes(), nil
}

// show prints one step: as a line of JSON, or for people what the command prints
// to them and what each side learned.
func (d *demo) show(c *demoCountry, officer, step string, want int, asker, holder string, result any, args ...string) error {
	if d.a.json {
		out, err := d.command(c, officer, want, result, args...)
		if err != nil {
			return err
		}
		s := demoStep{Step: step, Command: "passerelle " + strings.Join(args, " "), Exit: want, Asker: asker, Holder: holder}
		if json.Valid(out) {
			s.Result = bytes.TrimSpace(out)
		}
		return d.line(s)
	}
	out := d.a.stdout
	fmt.Fprintf(out, "%s$ passerelle %s\n", strings.ToLower(c.name), quoted(args))
	line := append([]string{"--gateway", c.dir, "--identity", c.identity(officer)}, args...)
	var text bytes.Buffer
	if code := run(d.ctx, line, strings.NewReader(""), &text, &text); code != want {
		return fmt.Errorf("demo: passerelle %s: exit code %d, want %d: %s", strings.Join(args, " "), code, want, text.String())
	}
	d.printed = text.String()
	for l := range strings.Lines(d.printed) {
		fmt.Fprint(out, "  "+l)
	}
	if want != exitDone {
		fmt.Fprintf(out, "  (exit code %d)\n", want)
	}
	if args[0] != "lookup" { // which says it itself, with the figures of the query
		d.learned(asker, holder)
	}
	return nil
}

func (d *demo) learned(asker, holder string) {
	if d.a.json || asker == "" {
		return
	}
	fmt.Fprintf(d.a.stdout, "  What the asker learned:   %s\n  What the holder learned:  %s\n", asker, holder)
}

func (d *demo) line(s demoStep) error {
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	_, err = d.a.stdout.Write(append(b, '\n'))
	return err
}

// quoted returns arguments as one would type them.
func quoted(args []string) string {
	var out []string
	for _, s := range args {
		if s == "" || strings.ContainsAny(s, " '\"$") {
			s = "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
		}
		out = append(out, s)
	}
	return strings.Join(out, " ")
}

// countries makes the three gateways, starts them, and enrols their officers.
func (d *demo) countries() error {
	d.title("Three countries, each with its own gateway, keys, rules, database and log")
	for _, c := range d.all() {
		if err := d.country(c, gateway.Options{}); err != nil {
			return err
		}
	}
	if d.a.json {
		return d.line(demoStep{Step: "countries"})
	}
	for _, c := range d.all() {
		fmt.Fprintf(d.a.stdout, "  %-9s spiffe://%s/gateway/main at %s\n", c.name, c.trustDomain, c.gateway.Endpoint())
	}
	return nil
}

// country makes one gateway, starts it, and enrols its officers.
func (d *demo) country(c *demoCountry, o gateway.Options) error {
	c.dir = filepath.Join(d.dir, strings.ToLower(c.name))
	key := filepath.Join(d.dir, strings.ToLower(c.name)+"-auditor.key")
	if _, err := d.command(c, "", exitDone, nil, "audit", "keygen", "--out", key); err != nil {
		return err
	}
	recipient, err := os.ReadFile(key + ".recipient")
	if err != nil {
		return err
	}
	if _, err := gateway.Init(d.ctx, gateway.InitOptions{
		Dir: c.dir,
		Config: gateway.Config{TrustDomain: c.trustDomain, Country: c.code, Agency: c.name + " Border Service",
			AgencyCode: strings.ToLower(c.code) + "-border", Listen: "127.0.0.1:0", Auditor: strings.TrimSpace(string(recipient))},
		Admins: [2]gateway.Admin{{ID: "admin-1", Unit: "headquarters"}, {ID: "admin-2", Unit: "headquarters"}},
	}); err != nil {
		return err
	}
	config, err := gateway.LoadConfig(filepath.Join(c.dir, gateway.ConfigFile))
	if err != nil {
		return err
	}
	if c.gateway, err = gateway.New(d.ctx, config, o); err != nil {
		return err
	}
	ctx, stop := context.WithCancel(context.WithoutCancel(d.ctx))
	c.stop, c.done = stop, make(chan error, 1)
	go func() { c.done <- c.gateway.Serve(ctx) }()
	for _, o := range []struct {
		id, unit string
		role     officer.Role
	}{{"clerk", "airport-north", officer.RoleAsking}, {"counsel", "legal-service", officer.RoleLegal},
		{"auditor", "supervision", officer.RoleAuditor}} {
		if err := d.enrol(c, o.id, o.unit, string(o.role)); err != nil {
			return err
		}
	}
	return nil
}

// enrol has two administrators enrol an officer.
func (d *demo) enrol(c *demoCountry, id, unit, role string) error {
	var proposed struct {
		Digest string `json:"change_digest"`
	}
	until := time.Now().AddDate(1, 0, 0).Format(time.DateOnly)
	if _, err := d.command(c, "admin-1", exitDone, &proposed, "officer", "add", id, "--unit", unit, "--role", role,
		"--trained", "lookup="+until, "--out", c.identity(id)); err != nil {
		return err
	}
	_, err := d.command(c, "admin-2", exitDone, nil, "officer", "add", "--consent", proposed.Digest)
	return err
}

// lists loads generated watch lists.
func (d *demo) lists() error {
	d.title("Watch lists of %d fictional people each, loaded by the operators", demoRecords)
	for i, c := range []*demoCountry{d.valdera, d.norlanda} {
		records := fiction.Watchlist(c.code, demoRecords, demoSeed+uint64(i))
		d.listed[c.code] = records
		d.planted = append(d.planted, records[10:10+demoPlanted]...)
		file := filepath.Join(d.dir, strings.ToLower(c.name)+"-watchlist.csv")
		if err := writeWith(file, func(w io.Writer) error { return fiction.WriteWatchlistCSV(w, records) }); err != nil {
			return err
		}
		if err := d.show(c, "admin-1", "ingest", exitDone, "", "", nil, "ingest", "watchlist", file, "--collection", "watchlist"); err != nil {
			return err
		}
	}
	return nil
}

// writeWith makes a file from what f writes.
func writeWith(name string, f func(io.Writer) error) error {
	var b bytes.Buffer
	if err := f(&b); err != nil {
		return err
	}
	return writeFile(name, b.Bytes(), 0o600)
}

// federate exchanges invites, whose fingerprints two people compare by telephone.
func (d *demo) federate() error {
	d.title("Utopia federates with both neighbours: an invite file each way, and a fingerprint read out on the telephone")
	for _, pair := range [][2]*demoCountry{{d.utopia, d.valdera}, {d.valdera, d.utopia}, {d.utopia, d.norlanda}, {d.norlanda, d.utopia}} {
		from, to := pair[0], pair[1]
		file := filepath.Join(d.dir, strings.ToLower(from.name)+".invite")
		var invite struct {
			Fingerprint string `json:"fingerprint"`
		}
		if _, err := d.command(from, "admin-1", exitDone, &invite, "peer", "invite", "--out", file); err != nil {
			return err
		}
		if err := d.show(to, "admin-1", "federate", exitDone, "", "", nil, "peer", "accept", file,
			"--fingerprint", invite.Fingerprint); err != nil {
			return err
		}
	}
	return nil
}

// agree makes the agreements: one with each neighbour about the watch list, and
// one with Valdera about documents whose term is a few seconds.
func (d *demo) agree() error {
	d.title("Agreements, signed by a legal officer of each side")
	for _, g := range []struct {
		id, collection, category string
		with                     *demoCountry
		term                     time.Duration
	}{
		{"utopia-valdera", "watchlist", "watchlist", d.valdera, 0},
		{"utopia-norlanda", "watchlist", "watchlist", d.norlanda, 0},
		{"utopia-valdera-documents", "documents", "document", d.valdera, demoTerm},
	} {
		file := filepath.Join(d.dir, g.id+".agreement")
		if _, err := d.command(d.utopia, "admin-1", exitDone, nil, "agreement", "new", "--peer", g.with.trustDomain, "--id", g.id,
			"--collection", "theirs/"+g.collection+":"+g.category, "--purpose", "ct-travel-screening:"+g.category,
			"--legal-basis", "Border Act s. 12", "--offence-class", "terrorism", "--regime", "UN", "--out", file); err != nil {
			return err
		}
		if g.term > 0 {
			d.ends = time.Now().UTC().Truncate(time.Second).Add(g.term)
			if err := shorten(file, d.ends); err != nil {
				return err
			}
		}
		for _, c := range []*demoCountry{d.utopia, g.with} {
			if _, err := d.command(c, "counsel", exitDone, nil, "agreement", "sign", file, "--out", file); err != nil {
				return err
			}
		}
		for _, c := range []*demoCountry{d.utopia, g.with} {
			if err := d.show(c, "counsel", "agree", exitDone, "", "", nil, "agreement", "accept", file); err != nil {
				return err
			}
		}
	}
	return nil
}

// shorten writes another end of the term into the file of an unsigned agreement.
func shorten(file string, end time.Time) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	g, err := agreement.Parse(b)
	if err != nil {
		return err
	}
	g.ValidTo = end
	return writeFile(file, g.Bytes(), 0o600)
}

// synchronise fetches the neighbours' tag sets.
func (d *demo) synchronise() error {
	d.title("Utopia fetches the tag sets that the neighbours publish for it alone")
	return d.show(d.utopia, "admin-1", "sync", exitDone,
		"padded sizes of the neighbours' lists; tags that it cannot open without asking",
		"that Utopia has this version of the list", nil, "sync", "--collection", "watchlist")
}

// reason are the flags that say why.
func reason(purpose string) []string {
	return []string{"--purpose", purpose, "--legal-basis", "Border Act s. 12", "--offence", "terrorism", "--case", "2026-CT-118",
		"--category", "suspect", "--justification",
		"Booked one-way to a conflict area and named in an intelligence report of last week."}
}

const (
	holderLearned = "that a unit of Utopia's border service asked about 1 item for ct-travel-screening; not who, not whether anybody was found"
	askerNothing  = "that nobody fits; nothing of anybody on the list"
)

// A demoAnswer is what the demo looks at in an answer.
type demoAnswer struct {
	Candidates []struct {
		Holder  string   `json:"holder"`
		Ref     string   `json:"subject_ref"`
		Classes []string `json:"classes"`
	} `json:"candidates"`
	Results []struct {
		Holder  string          `json:"holder"`
		QueryID string          `json:"query_id"`
		Refusal json.RawMessage `json:"refusal"`
	} `json:"results"`
}

// found looks up somebody who is listed.
func (d *demo) found() error {
	d.title("A traveller who is on Valdera's list")
	r := d.planted[0]
	args := append([]string{"lookup", "--name", r.Names[0].Text, "--born", r.Births[0].From.String()}, reason("ct-travel-screening")...)
	if len(r.Documents) > 0 {
		p := r.Documents[0]
		args = append(args, "--document", string(p.Type)+":"+p.Issuer+":"+p.Number)
	}
	args = append(args, "--collection", "watchlist")
	return d.ask("lookup, candidate", args, 1, "that one record of Valdera may be this traveller, under a random handle", holderLearned)
}

// notFound looks up somebody whom nobody lists.
func (d *demo) notFound() error {
	d.title("A traveller who is on nobody's list")
	return d.ask("lookup, none", append([]string{"lookup", "--name", "ORDINARY, TRAVELLER", "--born", "1984-05-17",
		"--document", "passport:UTO:L898902C3", "--collection", "watchlist"}, reason("ct-travel-screening")...), 0, askerNothing, holderLearned)
}

// ask runs a lookup and checks how many candidates it gives.
func (d *demo) ask(step string, args []string, want int, asker, holder string) error {
	if d.a.json {
		var answer demoAnswer
		if err := d.show(d.utopia, "clerk", step, exitDone, asker, holder, &answer, args...); err != nil {
			return err
		}
		if len(answer.Candidates) != want {
			return fmt.Errorf("demo: %s: %d candidates, want %d", step, len(answer.Candidates), want)
		}
		return nil
	}
	if err := d.show(d.utopia, "clerk", step, exitDone, asker, holder, nil, args...); err != nil {
		return err
	}
	text := "No candidate."
	if want > 0 {
		text = fmt.Sprintf("%d candidate. ", want)
	}
	if !strings.Contains(d.printed, text) {
		return fmt.Errorf("demo: %s: want %q", step, text)
	}
	return nil
}

// screen screens a manifest against both neighbours in parallel.
func (d *demo) screen() error {
	d.title("A manifest of %d passengers, screened against both neighbours in parallel", demoPassengers)
	file := filepath.Join(d.dir, "manifest.csv")
	subjects := fiction.Manifest(demoPassengers, demoSeed, d.planted)
	if err := writeWith(file, func(w io.Writer) error { return fiction.WriteManifestCSV(w, subjects) }); err != nil {
		return err
	}
	began := time.Now()
	args := append([]string{"screen", file, "--collection", "watchlist"}, reason("ct-travel-screening")...)
	out, err := d.command(d.utopia, "clerk", exitDone, nil, args...)
	if err != nil {
		return err
	}
	found := bytes.Count(out, []byte(`{"candidate":`))
	if found < len(d.planted) {
		return fmt.Errorf("demo: screening gave %d candidates, want at least the %d planted", found, len(d.planted))
	}
	asker := fmt.Sprintf("which %d of %d passengers have a candidate, and where", found, demoPassengers)
	holder := "that Utopia screened a set of 320 items (padded) for ct-travel-screening; nothing of any passenger"
	if d.a.json {
		return d.line(demoStep{Step: "screen", Command: "passerelle " + strings.Join(args, " "), Asker: asker, Holder: holder})
	}
	fmt.Fprintf(d.a.stdout, "utopia$ passerelle %s\n  %d candidates among %d passengers, in %v\n", quoted(args), found, demoPassengers,
		time.Since(began).Round(time.Millisecond))
	d.learned(asker, holder)
	return nil
}

// denied asks for a purpose that no agreement permits.
func (d *demo) denied() error {
	d.title("A query for a purpose that the agreement does not permit")
	return d.show(d.utopia, "clerk", "denied by policy", exitDenied, "which rule refused, with its citation", "nothing: the query did not leave Utopia",
		nil, append([]string{"lookup", "--name", "ORDINARY, TRAVELLER", "--born", "1984-05-17", "--collection", "watchlist"},
			reason("tax-enforcement")...)...)
}

// expired asks under an agreement whose term is over.
func (d *demo) expired() error {
	d.title("A query under an agreement that has expired")
	select {
	case <-time.After(time.Until(d.ends)):
	case <-d.ctx.Done():
		return d.ctx.Err()
	}
	return d.show(d.utopia, "clerk", "agreement expired", exitDenied, "that the agreement has expired", "nothing: the query did not leave Utopia",
		nil, append([]string{"lookup", "--document", "passport:UTO:L898902C3", "--collection", "documents"}, reason("ct-travel-screening")...)...)
}

// verify has the auditor check Utopia's log.
func (d *demo) verify() error {
	d.title("The log, checked by the auditor")
	return d.show(d.utopia, "auditor", "log verified", exitDone, "", "", nil, "audit", "verify")
}

// tamper changes one byte in a copy of the log.
func (d *demo) tamper() error {
	d.title("One changed byte in a copy of that log")
	dir := filepath.Join(d.dir, "copy")
	if _, err := d.command(d.utopia, "auditor", exitDone, nil, "audit", "export", dir); err != nil {
		return err
	}
	bundle, err := firstEntries(dir)
	if err != nil {
		return err
	}
	b, err := os.ReadFile(bundle)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(bundle, b, 0o600); err != nil {
		return err
	}
	return d.show(d.utopia, "auditor", "tampered copy caught", exitFailed, "", "", nil, "audit", "verify", dir)
}

// firstEntries returns the first file with entries in a copy of a log.
func firstEntries(dir string) (string, error) {
	var files []string
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err == nil && !e.IsDir() && strings.Contains(path, filepath.Join("tile", "entries")) {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		return "", errors.Join(err, errors.New("demo: the copy of the log has no entries"))
	}
	return slices.Min(files), nil
}
