package bench

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// An Identity is the report of `passerelle bench identity`. Its fields are a
// contract: scripts read them. Times are medians of the same run unless their name
// says otherwise. The JSON names are those of DESIGN, section 13, and more.
type Identity struct {
	Records       int    `json:"records"`         // on the holder's list
	Published     int    `json:"published"`       // of them, those that the rules let through
	Tags          int    `json:"tags"`            // lookup keys of those, one evaluation each; no decoys
	TagsPadded    uint64 `json:"tags_padded"`     // in the set, decoys included
	Items         int    `json:"items"`           // of the screening: lookup keys, 4 of each person
	Classes       string `json:"classes"`         // exact: doc, doc+dob, name+dob, name+year
	Cores         int    `json:"cores"`           // that this process uses
	Lookups       int    `json:"lookups"`         // measured; one half finds somebody
	AppendSamples int    `json:"append_samples"`  // and of commits as many
	Loading       string `json:"loading"`         // how the records came to the holder
	Policy        string `json:"policy_revision"` // of the rules in force

	TagsPerSecond float64 `json:"tags_per_s"` // tags by build_s, on all cores

	// One operation of the group, on one thread.
	MulUS    float64 `json:"mul_us"`
	EncodeUS float64 `json:"encode_us"`
	HashUS   float64 `json:"hash_us"`

	// One entry of a log, and one commit of a database, by one writer in the folder
	// of the gateways; measured in turns with the lookups.
	AppendMS float64 `json:"append_ms_p50"`
	CommitMS float64 `json:"commit_ms_p50"`

	// The same, where only one in ten was faster: on a busy machine these are the
	// moments in which it was not.
	AppendP10MS    float64 `json:"append_ms_p10"`
	CommitP10MS    float64 `json:"commit_ms_p10"`
	LookupP10MS    float64 `json:"lookup_ms_p10"`
	LookupP10Ratio float64 `json:"lookup_ratio_p10"` // by 3 entries and 10 ms of that kind

	// Per item of a batched request: on all cores, and in processor time.
	EvaluateUS    float64 `json:"evaluate_us_per_item"`
	VerifyUS      float64 `json:"verify_us_per_item"`
	EvaluateCPUUS float64 `json:"evaluate_cpu_us_per_item"`
	VerifyCPUUS   float64 `json:"verify_cpu_us_per_item"`

	// One person with 4 keys: from the officer's signature to the officer's answer.
	LookupMS        float64 `json:"lookup_ms_p50"`
	LookupP99MS     float64 `json:"lookup_ms_p99"`
	LookupHitMS     float64 `json:"lookup_hit_ms_p50"`
	LookupMissMS    float64 `json:"lookup_miss_ms_p50"`
	LookupAllowedMS float64 `json:"lookup_allowed_ms"` // 3 entries and 10 ms
	LookupRatio     float64 `json:"lookup_ratio"`      // lookup_ms_p50 by lookup_allowed_ms; at most 1 is the goal
	LookupCPUMS     float64 `json:"lookup_cpu_ms"`     // processor time of both gateways and the officer, average
	BytesUp         uint64  `json:"bytes_up"`          // of one lookup, between the gateways
	BytesDown       uint64  `json:"bytes_down"`

	// The whole screening of items items, and what of it is cryptography.
	ScreenMS        float64 `json:"screen_ms"`
	ScreenCryptoMS  float64 `json:"screen_crypto_ms"`
	ScreenBytesUp   uint64  `json:"screen_bytes_up"`
	ScreenBytesDown uint64  `json:"screen_bytes_down"`

	IngestSeconds   float64 `json:"ingest_s"` // reading, storing, and the rules for every record
	BuildSeconds    float64 `json:"build_s"`  // evaluation, tags, labels, segments, log
	SyncMS          float64 `json:"sync_ms"`  // fetching and verifying the set
	TagsetBytes     uint64  `json:"tagset_bytes"`
	LabelBytes      uint64  `json:"label_bytes"`
	TagsetBytesEach float64 `json:"tagset_bytes_per_tag"` // by tags_padded
	PeakRSS         uint64  `json:"peak_rss_bytes"`       // of both gateways and the benchmark
}

// Table writes r for people.
func (r *Identity) Table(w io.Writer) error {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	section := func(title string) { fmt.Fprintf(t, "\n%s\n", title) }
	row := func(name, value, about string) { fmt.Fprintf(t, "  %s\t%s\t%s\n", name, value, about) }
	ms := func(f float64) string { return fmt.Sprintf("%.2f ms", f) }
	us := func(f float64) string { return fmt.Sprintf("%.2f us", f) }
	s := func(f float64) string { return fmt.Sprintf("%.1f s", f) }

	fmt.Fprintf(t, "%d records, %d published as %d tags (%d with decoys), %d cores\n", r.Records, r.Published, r.Tags, r.TagsPadded, r.Cores)
	section("The list")
	row("loading", s(r.IngestSeconds), r.Loading+", and the rules for every record")
	row("building", s(r.BuildSeconds), fmt.Sprintf("%.0f tags a second", r.TagsPerSecond))
	row("fetching", ms(r.SyncMS), fmt.Sprintf("%d bytes of tags (%.2f a tag) and %d of labels", r.TagsetBytes, r.TagsetBytesEach, r.LabelBytes))
	section("One operation")
	row("multiply", us(r.MulUS), "one thread")
	row("encode", us(r.EncodeUS), "one thread")
	row("hash to group", us(r.HashUS), "one thread")
	row("log entry", ms(r.AppendMS), fmt.Sprintf("durable, median of %d", r.AppendSamples))
	row("commit", ms(r.CommitMS), fmt.Sprintf("durable, median of %d", r.AppendSamples))
	section(fmt.Sprintf("One item of %d", r.Items))
	row("evaluate", us(r.EvaluateUS), fmt.Sprintf("the holder, with proof; %.2f us of processor time", r.EvaluateCPUUS))
	row("verify", us(r.VerifyUS), fmt.Sprintf("the asker: blind, check, finalize; %.2f us of processor time", r.VerifyCPUUS))
	section("One lookup of one person, every step")
	row("median", ms(r.LookupMS), fmt.Sprintf("of %d; %s of processor time", r.Lookups, ms(r.LookupCPUMS)))
	row("99 of 100", ms(r.LookupP99MS), "")
	row("10 of 100", ms(r.LookupP10MS), fmt.Sprintf("with entries of %s and commits of %s", ms(r.AppendP10MS), ms(r.CommitP10MS)))
	row("with a candidate", ms(r.LookupHitMS), fmt.Sprintf("and %s without", ms(r.LookupMissMS)))
	row("allowed", ms(r.LookupAllowedMS), fmt.Sprintf("3 log entries and 10 ms; the median is %.2f of it", r.LookupRatio))
	row("moved", fmt.Sprintf("%d B", r.BytesUp), fmt.Sprintf("out, and %d B in", r.BytesDown))
	section("One screening")
	row("whole", ms(r.ScreenMS), fmt.Sprintf("%d items, of it %s cryptography", r.Items, ms(r.ScreenCryptoMS)))
	row("moved", fmt.Sprintf("%d B", r.ScreenBytesUp), fmt.Sprintf("out, and %d B in", r.ScreenBytesDown))
	fmt.Fprintf(t, "\nMemory of both gateways together: at most %.0f MB\n", float64(r.PeakRSS)/1e6)
	if err := t.Flush(); err != nil {
		return fmt.Errorf("bench: %w", err)
	}
	return nil
}
