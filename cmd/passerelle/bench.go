package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/pprof"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/passerelle/passerelle/cmd/passerelle/internal/bench"
	"github.com/passerelle/passerelle/crypto/psi"
	"github.com/passerelle/passerelle/examples/fiction"
	"github.com/passerelle/passerelle/gateway"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	"github.com/passerelle/passerelle/policy"
	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

const (
	benchSeed     = 2397
	benchWarmUp   = 20          // lookups that are not measured
	benchInterval = time.Second // of checkpoints: the default of a gateway
	benchBudget   = 1 << 40
	benchPurpose  = "ct-travel-screening"

	// keysPerPerson is how many items one person is: one key of each exact class.
	keysPerPerson = 4
)

func (a *app) benchCommand() *cobra.Command {
	return group("bench", "Measure what a query costs on this machine", a.benchIdentityCommand())
}

// benchFlags are the flags of a measurement.
type benchFlags struct {
	records, items, lookups int
	classes, dir, profile   string
	enumerate               enumerateFlags
}

func (a *app) benchIdentityCommand() *cobra.Command {
	f := benchFlags{}
	c := &cobra.Command{
		Use:   "identity",
		Short: "Lookups and screenings between two whole gateways on this machine",
		Long: "Makes two countries, each a whole gateway with its own trust domain, keys, rules, database and audit log, loads\n" +
			"fictional records at the one, and asks from the other over mutual TLS on the loopback: --lookups times about one\n" +
			"person with 4 keys, of whom every second is on the list, and once about a whole manifest of --items keys.\n\n" +
			"What a query is made of is measured in the same run: group operations on one thread, durable log entries and\n" +
			"database commits by one writer in the same folder. Times are medians. Other programs on the machine change all\n" +
			"of them; the ratios change less.\n\n" +
			"With --enumerate nothing is measured. It computes, for each class of keys, which part of the listed people an asker\n" +
			"finds that spends the whole budget of an epoch on the likeliest keys, and how large a budget stays within the bound\n" +
			"of the agreement. Half of the people of --population are what the asker knows of names and years, the other half is\n" +
			"who is listed. A country that knows names better finds more: give a large file, of your own travellers.",
		Example: "  passerelle bench identity --records 100000 --items 1024\n" +
			"  passerelle bench identity --records 1000000 --items 4096 --json\n" +
			"  passerelle bench identity --enumerate --population travellers.csv --per-day 5000",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.enumerate.on {
				return a.enumerate(cmd.Context(), &f.enumerate)
			}
			switch {
			case f.records < 100 || f.records > 10_000_000:
				return usagef("--records %d: want 100 to 10000000", f.records)
			case f.items < keysPerPerson || f.items > keysPerPerson*asker.MaxSubjects || f.items%keysPerPerson != 0:
				return usagef("--items %d: want %d to %d, a multiple of %d: a person has that many keys", f.items, keysPerPerson,
					keysPerPerson*asker.MaxSubjects, keysPerPerson)
			case f.lookups < 2:
				return usagef("--lookups %d: want 2 or more", f.lookups)
			case f.classes != "exact":
				return usagef("--classes %q: only exact is there: doc, doc+dob, name+dob and name+year", f.classes)
			}
			return a.benchIdentity(cmd.Context(), &f)
		},
	}
	s := c.Flags()
	s.IntVar(&f.records, "records", 10_000, "records on the holder's list")
	s.IntVar(&f.items, "items", 1024, "items of the screening: lookup keys, 4 of each person")
	s.IntVar(&f.lookups, "lookups", 200, "lookups to measure")
	s.StringVar(&f.classes, "classes", "exact", "key classes: exact")
	s.StringVar(&f.dir, "dir", "", "folder to work in, which must be empty; its disk is measured (default: a temporary one)")
	f.enumerate.add(s)
	s.StringVar(&f.profile, "cpuprofile", "", "write a processor profile of the lookups to this file, for go tool pprof")
	return c
}

// A measurement is one run of the benchmark.
type measurement struct {
	*demo
	f             *benchFlags
	bar           *bar
	asker, holder *demoCountry
	built         bench.Publication
	records       []record.Record // the first of the list
	report        bench.Identity
}

// benchIdentity runs the measurement and prints its report.
func (a *app) benchIdentity(ctx context.Context, f *benchFlags) (err error) {
	dir := f.dir
	if dir == "" {
		if dir, err = shortTempDir(); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	} else if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return usagef("--dir %s is not empty", dir)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return err
	}
	m := &measurement{f: f, bar: a.bar(),
		asker:  &demoCountry{name: "Utopia", code: fiction.Utopia, trustDomain: "border.utopia.example"},
		holder: &demoCountry{name: "Valdera", code: fiction.Valdera, trustDomain: "border.valdera.example"},
	}
	m.demo = &demo{a: a, ctx: ctx, dir: dir, utopia: m.asker, valdera: m.holder}
	m.report = bench.Identity{Records: f.records, Items: f.items, Classes: f.classes, Cores: bench.Cores(), Lookups: f.lookups,
		Loading: "through the ingest service, as CSV", Policy: policy.Default().Revision()}
	defer func() { err = errors.Join(err, m.close()) }()
	defer m.bar.clear()
	for _, step := range []func() error{m.units, m.countries, m.load, m.sync, m.exchange, m.lookups, m.screen, m.memory} {
		if err := step(); err != nil {
			return err
		}
	}
	m.bar.clear()
	if a.json {
		return a.printJSON(&m.report)
	}
	return m.report.Table(a.stdout)
}

// units measures group operations, before anything else runs in this process.
func (m *measurement) units() error {
	u := bench.MeasureUnits()
	m.report.MulUS, m.report.EncodeUS, m.report.HashUS = bench.Microseconds(u.Mul), bench.Microseconds(u.Encode), bench.Microseconds(u.Hash)
	return nil
}

// countries starts the two gateways, which federate and agree.
func (m *measurement) countries() error {
	watch := gateway.Options{Publishing: func(class string, done, total int) {
		m.built.Observe(m.a.now(), class, done, total)
	}}
	if err := errors.Join(m.country(m.asker, gateway.Options{}), m.country(m.holder, watch)); err != nil {
		return err
	}
	for _, pair := range [][2]*demoCountry{{m.asker, m.holder}, {m.holder, m.asker}} {
		file := filepath.Join(m.dir, strings.ToLower(pair[0].name)+".invite")
		var invite struct {
			Fingerprint string `json:"fingerprint"`
		}
		if _, err := m.command(pair[0], "admin-1", exitDone, &invite, "peer", "invite", "--out", file); err != nil {
			return err
		}
		if _, err := m.command(pair[1], "admin-1", exitDone, nil, "peer", "accept", file, "--fingerprint", invite.Fingerprint); err != nil {
			return err
		}
	}
	file := filepath.Join(m.dir, "bench.agreement")
	if _, err := m.command(m.asker, "admin-1", exitDone, nil, "agreement", "new", "--peer", m.holder.trustDomain, "--id", "bench",
		"--collection", "theirs/watchlist:watchlist", "--purpose", benchPurpose+":watchlist", "--legal-basis", "Border Act s. 12",
		"--offence-class", "terrorism", "--regime", "UN", "--out", file); err != nil {
		return err
	}
	if err := m.widen(file); err != nil {
		return err
	}
	for _, args := range [][]string{{"agreement", "sign", file, "--out", file}, {"agreement", "accept", file}} {
		for _, c := range []*demoCountry{m.asker, m.holder} {
			if _, err := m.command(c, "counsel", exitDone, nil, args...); err != nil {
				return err
			}
		}
	}
	return nil
}

// widen writes limits into the unsigned agreement that this measurement does not
// reach.
func (m *measurement) widen(file string) error {
	b, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	g, err := agreement.Parse(b)
	if err != nil {
		return err
	}
	for i := range g.Budgets {
		g.Budgets[i].PerDay, g.Budgets[i].Burst, g.Budgets[i].PerUnitDay = benchBudget, benchBudget, 0
	}
	for i := range g.Collections {
		g.Collections[i].MaxRecords = max(g.Collections[i].MaxRecords, 2*int64(m.f.records))
	}
	g.SetScreening.MaxItems = max(g.SetScreening.MaxItems, query.PadItems(m.f.items/keysPerPerson))
	return writeFile(file, g.Bytes(), 0o600)
}

// load has the holder read the list, and publish it.
func (m *measurement) load() error {
	m.bar.show("making records", 0, 0)
	records := fiction.Watchlist(m.holder.code, m.f.records, benchSeed)
	file := filepath.Join(m.dir, "watchlist.csv")
	if err := writeCSV(file, records); err != nil {
		return err
	}
	// Those who are asked for are among the first; the others are not kept in the
	// memory that is measured.
	m.records = slices.Clone(records[:min(len(records), 4*m.f.lookups+m.f.items/keysPerPerson/50+1000)])
	var report struct {
		Report struct {
			Total        int                     `json:"total"`
			Rejected     int                     `json:"rejected"`
			Published    []struct{ Records int } `json:"published"`
			NotPublished []string                `json:"not_published"`
		} `json:"report"`
	}
	stop := m.watch("building", func() (uint64, uint64) {
		_, n := m.built.Evaluated()
		return uint64(n), keysPerPerson * uint64(m.f.records)
	})
	began := m.a.now()
	_, err := m.command(m.holder, "admin-1", exitDone, &report, "ingest", "watchlist", file, "--collection", "watchlist")
	ended := m.a.now()
	stop()
	if err != nil {
		return err
	}
	r := &report.Report
	if r.Total != m.f.records || r.Rejected != 0 || len(r.Published) != 1 || len(r.NotPublished) != 0 {
		return fmt.Errorf("bench: loading: %d of %d records, %d rejected, published to %d and not to %d", r.Total, m.f.records,
			r.Rejected, len(r.Published), len(r.NotPublished))
	}
	evaluating, tags := m.built.Evaluated()
	m.report.Published, m.report.Tags = r.Published[0].Records, tags
	m.report.IngestSeconds, m.report.BuildSeconds = bench.Seconds(evaluating.Sub(began)), bench.Seconds(ended.Sub(evaluating))
	m.report.TagsPerSecond = float64(int(float64(tags) / ended.Sub(evaluating).Seconds()))
	return os.Remove(file)
}

// watch draws the bar every now and then until stop is called.
func (m *measurement) watch(what string, progress func() (done, total uint64)) (stop func()) {
	quit, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(200 * time.Millisecond)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				n, total := progress()
				m.bar.show(what, n, total)
			case <-quit:
				return
			}
		}
	}()
	return func() { close(quit); <-done }
}

// writeCSV makes a file of the list without having all of it in memory.
func writeCSV(name string, records []record.Record) (err error) {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	return fiction.WriteWatchlistCSV(f, records)
}

// sync has the asker fetch the set.
func (m *measurement) sync() error {
	var result struct {
		Tags    uint64          `json:"tags"`
		Bytes   uint64          `json:"bytes"`
		Refusal json.RawMessage `json:"refusal"`
	}
	began := m.a.now()
	if _, err := m.command(m.asker, "admin-1", exitDone, &result, "sync"); err != nil {
		return err
	}
	m.report.SyncMS = bench.Milliseconds(m.a.now().Sub(began))
	m.report.TagsPadded, m.report.LabelBytes = result.Tags, result.Tags*psi.LabelSize
	m.report.TagsetBytes = result.Bytes - m.report.LabelBytes
	m.report.TagsetBytesEach = bench.Round(float64(m.report.TagsetBytes) / float64(result.Tags))
	return nil
}

// exchange measures the cryptography of the screening by itself.
func (m *measurement) exchange() error {
	rounds := max(3, min(15, 16384/m.f.items))
	e, err := bench.MeasureExchange(m.f.items, rounds)
	if err != nil {
		return err
	}
	m.report.EvaluateUS, m.report.VerifyUS = bench.Microseconds(e.Evaluate), bench.Microseconds(e.Verify)
	m.report.EvaluateCPUUS, m.report.VerifyCPUUS = bench.Microseconds(e.EvaluateCPU), bench.Microseconds(e.VerifyCPU)
	m.report.ScreenCryptoMS = bench.Milliseconds(time.Duration(m.f.items) * (e.Evaluate + e.Verify))
	return nil
}

// lookups measures lookups of one person, in turns with log entries and commits.
func (m *measurement) lookups() (err error) {
	subjects, err := m.subjects()
	if err != nil {
		return err
	}
	durable, err := bench.OpenDurable(m.ctx, filepath.Join(m.dir, "durable"), benchInterval)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, durable.Close(context.WithoutCancel(m.ctx))) }()
	if _, err := durable.Append(m.ctx, benchWarmUp); err != nil {
		return err
	}
	if _, err := durable.Commit(m.ctx, benchWarmUp); err != nil {
		return err
	}
	var entries, commits, all, hits, misses bench.Samples
	var cpu time.Duration
	err = m.officer().connect(m.ctx, 0, func(ctx context.Context, c *client) error {
		for i := range benchWarmUp {
			if _, err := m.lookup(ctx, c, &subjects[i%len(subjects)], i%2 == 0); err != nil {
				return err
			}
		}
		stop, err := m.profile()
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, stop()) }()
		for i := range m.f.lookups {
			m.bar.show("looking up", uint64(i), uint64(m.f.lookups))
			// One of each in turns, so that all have the same neighbours on the machine.
			a, err := durable.Append(ctx, 1)
			if err != nil {
				return err
			}
			b, err := durable.Commit(ctx, 1)
			if err != nil {
				return err
			}
			entries, commits = append(entries, a...), append(commits, b...)
			used := bench.CPUTime()
			took, err := m.lookup(ctx, c, &subjects[i%len(subjects)], i%2 == 0)
			if err != nil {
				return err
			}
			cpu += bench.CPUTime() - used
			if all = append(all, took); i%2 == 0 {
				hits = append(hits, took)
			} else {
				misses = append(misses, took)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	r := &m.report
	r.AppendSamples, r.AppendMS, r.CommitMS = len(entries), bench.Milliseconds(entries.Median()), bench.Milliseconds(commits.Median())
	r.LookupMS, r.LookupP99MS = bench.Milliseconds(all.Median()), bench.Milliseconds(all.Quantile(0.99))
	r.AppendP10MS, r.CommitP10MS, r.LookupP10MS = bench.Milliseconds(entries.Quantile(0.1)),
		bench.Milliseconds(commits.Quantile(0.1)), bench.Milliseconds(all.Quantile(0.1))
	r.LookupHitMS, r.LookupMissMS = bench.Milliseconds(hits.Median()), bench.Milliseconds(misses.Median())
	r.LookupCPUMS = bench.Milliseconds(cpu / time.Duration(len(all)))
	r.LookupAllowedMS = bench.Round(3*r.AppendMS + 10)
	r.LookupRatio = bench.Round(r.LookupMS / r.LookupAllowedMS)
	r.LookupP10Ratio = bench.Round(r.LookupP10MS / (3*r.AppendP10MS + 10))
	return nil
}

// profile begins to write the profile that was asked for.
func (m *measurement) profile() (stop func() error, err error) {
	if m.f.profile == "" {
		return func() error { return nil }, nil
	}
	f, err := os.Create(m.f.profile)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return func() error { pprof.StopCPUProfile(); return f.Close() }, nil
}

// subjects returns people with a key in every class, in turns on the list and not.
func (m *measurement) subjects() ([]record.Subject, error) {
	planted := make([]record.Record, 0, m.f.lookups)
	for i := range m.records {
		r := &m.records[i]
		if r.ProtectionStatus == "none" && len(r.Documents) > 0 && r.Births[0].From == r.Births[0].To && r.Births[0].From.Known() {
			if planted = append(planted, *r); len(planted) == m.f.lookups {
				break
			}
		}
	}
	listed := fiction.Manifest(len(planted), benchSeed, planted)
	others := fiction.Manifest(len(planted), benchSeed+1, nil)
	var all []record.Subject
	for i := range listed {
		for _, s := range []record.Subject{listed[i], others[i]} {
			if n := len(s.Keys()); n != keysPerPerson {
				return nil, fmt.Errorf("bench: a person with %d keys, want %d", n, keysPerPerson)
			}
			all = append(all, s)
		}
	}
	return all, nil
}

// officer returns the command line of the officer who asks.
func (m *measurement) officer() *app {
	o := *m.a
	o.gateway, o.identity = m.asker.dir, m.asker.identity("clerk")
	return &o
}

// ask returns an ask of the officer, with a reason that the rules accept.
func (m *measurement) ask(kind query.Kind, subjects ...record.Subject) *asker.Ask {
	return &asker.Ask{
		Request: query.NewID(m.a.now()), Purpose: benchPurpose, LegalBasis: "Border Act s. 12", OffenceClass: "terrorism",
		CaseReference: "2026-CT-118", SubjectCategory: "suspect",
		Justification: "Booked one-way to a conflict area and named in an intelligence report of last week.",
		Kind:          kind, Subjects: subjects, Collections: []string{"watchlist"},
	}
}

// lookup looks up one person, as an officer does, and returns how long it took
// from the officer's signature to the answer.
func (m *measurement) lookup(ctx context.Context, c *client, s *record.Subject, listed bool) (time.Duration, error) {
	ask := m.ask(query.Single, *s)
	began := m.a.now()
	signature, err := signAsk(c, ask)
	if err != nil {
		return 0, err
	}
	r, err := c.national().Lookup(ctx, &passerellev1.LookupRequest{Ask: askMessage(ask), Subject: subjectMessage(s), Signature: signature})
	took := m.a.now().Sub(began)
	if err != nil {
		return 0, err
	}
	if err := m.answered(r.GetResults(), len(r.GetCandidates()) > 0, listed); err != nil {
		return 0, err
	}
	x := r.GetResults()[0].GetExchange()
	m.report.BytesUp, m.report.BytesDown = x.GetBytesUp(), x.GetBytesDown()
	return took, nil
}

// answered checks that the one holder answered, and rightly: what is wrong is not
// worth measuring.
func (m *measurement) answered(results []*passerellev1.HolderResult, found, want bool) error {
	if err := outcome(results); err != nil || len(results) != 1 {
		return fmt.Errorf("bench: %d holders answered, want 1 (%w)", len(results), err)
	}
	if found != want {
		return fmt.Errorf("bench: a candidate was found: %v, want %v", found, want)
	}
	return nil
}

// screen measures one whole manifest, of which one in a hundred is listed.
func (m *measurement) screen() error {
	people := m.f.items / keysPerPerson
	planted := fiction.Planted(m.records, (people+99)/100)
	ask := m.ask(query.Set, fiction.Manifest(people, benchSeed+2, planted)...)
	return m.officer().connect(m.ctx, 0, func(ctx context.Context, c *client) error {
		began := m.a.now()
		signature, err := signAsk(c, ask)
		if err != nil {
			return err
		}
		stream, err := c.national().Screen(ctx)
		if err != nil {
			return err
		}
		if err := sendManifest(stream, ask, signature); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		var summary *passerellev1.ScreenSummary
		for {
			r, err := stream.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			if s := r.GetSummary(); s != nil {
				summary = s
			}
		}
		m.report.ScreenMS = bench.Milliseconds(m.a.now().Sub(began))
		if summary == nil {
			return errors.New("bench: the screening ended early")
		}
		if err := m.answered(summary.GetResults(), int(summary.GetSubjectsWithCandidates()) >= len(planted), true); err != nil {
			return err
		}
		x := summary.GetResults()[0].GetExchange()
		m.report.ScreenBytesUp, m.report.ScreenBytesDown = x.GetBytesUp(), x.GetBytesDown()
		return nil
	})
}

// memory ends the measurement.
func (m *measurement) memory() (err error) {
	m.report.PeakRSS, err = bench.PeakRSS()
	return err
}
