package main

import (
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/mod/sumdb/note"

	"github.com/passerelle/passerelle/crypto/sealed"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/inspect"
	"github.com/passerelle/passerelle/gateway/query"
	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

func (a *app) auditCommand() *cobra.Command {
	return group("audit", "Inspect the logs",
		a.auditKeygenCommand(), a.auditListCommand(), a.auditShowCommand(), a.auditStatsCommand(), a.auditVerifyCommand(),
		a.auditOpenCommand(), a.auditProveCommand(), a.auditExportCommand())
}

func (a *app) auditKeygenCommand() *cobra.Command {
	var out string
	c := &cobra.Command{
		Use:   "keygen",
		Short: "Make the auditor's key, away from the gateway",
		Long: "Makes the auditor's key, without a gateway: on the auditor's own machine. FILE gets the secret identity, and\n" +
			"FILE.recipient what the operator gives to `passerelle init --auditor`. Whoever has the identity can read who asked\n" +
			"for whom; if it is lost, nobody can.",
		Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := need(cmd, "out"); err != nil {
				return err
			}
			id, err := sealed.GenerateIdentity()
			if err != nil {
				return err
			}
			recipient := id.Recipient()
			keyID := recipient.KeyID()
			if err := createFile(out, []byte(id.Reveal()+"\n"), 0o600); err != nil {
				return err
			}
			public := out + ".recipient"
			if err := createFile(public, []byte(recipient.String()+"\n"), 0o644); err != nil {
				os.Remove(out)
				return err
			}
			if a.json {
				return a.printJSON(map[string]string{"identity_file": out, "recipient_file": public, "recipient": recipient.String(),
					"key_id": hex.EncodeToString(keyID[:])})
			}
			a.outf("Key %x\nSecret     %s (keep it away from the gateway, and a copy in a safe)\nRecipient  %s (give it to the operator)\n",
				keyID, out, public)
			return nil
		},
	}
	c.Flags().StringVar(&out, "out", "", "file to make (required)")
	return c
}

// logFlag is --log.
type logFlag string

func (l *logFlag) add(c *cobra.Command) {
	c.Flags().StringVar((*string)(l), "log", "shared", "shared or internal")
}

func (l logFlag) parse() (passerellev1.Log, error) {
	switch l {
	case "shared":
		return passerellev1.Log_LOG_SHARED, nil
	case "internal":
		return passerellev1.Log_LOG_INTERNAL, nil
	}
	return 0, usagef("--log %q: want shared or internal", string(l))
}

// controls are why a log may be read (RU-40). The rules decide.
const controls = "lawfulness, self_monitoring, integrity, security or criminal_proceedings"

// addControl adds --control.
func addControl(c *cobra.Command, control *string, def string) {
	c.Flags().StringVar(control, "control", def, "the control that this is for, which is logged: "+controls)
}

func (a *app) auditListCommand() *cobra.Command {
	var request passerellev1.ListEntriesRequest
	var times timeFlags
	var log logFlag
	var limit int
	c := &cobra.Command{
		Use:   "list",
		Short: "List entries of a log",
		Long:  "Lists entries of a log, the oldest first. All filters must hold. The read is an entry of the internal log.",
		Args:  noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if request.Range, err = times.parse(); err != nil {
				return err
			}
			if request.Log, err = log.parse(); err != nil {
				return err
			}
			if limit < 1 {
				return usagef("--limit %d: want 1 or more", limit)
			}
			return a.call(cmd, func(ctx context.Context, c *client) error {
				list, err := listEntries(ctx, c, &request, limit)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(&passerellev1.ListEntriesResponse{Entries: list})
				}
				if err := a.tableEntries(list); err != nil {
					return err
				}
				if len(list) == limit {
					a.notef("There may be more: --limit.\n")
				}
				return nil
			})
		},
	}
	f := c.Flags()
	log.add(c)
	times.add(c)
	f.StringVar(&request.QueryId, "query", "", "only this query")
	f.StringVar(&request.Kind, "kind", "", "only this kind, such as intent, decision or receipt")
	f.StringVar(&request.Peer, "peer", "", "only with this trust domain")
	f.StringVar(&request.Purpose, "purpose", "", "only this purpose")
	f.StringVar(&request.Decision, "decision", "", "only allowed or denied")
	f.StringVar(&request.Officer, "officer", "", "only this officer, by SPIFFE ID")
	f.StringVar(&request.Collection, "collection", "", "only this collection")
	f.IntVar(&limit, "limit", 1000, "at most this many entries")
	addControl(c, &request.Control, "lawfulness")
	return c
}

// listEntries returns at most limit entries, over as many pages as it takes.
func listEntries(ctx context.Context, c *client, request *passerellev1.ListEntriesRequest, limit int) ([]*passerellev1.Entry, error) {
	var all []*passerellev1.Entry
	request.Page = new(passerellev1.Page)
	for len(all) < limit {
		request.Page.Size = uint32(min(limit-len(all), pageSize))
		r, err := c.audit().ListEntries(ctx, request)
		if err != nil {
			return nil, err
		}
		all = append(all, r.GetEntries()...)
		if request.Page.Token = r.GetNextToken(); request.Page.Token == "" {
			break
		}
	}
	return all, nil
}

func (a *app) tableEntries(list []*passerellev1.Entry) error {
	t := newTable(a.stdout, "", "INDEX", "TIME", "KIND", "QUERY", "ASKER", "HOLDER", "COLLECTION", "PURPOSE", "ITEMS", "DECISION",
		"RULES", "REASON")
	for _, e := range list {
		decision := e.GetDecision()
		if e.GetOutcome() != "" {
			decision = e.GetOutcome()
		}
		t.row(e.GetIndex(), shown(e.GetTime()), e.GetKind(), e.GetQueryId(), domainOf(e.GetAsker()), domainOf(e.GetHolder()),
			e.GetCollection(), e.GetPurpose(), orDash(e.GetItems()), decision, strings.Join(e.GetRules(), " "), e.GetReason())
	}
	return t.flush()
}

// domainOf returns the trust domain of a SPIFFE ID.
func domainOf(id string) string {
	domain, _, _ := strings.Cut(strings.TrimPrefix(id, "spiffe://"), "/")
	return domain
}

func (a *app) auditShowCommand() *cobra.Command {
	var request passerellev1.ShowQueryRequest
	c := &cobra.Command{
		Use:   "show QUERY-ID",
		Short: "Show everything that both logs have about one query",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			request.QueryId = args[0]
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.audit().ShowQuery(ctx, &request)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(r)
				}
				return a.printQuery(r)
			})
		},
	}
	addControl(c, &request.Control, "lawfulness")
	return c
}

func (a *app) printQuery(r *passerellev1.ShowQueryResponse) error {
	for i, e := range r.GetEntries() {
		if i > 0 {
			a.outf("\n")
		}
		a.printEntry(e.GetEntry(), len(e.GetTlogProof()) > 0)
	}
	for _, in := range r.GetInputs() {
		a.outf("\nFacts of a decision, %s:\n  %s\n", short(in.GetDigest()), printable(in.GetJson()))
	}
	if len(r.GetChecks()) == 0 {
		return nil
	}
	a.outf("\nWhat the gateway verified of it:\n")
	t := newTable(a.stdout, "  ", "CHECK", "RESULT", "WHAT")
	for _, c := range r.GetChecks() {
		t.row(c.GetName(), c.GetResult(), c.GetSentence())
	}
	return t.flush()
}

// printEntry prints what an entry has; fields that it does not have are left out.
func (a *app) printEntry(e *passerellev1.Entry, proven bool) {
	log := code(e.GetLog().String(), "LOG_")
	a.outf("%s log, entry %d: %s\n", log, e.GetIndex(), printable(e.GetKind()))
	line := func(name string, value any) {
		if s := fmt.Sprint(value); s != "" && s != "0" {
			a.outf("  %-16s %s\n", name, printable(s))
		}
	}
	line("time", shown(e.GetTime()))
	line("query", e.GetQueryId())
	line("direction", e.GetDirection())
	line("asker", e.GetAsker())
	line("holder", e.GetHolder())
	line("agreement", strings.TrimSpace(e.GetAgreement()+" "+short(e.GetAgreementDigest())))
	line("purpose", e.GetPurpose())
	line("collection", e.GetCollection())
	line("items, padded", e.GetItems())
	line("decision", strings.TrimSpace(e.GetDecision()+" "+strings.Join(e.GetRules(), " ")))
	line("reason", e.GetReason())
	line("outcome", e.GetOutcome())
	line("bundle", short(e.GetBundleDigest()))
	line("list version", e.GetListVersion())
	line("request digest", hex.EncodeToString(e.GetRequestDigest()))
	line("receipt digest", hex.EncodeToString(e.GetReceiptDigest()))
	line("other's leaf", hex.EncodeToString(e.GetPeerLeaf()))
	line("leaf hash", hex.EncodeToString(e.GetLeafHash()))
	switch {
	case e.GetSealedAvailable():
		line("sealed content", "here, to auditor key "+hex.EncodeToString(e.GetAuditorKey())+": passerelle audit open "+e.GetQueryId())
	case len(e.GetSealed()) > 0:
		line("sealed content", "erased")
	}
	if proven {
		line("proof", fmt.Sprintf("passerelle audit prove %d --log %s", e.GetIndex(), log))
	} else {
		line("proof", "not yet: no checkpoint covers the entry")
	}
}

func (a *app) auditStatsCommand() *cobra.Command {
	var request passerellev1.GetStatsRequest
	var times timeFlags
	c := &cobra.Command{
		Use: "stats", Short: "Count queries", Args: noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			var err error
			if request.Range, err = times.parse(); err != nil {
				return err
			}
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.audit().GetStats(ctx, &request)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(r)
				}
				heads := make([]string, 0, len(request.GetGroupBy())+4)
				for _, g := range request.GetGroupBy() {
					heads = append(heads, strings.ToUpper(g))
				}
				t := newTable(a.stdout, "", append(heads, "QUERIES", "DENIED", "FAILED", "ITEMS", "WITH CANDIDATES")...)
				for _, row := range r.GetRows() {
					var cells []any
					for i := range request.GetGroupBy() {
						if i < len(row.GetGroup()) {
							cells = append(cells, row.GetGroup()[i])
						} else {
							cells = append(cells, "")
						}
					}
					t.row(append(cells, row.GetQueries(), row.GetDenied(), row.GetFailed(), row.GetItems(), row.GetWithCandidates())...)
				}
				return t.flush()
			})
		},
	}
	c.Flags().StringSliceVar(&request.GroupBy, "by", nil,
		"peer, direction, purpose, collection, decision, reason, items, rule, unit, day or kind; at most 3")
	times.add(c)
	addControl(c, &request.Control, "lawfulness")
	return c
}

func (a *app) auditProveCommand() *cobra.Command {
	var log logFlag
	var out, control string
	c := &cobra.Command{
		Use:   "prove INDEX",
		Short: "Write an entry and the proof that a log has it",
		Long: "Writes OUT.entry and OUT.tlog-proof. Whoever has the log's verifier key checks them, without us:\n" +
			"passerelle audit verify --proof OUT.tlog-proof --entry OUT.entry --key KEY, or passerelle-verify.",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := need(cmd, "out"); err != nil {
				return err
			}
			index, err := strconv.ParseUint(args[0], 10, 64)
			if err != nil {
				return usagef("%q is not the index of an entry", args[0])
			}
			which, err := log.parse()
			if err != nil {
				return err
			}
			return a.call(cmd, func(ctx context.Context, c *client) error {
				r, err := c.audit().GetProof(ctx, &passerellev1.GetProofRequest{Log: which, Index: index, Control: control})
				if err != nil {
					return err
				}
				p := r.GetProof()
				if len(p.GetTlogProof()) == 0 {
					return errors.New("no checkpoint covers the entry yet; try again in a moment")
				}
				if err := writeFile(out+".entry", p.GetEntry(), 0o644); err != nil {
					return err
				}
				if err := writeFile(out+".tlog-proof", p.GetTlogProof(), 0o644); err != nil {
					return err
				}
				if a.json {
					return a.printJSON(r)
				}
				a.outf("Wrote %s.entry and %s.tlog-proof.\n", out, out)
				return nil
			})
		},
	}
	c.Flags().StringVar(&out, "out", "", "name of the files, without ending (required)")
	log.add(c)
	addControl(c, &control, "integrity")
	return c
}

// keyFile is where an export keeps the verifier key of the log.
const keyFile = "verifier-key"

func (a *app) auditExportCommand() *cobra.Command {
	var log logFlag
	var times timeFlags
	var request passerellev1.ExportLogRequest
	c := &cobra.Command{
		Use:   "export DIR",
		Short: "Copy a log, as files that passerelle-verify reads, or as JSON lines",
		Long: "Copies a log into a new folder: the files that passerelle-verify reads and the log's verifier key, or with --entries\n" +
			"one file entries.jsonl with an entry a line, which other programs read and which proves nothing.",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			which, err := log.parse()
			if err != nil {
				return err
			}
			request.Log = which
			if request.Range, err = times.parse(); err != nil {
				return err
			}
			if request.GetRange() != nil && !request.GetJsonLines() {
				return usagef("--since and --until need --entries: a part of a log proves nothing")
			}
			return a.stream(cmd, func(ctx context.Context, c *client) error {
				files, size, err := a.export(ctx, c, &request, args[0])
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(map[string]any{"dir": args[0], "log": code(which.String(), "LOG_"), "files": files, "bytes": size})
				}
				a.outf("Copied %s, %s, to %s.\n", plural(files, "file"), bytesOf(size), args[0])
				if !request.GetJsonLines() {
					a.notef("Check it: passerelle audit verify %s\n", args[0])
				}
				return nil
			})
		},
	}
	log.add(c)
	times.add(c)
	addControl(c, &request.Control, "integrity")
	c.Flags().BoolVar(&request.JsonLines, "entries", false, "one file entries.jsonl in place of the files of the log")
	return c
}

// export copies a log into a new or empty folder.
func (a *app) export(ctx context.Context, c *client, request *passerellev1.ExportLogRequest, dir string) (files int, size uint64,
	err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return 0, 0, err
	}
	if list, err := os.ReadDir(dir); err != nil || len(list) > 0 {
		return 0, 0, errors.Join(err, fmt.Errorf("%s is not empty", dir))
	}
	// What the gateway names stays below dir, whatever it names.
	root, err := os.OpenRoot(dir)
	if err != nil {
		return 0, 0, err
	}
	defer root.Close()
	head, err := c.audit().GetCheckpoint(ctx, &passerellev1.GetCheckpointRequest{Log: request.GetLog()})
	if err != nil {
		return 0, 0, err
	}
	if err := root.WriteFile(keyFile, []byte(strings.TrimSpace(head.GetVerifierKey())+"\n"), 0o644); err != nil {
		return 0, 0, err
	}
	stream, err := c.audit().ExportLog(ctx, request)
	if err != nil {
		return 0, 0, err
	}
	bar := a.bar()
	defer bar.clear()
	var f *os.File
	defer func() {
		if f != nil {
			f.Close()
		}
	}()
	for offset := uint64(0); ; {
		m, err := stream.Recv()
		if errors.Is(err, io.EOF) && f == nil {
			return files, size, nil
		}
		if err != nil {
			return 0, 0, err
		}
		if f == nil {
			offset = 0
			if err := root.MkdirAll(filepath.Dir(filepath.FromSlash(m.GetPath())), 0o755); err != nil {
				return 0, 0, err
			}
			if f, err = root.OpenFile(filepath.FromSlash(m.GetPath()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644); err != nil {
				return 0, 0, err
			}
		}
		if m.GetOffset() != offset {
			return 0, 0, errors.New("the gateway sent the parts of a file out of order")
		}
		if _, err := f.Write(m.GetData()); err != nil {
			return 0, 0, err
		}
		offset += uint64(len(m.GetData()))
		size += uint64(len(m.GetData()))
		bar.show("copying, bytes", size, 0)
		if m.GetLast() {
			if err := f.Close(); err != nil {
				return 0, 0, err
			}
			f = nil
			files++
		}
	}
}

func (a *app) auditVerifyCommand() *cobra.Command {
	var proof, entryFile, key string
	var request passerellev1.VerifyLogRequest
	var log logFlag
	c := &cobra.Command{
		Use:   "verify [DIR]",
		Short: "Check a whole log, or one proof",
		Long: "Checks a copy of a log in DIR, or one entry with its proof (--proof, --entry). Without either, the gateway checks its\n" +
			"own log: to rely on nobody, export the log and check the copy. --key is the log's verifier key, one line, or a file\n" +
			"with it; the neighbour's is in its invite. Without --key the key beside the copy is used, which only shows that the\n" +
			"copy is consistent.\n\n" +
			"The small program passerelle-verify does the same, and can be read in an hour.",
		Args: arguments(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			switch {
			case proof != "" && (entryFile == "" || key == "" || len(args) > 0):
				return usagef("--proof needs --entry and --key, and no DIR")
			case proof != "":
				return a.verifyProof(proof, entryFile, key)
			case len(args) == 1:
				return a.verifyFolder(args[0], key)
			}
			which, err := log.parse()
			if err != nil {
				return err
			}
			request.Log = which
			return a.stream(cmd, func(ctx context.Context, c *client) error {
				r, err := c.audit().VerifyLog(ctx, &request)
				if err != nil {
					return err
				}
				return a.printVerified(r)
			})
		},
	}
	f := c.Flags()
	f.StringVar(&proof, "proof", "", "proof to check (.tlog-proof)")
	f.StringVar(&entryFile, "entry", "", "entry that the proof is about")
	f.StringVar(&key, "key", "", "verifier key of the log, or a file with it")
	log.add(c)
	addControl(c, &request.Control, "integrity")
	return c
}

// printVerified prints what the gateway found in its own log, and fails if that
// is a fault.
func (a *app) printVerified(r *passerellev1.VerifyLogResponse) error {
	if a.json {
		if err := a.printJSON(r); err != nil {
			return err
		}
	} else if !r.GetOk() {
		a.outf("The log does NOT verify: %s\n", printable(r.GetFault()))
		if r.GetIndex() >= 0 {
			a.outf("The first wrong entry is number %d.\n", r.GetIndex())
		}
	} else {
		a.outf("Every entry, tile and the root hash are as the checkpoint says, in %s.\n", plural(r.GetFiles(), "file"))
		t := newTable(a.stdout, "", "KIND", "ENTRIES")
		for _, k := range slices.Sorted(maps.Keys(r.GetKinds())) {
			t.row(k, r.GetKinds()[k])
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if !r.GetOk() {
		return exited(exitFailed)
	}
	return nil
}

// verifier reads a verifier key, or the file that has it.
func (a *app) verifier(key string) (note.Verifier, error) {
	if !strings.Contains(key, "+") {
		b, err := a.readFile(key)
		if err != nil {
			return nil, err
		}
		key = strings.TrimSpace(string(b))
	}
	v, err := note.NewVerifier(key)
	if err != nil {
		return nil, fmt.Errorf("--key is not a verifier key: %w", err)
	}
	return v, nil
}

func (a *app) verifyProof(proof, entryFile, key string) error {
	v, err := a.verifier(key)
	if err != nil {
		return err
	}
	p, err := a.readFile(proof)
	if err != nil {
		return err
	}
	e, err := a.readFile(entryFile)
	if err != nil {
		return err
	}
	index, checkpoint, err := entry.CheckProof(e, p, v)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"ok": true, "origin": checkpoint.Origin, "index": index, "size": checkpoint.Size})
	}
	a.outf("The entry is number %d of the log %s, which had %d entries then.\n", index, printable(checkpoint.Origin), checkpoint.Size)
	return nil
}

func (a *app) verifyFolder(dir, key string) error {
	trusted := key != ""
	if !trusted {
		key = filepath.Join(dir, keyFile)
	}
	v, err := a.verifier(key)
	if err != nil {
		return err
	}
	r, err := entry.VerifyFolder(os.DirFS(dir), v)
	if err != nil {
		return err
	}
	if a.json {
		return a.printJSON(map[string]any{"ok": true, "origin": r.Origin, "size": r.Size, "root": hex.EncodeToString(r.Root[:]),
			"kinds": r.Kinds, "files": r.Files, "key_given": trusted})
	}
	a.outf("Log      %s\nEntries  %d, all under the checkpoint\nRoot     %x\nFiles    %d\n", printable(r.Origin), r.Size, r.Root, r.Files)
	if r.Size > 0 {
		a.outf("Time     %s to %s\n", time.UnixMilli(r.First).UTC().Format(time.RFC3339), time.UnixMilli(r.Last).UTC().Format(time.RFC3339))
	}
	if !trusted {
		a.notef("The key came with the copy: compare it with the one that you know, or give --key.\n")
	}
	return nil
}

func (a *app) auditOpenCommand() *cobra.Command {
	var key, control, theirFile string
	c := &cobra.Command{
		Use:   "open QUERY-ID",
		Short: "Open what was asked and why, with the auditor's key",
		Long: "Opens the content that was sealed to the auditor when a query was asked: who asked, for whom, and why. Then it\n" +
			"computes the request again, byte for byte, and compares it with what both countries logged and signed: an officer\n" +
			"who asked for somebody else than the content says is found, and the exit code is 1.\n\n" +
			"The gateway serves the ciphertext only; the identity is used on this machine. The read is an entry of the internal\n" +
			"log. The holder's auditor can give you its entry of the query (`audit prove`, the .entry file) for --their-entry.",
		Args: arguments(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := need(cmd, "key"); err != nil {
				return err
			}
			id, err := query.ParseID(args[0])
			if err != nil {
				return usagef("%q is not a query id", args[0])
			}
			b, err := a.readFile(key)
			if err != nil {
				return err
			}
			identity, err := sealed.ParseIdentity(strings.TrimSpace(string(b)))
			if err != nil {
				return fmt.Errorf("%s: %w", key, err)
			}
			var theirs *entry.Entry
			if theirFile != "" {
				if b, err = a.readFile(theirFile); err != nil {
					return err
				}
				if theirs, err = entry.ParseEntry(b); err != nil {
					return fmt.Errorf("%s: %w", theirFile, err)
				}
			}
			return a.call(cmd, func(ctx context.Context, c *client) error {
				return a.openQuery(ctx, c, identity, id, control, theirs)
			})
		},
	}
	c.Flags().StringVar(&key, "key", "", "file with the auditor's identity (required)")
	c.Flags().StringVar(&theirFile, "their-entry", "", "the holder's entry of the query, from the holder's auditor")
	addControl(c, &control, "lawfulness")
	return c
}

// openQuery opens the content of a query, computes the request again from it, and
// compares that with what both countries said of it. It believes the gateway in
// nothing that can be computed here.
func (a *app) openQuery(ctx context.Context, c *client, identity sealed.Identity, id query.ID, control string,
	theirs *entry.Entry) error {
	r, err := c.audit().GetSealed(ctx, &passerellev1.GetSealedRequest{QueryId: id.String(), Control: control})
	if err != nil {
		return err
	}
	content, err := inspect.Open(identity, r.GetCiphertext(), id, r.GetEntry())
	if err != nil {
		return err
	}
	known, err := c.audit().ShowQuery(ctx, &passerellev1.ShowQueryRequest{QueryId: id.String(), Control: control})
	if err != nil {
		return err
	}
	evidence := inspect.Evidence{Intent: r.GetEntry(), Theirs: theirs, Receipt: known.GetReceipt(), Officer: r.GetOfficer()}
	if len(evidence.Receipt) == 0 {
		evidence.Receipt = nil
	}
	if k := known.GetHolderKey(); len(k) == ed25519.PublicKeySize {
		evidence.HolderKey = k
	}
	if k := r.GetOfficerKey(); len(k) == ed25519.PublicKeySize {
		evidence.OfficerKey = k
	}
	if len(r.GetRequestHeader()) > 0 {
		if evidence.Header, err = query.ParseHeader(r.GetRequestHeader()); err != nil {
			return err
		}
	}
	for _, e := range known.GetEntries() {
		parsed, err := entry.ParseEntry(e.GetEntry().GetRaw())
		if err != nil {
			return err
		}
		if e.GetEntry().GetLog() == passerellev1.Log_LOG_SHARED && parsed.Kind != entry.KindIntent {
			evidence.Ours = append(evidence.Ours, parsed)
		}
	}
	v := inspect.Recompute(content, evidence)
	if a.json {
		err = a.jsonContent(content, v)
	} else {
		err = a.printContent(content, v)
	}
	if err == nil && v.Result == inspect.Different {
		err = exited(exitFailed)
	}
	return err
}

// A verdictReport is a verdict in JSON.
type verdictReport struct {
	Result   inspect.Result `json:"result"`
	Sentence string         `json:"sentence"`
	Digest   string         `json:"request_digest"`
	Checks   []checkReport  `json:"checks"`
}

// A checkReport is one check of a verdict in JSON.
type checkReport struct {
	Name     string         `json:"name"`
	Result   inspect.Result `json:"result"`
	Sentence string         `json:"sentence"`
}

func (a *app) jsonContent(content *query.Content, v inspect.Verdict) error {
	b, err := content.Bytes()
	if err != nil {
		return err
	}
	report := verdictReport{v.Result, v.Sentence, hex.EncodeToString(v.Digest[:]), []checkReport{}}
	for _, c := range v.Checks {
		report.Checks = append(report.Checks, checkReport(c))
	}
	return a.printJSON(map[string]any{"content": json.RawMessage(b), "verdict": report})
}

// printContent prints opened content. It is the only command that prints who was
// asked for.
func (a *app) printContent(content *query.Content, v inspect.Verdict) error {
	a.outf("Query          %s of request %s, to %s\n", content.Query, content.Request, printable(content.Holder))
	a.outf("Officer        %s, unit %s\n", printable(content.Officer), printable(content.Unit))
	a.outf("Case           %s\n", printable(content.CaseReference))
	a.outf("Justification  %s\n", printable(content.Justification))
	a.outf("Subject is     %s\n", printable(content.SubjectCategory))
	if content.ThreatNote != "" {
		a.outf("Threat         %s\n", printable(content.ThreatNote))
	}
	a.outf("\n%s; lookup keys as they were hidden in the request:\n", plural(len(content.Items), "subject"))
	for i, item := range content.Items {
		ref := item.Ref
		if ref == "" {
			ref = "(no reference)"
		}
		a.outf("  %d  %s\n", i+1, printable(ref))
		for j, k := range item.Keys {
			if len(k) > 0 && j < len(content.Batches) {
				a.outf("     %-10s %s\n", printable(content.Batches[j].Class), keyText(k))
			}
		}
	}
	a.outf("\nThe request computed again: %s\n", printable(v.Sentence))
	t := newTable(a.stdout, "  ", "CHECK", "RESULT", "WHAT")
	for _, c := range v.Checks {
		result := string(c.Result)
		if c.Result == inspect.Different {
			result = "DIFFERENT"
		}
		t.row(c.Name, result, c.Sentence)
	}
	return t.flush()
}

// keyText returns the fields of a lookup key (proto/SPEC.md, "Lookup keys"), or
// its bytes in hexadecimal if it has another form.
func keyText(k []byte) string {
	var fields []string
	s := cryptobyte.String(k)
	var class cryptobyte.String
	if !s.ReadUint8LengthPrefixed(&class) || !s.Skip(2) {
		return hex.EncodeToString(k)
	}
	for !s.Empty() {
		var f cryptobyte.String
		if !s.ReadUint16LengthPrefixed(&f) {
			return hex.EncodeToString(k)
		}
		fields = append(fields, printable(string(f)))
	}
	return strings.Join(fields, " ")
}
