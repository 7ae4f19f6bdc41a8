package main

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/passerelle/passerelle/crypto/sealed"
	"github.com/passerelle/passerelle/gateway/agreement"
	"github.com/passerelle/passerelle/gateway/audit/entry"
	"github.com/passerelle/passerelle/gateway/officer"
	"github.com/passerelle/passerelle/gateway/peer"
	"github.com/passerelle/passerelle/gateway/query"
	passerellev1 "github.com/passerelle/passerelle/proto/passerelle/v1"
)

func TestUsage(t *testing.T) {
	t.Parallel()
	empty := t.TempDir()
	tests := []struct {
		args string
		want int
		err  string // in stderr
	}{
		{"", exitUsage, "Officers:"},
		{"version", exitDone, ""},
		{"help", exitDone, ""},
		{"help runbook", exitDone, ""},
		{"help lookup", exitDone, ""},
		{"help nonsense", exitUsage, "no manual and no command"},
		{"lookup --help", exitDone, ""},
		{"loookup", exitUsage, "did you mean lookup"},
		{"peer", exitUsage, "invite"},
		{"peer aks", exitUsage, "no command"},
		{"peer end", exitUsage, "arg"},
		{"peer end arcadia.example", exitUsage, "--reason is required"},
		{"status now", exitUsage, "one argument too many"},
		{"lookup --nonsense", exitUsage, "unknown flag"},
		{"lookup", exitUsage, "whom to ask for"},
		{"lookup --name A --born 1974", exitUsage, "--purpose is required; --legal-basis is required"},
		{"lookup --name A --purpose p --legal-basis b", exitUsage, "no lookup key"},
		{"ingest flowers list.csv --collection c", exitUsage, "not a kind"},
		{"ingest watchlist a b --collection c --replace", exitUsage, "--replace"},
		{"candidate list --since yesterday", exitUsage, "--since"},
		{"candidate list --state lost", exitUsage, "--state"},
		{"audit list --log secret", exitUsage, "--log"},
		{"audit prove first --out x", exitUsage, "not the index"},
		{"audit verify --proof p", exitUsage, "--entry and --key"},
		{"audit open nonsense --key k", exitUsage, "not a query id"},
		{"officer add k-1 --unit u --role king --out d", exitUsage, "unknown role"},
		{"officer add k-1 --unit u --role asking", exitUsage, "--out DIR"},
		{"officer add k-1 --unit u --role asking --trained x --out d", exitUsage, "COURSE="},
		{"officer add --consent 12", exitUsage, "16 hexadecimal digits"},
		{"officer add k-1 --consent 0123456789abcdef", exitUsage, "takes no ID"},
		{"agreement new --peer x", exitUsage, "--collection is required"},
		{"agreement new --from f --days 3", exitUsage, "do not go together"},
		{"init " + empty, exitUsage, "passerelle audit keygen"},
		{"init " + empty + " --auditor " + empty + "/none --country UTO --trust-domain t --agency a --agency-code a --listen :1", exitUsage,
			"neither a recipient nor a file"},
		{"init " + empty + " --auditor passerelle-recipient1x --country UTO --trust-domain t --agency a --agency-code a --listen :1", exitUsage,
			"not a recipient"},
		{"serve", exitUsage, "--config is required"},
		{"status --gateway " + empty, exitFailed, "there is no passerelle.yaml"},
		{"status --gateway unix:" + empty + "/s", exitUsage, "--identity DIR"},
		{"status --gateway unix:" + empty + "/s --identity " + empty, exitUsage, "no identity in"},
		{"policy check " + empty + "/none", exitFailed, "no such file"},
	}
	for _, tt := range tests {
		code, out, errOut := command(t, "", strings.Fields(tt.args)...)
		if code != tt.want || !strings.Contains(errOut, tt.err) {
			t.Errorf("passerelle %s: exit code %d, want %d; stderr %q", tt.args, code, tt.want, errOut)
		}
		if code != exitDone && out != "" {
			t.Errorf("passerelle %s: failed, and printed on stdout: %q", tt.args, out)
		}
	}
}

func TestNoGateway(t *testing.T) {
	t.Parallel()
	f := start(t)
	_, dir := f.enrol(t, "k-1")
	code, _, errOut := command(t, "", "status", "--gateway", "unix:"+f.socket+"x", "--identity", dir)
	if code != exitFailed || !strings.Contains(errOut, "our gateway is not running") {
		t.Errorf("exit code %d, want 1; stderr %q", code, errOut)
	}
	// What answers has the right bundle and another name.
	code, _, errOut = command(t, "", f.as(dir, "status", "--gateway-name", "other")...)
	if code != exitFailed || !strings.Contains(errOut, "is not spiffe://"+domain+"/gateway/other") {
		t.Errorf("exit code %d, want 1; stderr %q", code, errOut)
	}
	// Another country's authority.
	stranger := start(t)
	code, _, errOut = command(t, "", stranger.as(dir, "status")...)
	if code != exitFailed || !strings.Contains(errOut, "is not spiffe://") {
		t.Errorf("exit code %d, want 1; stderr %q", code, errOut)
	}
	// An officer whom the gateway does not know.
	f.mu.Lock()
	clear(f.keys)
	f.mu.Unlock()
	_, other := stranger.enrol(t, "k-2")
	bundle, err := os.ReadFile(filepath.Join(dir, "bundle.pem"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(other, "bundle.pem"), bundle, 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, errOut = command(t, "", f.as(other, "status")...)
	if code != exitFailed || !strings.Contains(errOut, "not enrolled") {
		t.Errorf("exit code %d, want 1; stderr %q", code, errOut)
	}
}

// TestReasons checks that every reason of the protocol has its words, and that no
// other has.
func TestReasons(t *testing.T) {
	t.Parallel()
	for n, name := range passerellev1.ErrorReason_name {
		name = strings.TrimPrefix(name, "ERROR_REASON_")
		if r, ok := reasons[name]; ok == (n == 0) || ok && (r.what == "" || r.do == "") {
			t.Errorf("%s: text is there = %v", name, ok)
		}
	}
	if got, want := len(reasons), len(passerellev1.ErrorReason_name)-1; got != want {
		t.Errorf("%d reasons, want %d", got, want)
	}
	for reason, want := range map[string]int{"POLICY_DENIED": 3, "BUDGET_EXHAUSTED": 3, "ROLE_REQUIRED": 3, "AGREEMENT_EXPIRED": 3,
		"AGREEMENT_UNKNOWN": 3, "PEER_UNREACHABLE": 4, "NOT_ENROLLED": 1, "INTERNAL": 1, "": 1} {
		if got := exitOf(reason); got != want {
			t.Errorf("exit code of %q = %d, want %d", reason, got, want)
		}
	}
}

// TestInternal checks that a fault of the gateway is shown with the id under which
// its log has the detail.
func TestInternal(t *testing.T) {
	t.Parallel()
	f := start(t)
	_, dir := f.enrol(t, "k-1")
	f.status = func() (*passerellev1.GetStatusResponse, error) {
		return nil, refused(codes.Internal, "INTERNAL", nil, 0)
	}
	code, out, errOut := command(t, "", f.as(dir, "status", "--json")...)
	if code != exitFailed || !strings.Contains(errOut, "request 0123456789abcdef in that log") || !strings.Contains(out, `"request":"0123456789abcdef"`) {
		t.Errorf("exit code %d, want 1; stdout %q, stderr %q", code, out, errOut)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	f := explain(refused(codes.ResourceExhausted, "BUDGET_EXHAUSTED", map[string]string{"denials": "[{"}, 90*time.Minute))
	if f.Code != exitDenied || f.RetryAfter != 5400000 || f.Denials != nil {
		t.Errorf("explained as %+v", f)
	}
	var b bytes.Buffer
	f.print(&b, "p: ", "")
	if got, want := b.String(), "p: the budget of the agreement is used up (BUDGET_EXHAUSTED): wait until it is renewed; again in 1h30m0s\n"; got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
	if f := explain(context.DeadlineExceeded); !strings.Contains(f.Advice, "--timeout") {
		t.Errorf("explained as %+v", f)
	}
	if f := explain(errors.Join(errors.New("one"), errors.New("two"))); f.Message != "one; two" {
		t.Errorf("message = %q", f.Message)
	}
}

// TestJSON prints an empty and a filled message of every type.
func TestJSON(t *testing.T) {
	t.Parallel()
	n := 0
	protoregistry.GlobalTypes.RangeMessages(func(mt protoreflect.MessageType) bool {
		if mt.Descriptor().ParentFile().Package() != "passerelle.v1" {
			return true
		}
		n++
		m := mt.New()
		if b := appendJSON(nil, m); !json.Valid(b) {
			t.Errorf("%s: %s", mt.Descriptor().Name(), b)
		}
		fill(m, 0)
		if b := appendJSON(nil, m); !json.Valid(b) {
			t.Errorf("%s: %s", mt.Descriptor().Name(), b)
		}
		return true
	})
	if n < 100 {
		t.Errorf("%d messages, want more than 100", n)
	}
	status := &passerellev1.GetStatusResponse{Version: "0.1.0", Started: noon, Ready: true, SharedLogSize: 1 << 60,
		BundleDigest: []byte{0xab, 0xcd}, Components: []*passerellev1.ComponentStatus{{Name: "audit",
			Health: passerellev1.Health_HEALTH_OK, Sentence: "\"quoted\"\n\xff"}}}
	golden(t, "status.json", string(appendJSON(nil, status.ProtoReflect()))+"\n")
}

// fill sets every field.
func fill(m protoreflect.Message, depth int) {
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		value := func() protoreflect.Value {
			switch f.Kind() {
			case protoreflect.MessageKind:
				v := m.NewField(f)
				if f.IsList() {
					v = v.List().NewElement()
				}
				if depth < 4 {
					fill(v.Message(), depth+1)
				}
				return v
			case protoreflect.StringKind:
				return protoreflect.ValueOfString("te\"xt\x00\u2028")
			case protoreflect.BytesKind:
				return protoreflect.ValueOfBytes([]byte("by\"tes\xff"))
			case protoreflect.BoolKind:
				return protoreflect.ValueOfBool(true)
			case protoreflect.EnumKind:
				return protoreflect.ValueOfEnum(1)
			case protoreflect.Uint32Kind:
				return protoreflect.ValueOfUint32(1 << 31)
			case protoreflect.Uint64Kind:
				return protoreflect.ValueOfUint64(1 << 63)
			case protoreflect.Int64Kind:
				return protoreflect.ValueOfInt64(-1 << 62)
			}
			return f.Default()
		}
		switch {
		case f.IsMap():
			mp := m.Mutable(f).Map()
			mp.Set(protoreflect.ValueOfString("b").MapKey(), protoreflect.ValueOfUint64(2))
			mp.Set(protoreflect.ValueOfString("a\"").MapKey(), protoreflect.ValueOfUint64(1))
		case f.IsList():
			m.Mutable(f).List().Append(value())
		default:
			m.Set(f, value())
		}
	}
}

func TestTable(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	table := newTable(&b, "  ", "NAME", "N", "WHAT")
	table.row("a", 10, "x\x1b[2J\ty")
	table.row("long name", "", "")
	if err := table.flush(); err != nil {
		t.Fatal(err)
	}
	want := "  NAME       N   WHAT\n  a          10  x\uFFFD[2J\uFFFDy\n  long name  -   -\n"
	if got := b.String(); got != want {
		t.Errorf("got\n%q, want\n%q", got, want)
	}
}

func TestBar(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	now := time.Unix(0, 0)
	x := &bar{w: &b, now: func() time.Time { return now }, begun: now}
	x.show("a", 1, 2)
	x.clear()
	if b.Len() != 0 {
		t.Errorf("drawn at once: %q", b.String())
	}
	now = now.Add(progressAfter)
	x.show("a", 1, 2)
	x.show("a", 2, 2) // too soon after the last
	x.clear()
	if got, want := b.String(), "\r\x1b[Ka  [###############...............]  50 %\r\x1b[K"; got != want {
		t.Errorf("drawn %q, want %q", got, want)
	}
}

func TestIngest(t *testing.T) {
	t.Parallel()
	f := start(t)
	_, dir := f.enrol(t, "a-1")
	data := bytes.Repeat([]byte("0123456789abcdef"), 40<<10) // 640 KiB
	name := ""
	f.ingest = func(s passerellev1.AdminService_IngestRecordsServer) error {
		first, err := s.Recv()
		if err != nil {
			return err
		}
		h := first.GetHeader()
		if h.GetCollection() != "watchlist" || h.GetKind() != "watchlist" || h.GetFilename() != name || !h.GetDryRun() {
			t.Errorf("header = %v", h)
		}
		var got []byte
		for {
			m, err := s.Recv()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return err
			}
			if n := len(m.GetData()); n > chunk {
				t.Errorf("%d bytes in one message", n)
			}
			got = append(got, m.GetData()...)
		}
		if !bytes.Equal(got, data) {
			t.Errorf("%d bytes arrived, want %d", len(got), len(data))
		}
		return s.SendAndClose(&passerellev1.IngestRecordsResponse{Format: "csv", Read: 1203, Added: 1200, Rejected: 3, Total: 1200,
			LookupKeys: 4800, Rejections: []*passerellev1.Rejection{{Line: 17, Field: "birth", Reason: "not a date: want YYYY-MM-DD"},
				{Line: 99, Reason: "no name and no document"}}, WithoutKeys: 1, Gaps: 1,
			GapList: []*passerellev1.Rejection{{Line: 20, Reason: "document 1: issuing State unknown"}},
			Published: []*passerellev1.PublishedList{{Asker: "arcadia.example", ListVersion: 3, Epoch: 1, Tags: 8192, Records: 1180,
				Withheld: 20, WithheldBy: map[string]uint64{"RU-29": 19, "RU-21": 1}, Published: noon}}, NotPublished: []string{"borduria.example"}})
	}
	flags := f.as(dir, "ingest", "watchlist", "-", "--collection", "watchlist", "--dry-run")
	name = "stdin"
	code, out, errOut := command(t, string(data), flags...)
	if code != exitDone || !strings.HasPrefix(errOut, "Not published for borduria.example") {
		t.Errorf("exit code %d, want 0; stderr %q", code, errOut)
	}
	golden(t, "ingest", out)
	_, out, _ = command(t, string(data), append(flags, "--json")...)
	golden(t, "ingest.json", out)

	file := filepath.Join(t.TempDir(), "list.csv")
	if err := os.WriteFile(file, data, 0o600); err != nil {
		t.Fatal(err)
	}
	name = "list.csv"
	flags[2] = file
	if code, _, errOut := command(t, "", append(flags, "--json")...); code != exitDone {
		t.Errorf("exit code %d, want 0; stderr %q", code, errOut)
	}
}

// TestIngestRefused checks that the gateway's reason is shown, and not that the
// stream broke.
func TestIngestRefused(t *testing.T) {
	t.Parallel()
	f := start(t)
	_, dir := f.enrol(t, "a-1")
	f.ingest = func(passerellev1.AdminService_IngestRecordsServer) error {
		return refused(codes.PermissionDenied, "ROLE_REQUIRED", nil, 0)
	}
	code, _, errOut := command(t, strings.Repeat("x", 4<<20), f.as(dir, "ingest", "watchlist", "-", "--collection", "w")...)
	if code != exitDenied || !strings.Contains(errOut, "ROLE_REQUIRED") {
		t.Errorf("exit code %d, want 3; stderr %q", code, errOut)
	}
}

func TestPeerAccept(t *testing.T) {
	t.Parallel()
	f := start(t)
	_, dir := f.enrol(t, "a-1")
	pub, key, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	name, err := peer.VerifierKey("border.arcadia.example/statement", pub)
	if err != nil {
		t.Fatal(err)
	}
	other, err := peer.CreateAuthority(t.TempDir(), "border.arcadia.example", time.Now)
	if err != nil {
		t.Fatal(err)
	}
	source, err := other.Source("main")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { source.Close() })
	bundle, err := peer.Authorities(source, "border.arcadia.example")
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now().UTC().Truncate(time.Second)
	invite := &peer.Invite{Version: peer.InviteVersion, TrustDomain: "border.arcadia.example",
		GatewayID: "spiffe://border.arcadia.example/gateway/main", Endpoint: "gw.arcadia.example:7443", Country: "ARC",
		Agency: "Border Police of Arcadia", AgencyCode: "arc-bp", Profile: peer.ProfileInvite, SigningKey: name, LogKey: name, Created: now,
		NotAfter: now.Add(24 * time.Hour), BundleAuthorities: bundle}
	if err := invite.Sign(key); err != nil {
		t.Fatal(err)
	}
	b, err := invite.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	f.accept = func(r *passerellev1.AcceptInviteRequest) (*passerellev1.AcceptInviteResponse, error) {
		if !bytes.Equal(r.GetInvite(), b) || r.GetExpectedFingerprint() != invite.Fingerprint() {
			t.Errorf("fingerprint = %q", r.GetExpectedFingerprint())
		}
		return &passerellev1.AcceptInviteResponse{Peer: &passerellev1.Peer{TrustDomain: "border.arcadia.example",
			Name: "Border Police of Arcadia", Endpoint: "gw.arcadia.example:7443"}}, nil
	}
	code, out, _ := command(t, string(b), f.as(dir, "peer", "accept", "-", "--fingerprint", strings.ToLower(invite.Fingerprint()))...)
	if want := "Added border.arcadia.example (Border Police of Arcadia) at gw.arcadia.example:7443.\n"; code != exitDone || out != want {
		t.Errorf("exit code %d, want 0; stdout %q", code, out)
	}
	f.accept = nil // must not be called any more
	wrong := "AAAAA" + invite.Fingerprint()[5:]
	if wrong == invite.Fingerprint() {
		wrong = "BBBBB" + wrong[5:]
	}
	code, _, errOut := command(t, string(b), f.as(dir, "peer", "accept", "-", "--fingerprint", wrong)...)
	if code != exitFailed || !strings.Contains(errOut, "do not accept it") {
		t.Errorf("wrong fingerprint: exit code %d, want 1; stderr %q", code, errOut)
	}
	if code, _, errOut = command(t, string(b), f.as(dir, "peer", "accept", "-")...); code != exitUsage {
		t.Errorf("no fingerprint: exit code %d, want 2; stderr %q", code, errOut)
	}
}

// TestOfficerAdd makes a change with two administrators and a real register.
func TestOfficerAdd(t *testing.T) {
	t.Parallel()
	f := start(t)
	one, dirOne := f.enrol(t, "a-1")
	two, dirTwo := f.enrol(t, "a-2")
	admin := func(i *officer.Identity) officer.Officer {
		return officer.Officer{ID: i.ID(), Unit: "head-office", Roles: []officer.Role{officer.RoleAdministrator}, PublicKey: i.PublicKey()}
	}
	record, founding, err := officer.Found(admin(one), admin(two), time.Now().Add(-time.Hour).UTC().Truncate(time.Second))
	if err != nil {
		t.Fatal(err)
	}
	register, err := officer.Load([][]byte{record}, founding, func([]byte) error { return nil })
	if err != nil {
		t.Fatal(err)
	}
	f.officers = func() (*passerellev1.ListOfficersResponse, error) {
		sequence, head := register.Head()
		r := &passerellev1.ListOfficersResponse{Sequence: sequence, Head: head[:]}
		for _, p := range register.Pending(time.Now()) {
			b, err := p.Change.Bytes()
			if err != nil {
				return nil, err
			}
			r.Pending = append(r.Pending, &passerellev1.PendingOfficerChange{Change: b, SignedBy: p.Consent.Administrator, Expires: noon})
		}
		return r, nil
	}
	caller := "a-1"
	f.propose = func(r *passerellev1.ProposeOfficerChangeRequest) (*passerellev1.ProposeOfficerChangeResponse, error) {
		c, err := officer.ParseChange(r.GetChange())
		if err != nil {
			return nil, err
		}
		done, err := register.Propose(c, caller, r.GetSignature().GetSignature(), time.Now())
		if err != nil {
			return nil, err
		}
		return &passerellev1.ProposeOfficerChangeResponse{Applied: done, Expires: noon}, nil
	}
	folder := filepath.Join(t.TempDir(), "k-4711")
	flags := []string{"officer", "add", "k-4711", "--unit", "airport-north", "--role", "verifying,asking",
		"--trained", "data-protection=2031-01-31", "--out", folder}
	code, out, errOut := command(t, "", f.as(dirOne, flags...)...)
	if code != exitDone || !strings.Contains(out, "Proposed: enrol k-4711 of unit airport-north as asking, verifying with key ") {
		t.Fatalf("exit code %d, want 0; stdout %q, stderr %q", code, out, errOut)
	}
	_, consent, ok := strings.Cut(errOut, "passerelle ")
	if !ok {
		t.Fatalf("it does not say what to do next: %q", errOut)
	}
	caller = "a-2"
	code, out, errOut = command(t, "", f.as(dirTwo, strings.Fields(consent)...)...)
	if code != exitDone || !strings.HasPrefix(out, "Done: enrol k-4711") {
		t.Fatalf("exit code %d, want 0; stdout %q, stderr %q", code, out, errOut)
	}
	made, err := officer.OpenIdentity(folder)
	if err != nil {
		t.Fatal(err)
	}
	if !register.HasKey("k-4711", made.PublicKey(), time.Now().Add(time.Second)) || made.Bundle() == nil {
		t.Errorf("the folder is not that of the enrolled officer, or has no bundle")
	}
	if code, _, _ := command(t, "", f.as(dirTwo, "officer", "retire", "--consent", "00112233445566778899")...); code != exitFailed {
		t.Errorf("unknown digest: exit code %d, want 1", code)
	}
}

func TestOfficerKeygen(t *testing.T) {
	t.Parallel()
	f := start(t)
	_, admin := f.enrol(t, "a-1")
	dir := filepath.Join(t.TempDir(), "k")
	code, out, errOut := command(t, "", "officer", "keygen", "k-9", "--trust-domain", domain, "--out", dir, "--bundle",
		filepath.Join(admin, "bundle.pem"))
	if code != exitDone {
		t.Fatalf("exit code %d, want 0; stderr %q", code, errOut)
	}
	pub, err := officer.ParsePublicKey(strings.TrimSpace(out))
	if err != nil {
		t.Fatal(err)
	}
	made, err := officer.OpenIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	if !made.PublicKey().Equal(pub) || made.Bundle() == nil {
		t.Errorf("the word is not the key of the folder, or there is no bundle")
	}
}

func sampleAgreement() *agreement.Agreement {
	party := func(country, td string) agreement.Party {
		return agreement.Party{Country: country, TrustDomain: td, Gateway: "spiffe://" + td + "/gateway/main", AgencyCode: "bp",
			Agency: "Border Police", Competences: []string{"border_control"}, LegalBases: []agreement.LegalBasis{{Ref: "s. 12",
				Purposes: []string{"ct"}, Categories: []string{"watchlist"}}}}
	}
	g := agreement.New("uto-arc", party("UTO", domain), party("ARC", "border.arcadia.example"), time.Now().Add(-time.Hour))
	c := agreement.NewCollection("watchlist", domain, "watchlist", "doc", "name+dob")
	c.KeyCommitment = hex.EncodeToString(bytes.Repeat([]byte{7}, 32))
	g.Collections = []agreement.Collection{c}
	g.Purposes = []agreement.Purpose{{Code: "ct", Categories: []string{"watchlist"}}}
	g.Budgets = []agreement.Budget{{Collection: "watchlist", PerDay: 1000, Burst: 100}}
	return g
}

func TestAgreementSign(t *testing.T) {
	t.Parallel()
	f := start(t)
	id, dir := f.enrol(t, "l-1")
	g := sampleAgreement()
	if err := g.Validate(); err != nil {
		t.Fatal(err)
	}
	pub, gatewayKey, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	f.sign = func(r *passerellev1.SignAgreementRequest) (*passerellev1.SignAgreementResponse, error) {
		parsed, err := agreement.Parse(r.GetFile())
		if err != nil {
			return nil, err
		}
		if err := parsed.AddSignature(domain, id.SPIFFEID(), id.PublicKey(), r.GetSignature().GetSignature(), gatewayKey); err != nil {
			t.Errorf("the officer's signature: %v", err)
			return nil, err
		}
		d := parsed.Digest()
		return &passerellev1.SignAgreementResponse{Agreement: &passerellev1.Agreement{Agreement: parsed.ID, Version: 1, Digest: d[:],
			Parties: []string{parsed.Parties[0].TrustDomain, parsed.Parties[1].TrustDomain}, File: parsed.Bytes(),
			Signatures: []*passerellev1.AgreementSignature{{Party: domain, Officer: id.SPIFFEID(), Verified: true}}}}, nil
	}
	file := filepath.Join(t.TempDir(), "agreement.txt")
	if err := os.WriteFile(file, g.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := command(t, "", f.as(dir, "agreement", "sign", file)...)
	if code != exitDone || !strings.HasPrefix(out, "Signed uto-arc version 1, digest "+g.Digest().String()) ||
		!strings.Contains(errOut, "to border.arcadia.example") {
		t.Fatalf("exit code %d, want 0; stdout %q, stderr %q", code, out, errOut)
	}
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	signed, err := agreement.Parse(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := signed.CheckSignature(domain, pub); err != nil {
		t.Error(err)
	}

	// A gateway that gives back another agreement is found out.
	other := sampleAgreement()
	other.Caps.CandidatesPerQuery = 99
	f.sign = func(*passerellev1.SignAgreementRequest) (*passerellev1.SignAgreementResponse, error) {
		return &passerellev1.SignAgreementResponse{Agreement: &passerellev1.Agreement{File: other.Bytes()}}, nil
	}
	code, _, errOut = command(t, "", f.as(dir, "agreement", "sign", file)...)
	if after, err := os.ReadFile(file); code != exitFailed || err != nil || !bytes.Equal(after, b) {
		t.Errorf("another agreement: exit code %d, want 1, and the file as it was; stderr %q", code, errOut)
	}
}

func TestAgreementDraft(t *testing.T) {
	t.Parallel()
	f := start(t)
	_, dir := f.enrol(t, "l-1")
	var draft string
	f.draft = func(r *passerellev1.DraftAgreementRequest) (*passerellev1.DraftAgreementResponse, error) {
		draft = string(r.GetDraft())
		return &passerellev1.DraftAgreementResponse{Faults: []string{"peer: is not a neighbour", "purposes[0]: no such category"}}, nil
	}
	code, out, errOut := command(t, "", f.as(dir, "agreement", "new", "--peer", "border.arcadia.example",
		"--collection", "watchlist:watchlist:doc,name+dob", "--collection", "theirs/documents:document",
		"--purpose", "ct:watchlist,document", "--purpose", "border", "--legal-basis", "ours=Border Act s. 12",
		"--legal-basis", "a=b", "--budget", "1000:100", "--days", "30")...)
	if code != exitFailed || out != "" || !strings.Contains(errOut, "purposes[0]: no such category") {
		t.Errorf("exit code %d, want 1; stdout %q, stderr %q", code, out, errOut)
	}
	golden(t, "draft", draft)
	for _, s := range []string{"", "name", "name:", ":category", "/name:category", "a:b:c:d"} {
		if _, err := parseCollection(s); err == nil {
			t.Errorf("--collection %q is accepted", s)
		}
	}
	for _, s := range []string{"", "0", "-1", "x", "1:2:3:4", "1:"} {
		if _, err := parseBudget(s); err == nil {
			t.Errorf("--budget %q is accepted", s)
		}
	}
}

func TestAuditOpen(t *testing.T) {
	t.Parallel()
	f := start(t)
	_, dir := f.enrol(t, "au-1")
	keyFile := filepath.Join(t.TempDir(), "auditor.key")
	code, out, errOut := command(t, "", "audit", "keygen", "--out", keyFile, "--json")
	if code != exitDone {
		t.Fatalf("exit code %d, want 0; stderr %q", code, errOut)
	}
	var made struct {
		Recipient string `json:"recipient"`
		KeyID     string `json:"key_id"`
	}
	if err := json.Unmarshal([]byte(out), &made); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(keyFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode of the key = %v, want 0600", info.Mode())
	}
	if code, _, _ := command(t, "", "audit", "keygen", "--out", keyFile); code != exitFailed {
		t.Errorf("a key is overwritten")
	}
	recipient, err := sealed.ParseRecipient(made.Recipient)
	if err != nil {
		t.Fatal(err)
	}

	id := query.NewID(time.Now())
	e := entry.Entry{Kind: entry.KindIntent, Time: time.Now().UnixMilli(), Query: id, Direction: entry.DirectionAsked,
		Asker: "spiffe://" + domain + "/gateway/main", Holder: "spiffe://border.arcadia.example/gateway/main", Agreement: "uto-arc",
		AgreementDigest: [32]byte{1}, Purpose: "ct", Collection: "watchlist", Items: 1, Decision: entry.DecisionAllowed, Rules: []string{"RU-01"},
		Bundle: [32]byte{2}, Input: [32]byte{3}, Officer: [16]byte{4}, Unit: [16]byte{5}, Protocol: 1, Normalisation: 1, ListVersion: 7,
		Auditor: recipient.KeyID()}
	leaf, err := e.SealedContext()
	if err != nil {
		t.Fatal(err)
	}
	content := query.Content{Version: query.ContentVersion, Query: id.String(), Request: query.NewID(time.Now()).String(),
		Officer: "spiffe://" + domain + "/officer/k-4711", Unit: "airport-north",
		Asked:     query.Asked{CaseReference: "BP-1187", Justification: "Damaged chip", SubjectCategory: "other"},
		AskDigest: make([]byte, 32), AskSignature: make([]byte, 64), Input: []byte("{}"),
		Holder: "border.arcadia.example", Seed: make([]byte, 32),
		Batches: []query.ContentBatch{{Class: "doc", Epoch: 1, Info: []byte{1}, PublicKey: make([]byte, 32)}},
		Items:   []query.ContentItem{{Ref: "S1", Keys: [][]byte{[]byte("\x03doc\x00\x01\x00\x08passport\x00\x03UTO\x00\x03123")}}}}
	b, err := content.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	ciphertext, err := sealed.Seal(recipient, sealed.Context{QueryID: id, Leaf: leaf}, b)
	if err != nil {
		t.Fatal(err)
	}
	e.Sealed = sealed.Digest(ciphertext)
	raw, err := e.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	answer := &passerellev1.GetSealedResponse{Ciphertext: ciphertext, Entry: raw}
	f.show = func(*passerellev1.ShowQueryRequest) (*passerellev1.ShowQueryResponse, error) {
		return &passerellev1.ShowQueryResponse{}, nil
	}
	f.sealed = func(r *passerellev1.GetSealedRequest) (*passerellev1.GetSealedResponse, error) {
		if r.GetQueryId() != id.String() || r.GetControl() != "lawfulness" {
			t.Errorf("asked for %q, for %q", r.GetQueryId(), r.GetControl())
		}
		return answer, nil
	}
	code, out, errOut = command(t, "", f.as(dir, "audit", "open", id.String(), "--key", keyFile)...)
	if code != exitDone {
		t.Fatalf("exit code %d, want 0; stderr %q", code, errOut)
	}
	golden(t, "open", out)

	// The gateway is not believed: another ciphertext, and another entry.
	other, err := sealed.Seal(recipient, sealed.Context{QueryID: id, Leaf: leaf}, b)
	if err != nil {
		t.Fatal(err)
	}
	e.Sealed, e.Purpose = sealed.Digest(ciphertext), "other"
	moved, err := e.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	for name, wrong := range map[string]*passerellev1.GetSealedResponse{
		"ciphertext": {Ciphertext: other, Entry: raw}, "entry": {Ciphertext: ciphertext, Entry: moved}, "nothing": {},
	} {
		answer = wrong
		if code, out, _ := command(t, "", f.as(dir, "audit", "open", id.String(), "--key", keyFile)...); code != exitFailed || out != "" {
			t.Errorf("another %s: exit code %d, want 1; stdout %q", name, code, out)
		}
	}
}

func TestAuditExport(t *testing.T) {
	t.Parallel()
	f := start(t)
	_, dir := f.enrol(t, "au-1")
	parts := []*passerellev1.ExportLogResponse{
		{Path: "tile/0/000", Data: []byte("ab")}, {Path: "tile/0/000", Offset: 2, Data: []byte("c"), Last: true},
		{Path: "checkpoint", Data: []byte("note"), Last: true},
	}
	f.exportLog = func(s passerellev1.AuditService_ExportLogServer) error {
		for _, p := range parts {
			if err := s.Send(p); err != nil {
				return err
			}
		}
		return nil
	}
	out := filepath.Join(t.TempDir(), "copy")
	code, _, errOut := command(t, "", f.as(dir, "audit", "export", out)...)
	if code != exitDone {
		t.Fatalf("exit code %d, want 0; stderr %q", code, errOut)
	}
	if b, err := os.ReadFile(filepath.Join(out, "tile/0/000")); err != nil || string(b) != "abc" {
		t.Errorf("tile = %q, %v", b, err)
	}
	for name, wrong := range map[string][]*passerellev1.ExportLogResponse{
		"outside":      {{Path: "../escaped", Data: []byte("x"), Last: true}},
		"absolute":     {{Path: filepath.Join(t.TempDir(), "escaped"), Data: []byte("x"), Last: true}},
		"twice":        {{Path: "a", Last: true}, {Path: "a", Last: true}},
		"out of order": {{Path: "a", Data: []byte("x"), Offset: 1}},
		"half":         {{Path: "a", Data: []byte("x")}},
	} {
		parts = wrong
		if code, _, _ := command(t, "", f.as(dir, "audit", "export", filepath.Join(t.TempDir(), "copy"))...); code != exitFailed {
			t.Errorf("%s: exit code %d, want 1", name, code)
		}
	}
	if code, _, _ := command(t, "", f.as(dir, "audit", "export", out)...); code != exitFailed {
		t.Errorf("a folder that is not empty: exit code %d, want 1", code)
	}
}

func TestSync(t *testing.T) {
	t.Parallel()
	f := start(t)
	_, dir := f.enrol(t, "a-1")
	f.syncPeers = func(s passerellev1.AdminService_SyncPeersServer) error {
		for _, r := range []*passerellev1.SyncResult{
			{Holder: "arcadia.example", Collection: "watchlist", ToVersion: 3, Tags: 4096, Bytes: 98_304},
			{Holder: "borduria.example", Collection: "watchlist", FromVersion: 9, ToVersion: 9, Refusal: &passerellev1.Refusal{
				Reason: passerellev1.ErrorReason_ERROR_REASON_PEER_UNREACHABLE, RetryAfterMs: 30_000}},
		} {
			if err := s.Send(&passerellev1.SyncPeersResponse{Message: &passerellev1.SyncPeersResponse_Result{Result: r}}); err != nil {
				return err
			}
		}
		return nil
	}
	code, out, _ := command(t, "", f.as(dir, "sync")...)
	if code != exitUnreachable {
		t.Errorf("exit code %d, want 4", code)
	}
	golden(t, "sync", out)
	code, out, _ = command(t, "", f.as(dir, "sync", "--json")...)
	if code != exitUnreachable || strings.Count(out, "\n") != 2 {
		t.Errorf("with --json: exit code %d, want 4; stdout %q", code, out)
	}
}

func TestStatus(t *testing.T) {
	t.Parallel()
	f := start(t)
	_, dir := f.enrol(t, "a-1")
	f.status = func() (*passerellev1.GetStatusResponse, error) {
		return &passerellev1.GetStatusResponse{Version: "0.1.0", SpiffeId: "spiffe://" + domain + "/gateway/main", Started: noon,
			SvidNotAfter: noon, SharedLogSize: 42, InternalLogSize: 7, OldestUnpublishedMs: 350, BundleRevision: "8340449a57474688",
			Warnings: []string{"agreement uto-arc ends in 30 days"},
			Components: []*passerellev1.ComponentStatus{{Name: "audit", Health: passerellev1.Health_HEALTH_FAILED, Sentence: "disk full: see the runbook"},
				{Name: "store", Health: passerellev1.Health_HEALTH_OK}},
			Collections: []*passerellev1.CollectionStatus{{Collection: "documents"}, {Collection: "watchlist", Records: 1200, Ingested: noon,
				Lists: []*passerellev1.PublishedList{{Asker: "arcadia.example", ListVersion: 3, Epoch: 1, Tags: 4096, Published: noon}}}}}, nil
	}
	code, out, _ := command(t, "", f.as(dir, "status")...)
	if code != exitFailed {
		t.Errorf("exit code %d, want 1, because it is not ready", code)
	}
	golden(t, "status", out)
	code, out, _ = command(t, "", f.as(dir, "doctor")...)
	if code != exitFailed || !strings.Contains(out, "disk full") {
		t.Errorf("doctor: exit code %d, want 1; stdout %q", code, out)
	}
}

func TestConfigCheck(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "passerelle.yaml")
	if err := os.WriteFile(file, []byte("trust_domain: UPPER\ncountry: UTO\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := command(t, "", "config", "check", file)
	if code != exitFailed || out != "" || strings.Count(errOut, "\n") < 3 || !strings.Contains(errOut, "trust_domain") {
		t.Errorf("exit code %d, want 1; stdout %q, stderr %q", code, out, errOut)
	}
	if err := os.WriteFile(file, []byte("nonsense: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut := command(t, "", "config", "check", file); code != exitFailed || !strings.Contains(errOut, "nonsense") {
		t.Errorf("unknown key: exit code %d, want 1; stderr %q", code, errOut)
	}
}

// TestPolicyTest is about rules that do not compile. The built-in ones, whose
// tests take a while with the race detector, are run by .ci/run.
func TestPolicyTest(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bad.rego"), []byte("package nonsense\nx := {"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, _ := command(t, "", "policy", "check", dir, "--json")
	if code != exitFailed || !strings.Contains(out, `"file":"bad.rego","line":2`) {
		t.Errorf("bad rules: exit code %d, want 1; stdout %q", code, out)
	}
	if code, out, _ := command(t, "", "policy", "test", dir); code != exitFailed || !strings.Contains(out, "bad.rego:2") {
		t.Errorf("bad rules: exit code %d, want 1; stdout %q", code, out)
	}
}

func TestInitFlags(t *testing.T) {
	t.Parallel()
	admins, err := parseAdmins([]string{"a-1:legal,auditor", "a-2"})
	if err != nil || admins[0].ID != "a-1" || len(admins[0].Roles) != 2 || admins[1].ID != "a-2" {
		t.Errorf("admins = %+v, %v", admins, err)
	}
	for _, list := range [][]string{{"a-1"}, {"a", "b", "c"}, {"a-1:king", "a-2"}} {
		if _, err := parseAdmins(list); err == nil {
			t.Errorf("--admin %q is accepted", list)
		}
	}
	if _, err := parseCollections([]string{"watchlist"}); err == nil {
		t.Errorf("--collection without a category is accepted")
	}
}

func TestShown(t *testing.T) {
	t.Parallel()
	if got := shown(nil) + shown(&timestamppb.Timestamp{}) + day(nil); got != "" {
		t.Errorf("unset times are shown as %q", got)
	}
	for n, want := range map[uint64]string{9: "9 B", 98_304: "98.3 kB", 12_000_000: "12.0 MB"} {
		if got := bytesOf(n); got != want {
			t.Errorf("bytesOf(%d) = %q, want %q", n, got, want)
		}
	}
}
