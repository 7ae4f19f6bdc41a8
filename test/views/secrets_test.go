package views_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/passerelle/passerelle/gateway"
	"github.com/passerelle/passerelle/gateway/asker"
	"github.com/passerelle/passerelle/gateway/inspect"
	"github.com/passerelle/passerelle/gateway/query"
	"github.com/passerelle/passerelle/gateway/record"
	"github.com/passerelle/passerelle/gateway/store"
	pb "github.com/passerelle/passerelle/proto/passerelle/v1"
)

// standard is what the packages that know no slog print: those of dependencies.
var standard sink

func TestMain(m *testing.M) {
	log.SetOutput(&standard)
	os.Exit(m.Run())
}

// A keyFile is a file with a secret, as the test reads it.
type keyFile struct {
	path   string // below the folder of the gateway
	secret []byte
}

// keyFiles returns every file below a gateway's folder that holds a private key.
func (n *nation) keyFiles(t testing.TB) []keyFile {
	t.Helper()
	var all []keyFile
	err := filepath.WalkDir(n.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		rel, _ := filepath.Rel(n.dir, path)
		rel = filepath.ToSlash(rel)
		top, _, _ := strings.Cut(rel, "/")
		if !slices.Contains([]string{"wrapping", "keys", "authority", "officers"}, top) {
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		block, _ := pem.Decode(b)
		switch {
		case top == "wrapping" && strings.HasSuffix(rel, ".wrap"):
			all = append(all, keyFile{rel, b})
		case block == nil || block.Type == "CERTIFICATE":
		case block.Type == "PRIVATE KEY":
			k, err := x509.ParsePKCS8PrivateKey(block.Bytes)
			if err != nil {
				return err
			}
			switch k := k.(type) {
			case ed25519.PrivateKey:
				all = append(all, keyFile{rel, k.Seed()})
			case *ecdsa.PrivateKey:
				d, err := k.Bytes()
				if err != nil {
					return err
				}
				all = append(all, keyFile{rel, d})
			default:
				return fmt.Errorf("a key of type %T", k)
			}
		default:
			all = append(all, keyFile{rel, block.Bytes})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// canaries returns a sweeper for every secret of all nations, and for everybody who
// is asked for or listed.
func (w *world) canaries(t *testing.T) *sweeper {
	t.Helper()
	s := new(sweeper)
	for _, n := range w.all() {
		files := n.keyFiles(t)
		// Statement, two logs, pseudonyms, an epoch for each of two collections, the
		// authority, two administrators and three officers.
		if len(files) < 12 {
			t.Fatalf("control: %d key files of %s", len(files), n.name)
		}
		for _, f := range files {
			if len(f.secret) != 32 {
				t.Errorf("control: the secret in %s has %d bytes", f.path, len(f.secret))
			}
			s.secret("secret of "+f.path, f.secret)
		}
		for _, collection := range []string{"watchlist", "documents"} {
			key := epochKey(t, n, collection, 1)
			s.secret("key of an epoch", key.Bytes())
		}
		identity := n.auditor.Reveal()
		for i := 30; i+24 <= len(identity); i += 24 {
			s.plain("identity of the auditor", identity[i:i+24])
		}
	}
	for i := range listedPeople {
		p := person(i)
		s.subject("a listed person", &p)
	}
	for i := firstUnknown; i < firstUnknown+12; i++ {
		p := person(i)
		s.subject("a subject", &p)
		s.plain("reference of a subject", p.Ref)
	}
	s.text("case reference", caseReference)
	s.text("justification", justification)
	s.text("threat note", threatNote)
	for _, word := range strings.Fields(justification + " " + threatNote) {
		if len(word) >= 12 {
			s.text("word of the justification", word)
		}
	}
	return s
}

// outputs collects what failing calls give back.
type outputs struct {
	all     bytes.Buffer
	reasons map[string]int
}

// failed notes an error as it is printed, with all of its details.
func (o *outputs) failed(err error) {
	if err == nil {
		return
	}
	fmt.Fprintf(&o.all, "%v\n%+v\n%#v\n", err, err, err)
	for ; err != nil; err = errors.Unwrap(err) {
		if s, ok := status.FromError(err); ok {
			fmt.Fprintln(&o.all, s.Proto())
			for _, d := range s.Proto().GetDetails() {
				o.all.Write(d.GetValue())
				if m, err := d.UnmarshalNew(); err == nil {
					fmt.Fprintln(&o.all, m)
					if r, ok := m.(interface{ GetReason() string }); ok {
						o.reasons[r.GetReason()]++
					}
				}
			}
		}
	}
}

// refused notes an error, or what an answer says of refusals.
func (o *outputs) refused(a *answer, err error) {
	o.failed(err)
	if a == nil {
		return
	}
	for _, r := range a.results {
		if x := r.GetRefusal(); x != nil {
			b, _ := proto.Marshal(x)
			fmt.Fprintf(&o.all, "%v\n%s\n", x, b)
			o.reasons[strings.TrimPrefix(x.GetReason().String(), "ERROR_REASON_")]++
		}
	}
}

// TestSecretsStayHome makes everything fail that can be made to fail from outside,
// and then looks at everything that people and machines are told: logs down to
// debug, statuses with details and trailers, errors of functions and of a gateway
// that does not start, metrics, spans. No key, no subject and no reason of an
// officer is in any of it.
func TestSecretsStayHome(t *testing.T) {
	t.Parallel()
	metrics, collector := freeAddress(t), newCollector(t)
	w := newWorldWith(t, func(code string, c *gateway.Config) {
		if code == "UTO" {
			c.Telemetry = gateway.TelemetryConfig{OTLP: collector.addr, Insecure: true, Prometheus: metrics}
		}
	})
	s := w.canaries(t)
	out := &outputs{reasons: make(map[string]int)}
	forceErrors(t, w, out)

	// Telemetry, while the gateway runs.
	page := scrape(t, metrics)
	for _, n := range w.all() {
		n.shut(t) // sends the spans that are left
	}
	spans := collector.bytes()

	// The seed of each query's blinds is as secret as the subject.
	seeds := 0
	for _, seed := range openSeeds(t, w.utopia) {
		s.secret("seed of a query", seed)
		seeds++
	}
	if seeds < 5 {
		t.Errorf("control: %d seeds of queries", seeds)
	}
	corrupt(t, w.norlanda, out)

	check := func(what string, b []byte, least int) {
		t.Helper()
		if len(b) < least {
			t.Errorf("control: %s is %d bytes, too few to say anything", what, len(b))
		}
		s.find(b, func(n needle, at int) {
			t.Errorf("%s has %s at byte %d", what, n.label, at)
		})
	}
	for _, n := range w.all() {
		check("the log of "+n.name, n.log.bytes(), 1000)
		// What a gateway says. What it is told in a header is the caller's, who may tell
		// it anything.
		says := func(e *event) bool { return e.kind != "payload" && (e.kind != "header" || !e.incoming || e.client) }
		for _, e := range n.tap.since(0, says) {
			check(fmt.Sprintf("%s: %s", n.name, &e), e.data, 0)
		}
	}
	check("what failing calls told", out.all.Bytes(), 10_000)
	check("what dependencies printed", standard.bytes(), 0)
	check("the page of metrics", page, 500)
	check("the spans", spans, 500)

	for _, want := range []string{"POLICY_DENIED", "SIGNATURE_INVALID", "MALFORMED_REQUEST", "AGREEMENT_UNKNOWN", "QUERY_ID_REUSED",
		"QUERY_ID_EXPIRED", "LIST_STALE", "PEER_UNREACHABLE", "BUDGET_EXHAUSTED", "ROLE_REQUIRED", "INTERNAL",
		"AGREEMENT_SUSPENDED", "CLOCK_SKEW"} {
		if out.reasons[want] == 0 {
			t.Errorf("control: nothing failed with %s; there were %v", want, out.reasons)
		}
	}
	// A secret that is logged is found, whatever handler prints it.
	planted := &sink{}
	key := w.utopia.keyFiles(t)[0].secret
	for _, v := range []any{key, string(key), fmt.Sprintf("%x", key), person(0), person(0).Document.Number, struct{ K []byte }{key}} {
		before := len(planted.bytes())
		planted.logger().Debug("planted", "value", v)
		_, hidden := v.(record.Subject) // prints as a placeholder, in text
		if line := planted.bytes()[before:]; !hidden && s.first(line) == "" {
			t.Errorf("control: a secret of type %T in a line of the log was not found", v)
		}
	}

	t.Run("files", func(t *testing.T) { testKeyFiles(t, w) })
}

// testKeyFiles looks for each key outside of its own file.
func testKeyFiles(t *testing.T, w *world) {
	for _, n := range w.all() {
		for _, f := range n.keyFiles(t) {
			s := new(sweeper)
			s.secret("the secret of "+f.path, f.secret)
			found, swept := s.files(t, n.dir, func(path string) bool { return path == f.path })
			clean(t, n.name, found)
			if swept < 100_000 {
				t.Errorf("control: %d bytes of files", swept)
			}
		}
		s := new(sweeper)
		for _, collection := range []string{"watchlist", "documents"} {
			key := epochKey(t, n, collection, 1)
			s.secret("the key of an epoch, not wrapped", key.Bytes())
		}
		identity := n.auditor.Reveal()
		s.plain("the identity of the auditor", identity[30:60])
		found, _ := s.files(t, n.dir, nil)
		clean(t, n.name, found)
	}
}

// forceErrors makes calls that fail, each for another reason.
func forceErrors(t *testing.T, w *world, out *outputs) {
	u := w.utopia
	ask := func(change func(a *asker.Ask)) {
		t.Helper()
		a := u.newAsk(person(firstUnknown))
		if change != nil {
			change(a)
		}
		out.refused(u.ask(t, a))
	}
	ask(nil) // what goes well is swept, too
	ask(func(a *asker.Ask) { a.Subjects[0] = person(1) })
	ask(func(a *asker.Ask) { a.Purpose = "tax-enforcement" })
	ask(func(a *asker.Ask) { a.CaseReference = "n/a" })
	ask(func(a *asker.Ask) { a.LegalBasis = person(firstUnknown).Name })
	ask(func(a *asker.Ask) { a.OffenceClass = person(firstUnknown).Name })
	ask(func(a *asker.Ask) { a.Holders = []string{person(firstUnknown).Name} })
	ask(func(a *asker.Ask) { a.Collections = []string{person(firstUnknown).Document.Number} })
	ask(func(a *asker.Ask) { a.Subjects[0].Document.Type = record.DocumentType(a.Subjects[0].Document.Number) })
	ask(func(a *asker.Ask) { a.Subjects[0].Name = strings.Repeat(a.Subjects[0].Name, 20) })
	ask(func(a *asker.Ask) { a.Subjects[0].Name, a.Subjects[0].Document = "", record.Document{} })
	ask(func(a *asker.Ask) { a.Subjects[0].Sex = a.Subjects[0].Name })
	ask(func(a *asker.Ask) { a.Subjects[0].Nationality = a.Subjects[0].Name })
	ask(func(a *asker.Ask) { a.Justification = strings.Repeat(justification, 100) })
	ask(func(a *asker.Ask) { a.Request = query.NewID(u.now().Add(-time.Hour)) })
	ask(func(a *asker.Ask) { a.Request = query.NewID(u.now().Add(time.Hour)) })

	// The same request again, and signatures of something else and of somebody else.
	a := u.newAsk(person(firstUnknown))
	out.refused(u.ask(t, a))
	out.refused(u.ask(t, a))
	c := u.as(t, u.clerk())
	out.refused(c.ask(t, u.newAsk(person(firstUnknown)), make([]byte, 64)))
	out.refused(c.ask(t, u.newAsk(person(firstUnknown)), []byte(person(firstUnknown).Name)))
	out.refused(u.as(t, counsel).ask(t, u.newAsk(person(firstUnknown)), make([]byte, 64)))

	// Text where a date should be, and messages out of order.
	m := subjectMessage(&a.Subjects[0])
	m.BirthDate = m.GetName()
	_, err := c.national().Lookup(t.Context(), &pb.LookupRequest{Ask: askMessage(a), Subject: m})
	out.failed(err)
	_, err = c.national().Lookup(t.Context(), &pb.LookupRequest{Subject: m})
	out.failed(err)
	stream, err := c.national().Screen(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stream.Send(&pb.ScreenRequest{Message: &pb.ScreenRequest_Subjects{Subjects: &pb.SubjectChunk{Subjects: []*pb.Subject{m}}}})
	_, err = stream.Recv()
	out.failed(err)
	out.failed(c.conn.Invoke(t.Context(), "/passerelle.v1.NationalService/"+strings.ReplaceAll(person(0).Name, ", ", ""), m, m))

	// Files of the operator.
	admin := u.as(t, "admin-1").admin()
	p := person(firstUnknown)
	for _, file := range []string{
		"name,date_of_birth\n" + p.Name + "," + p.Document.Number + "\n",
		`{"name":"` + p.Name + `","date_of_birth":` + "\n",
		"\"" + p.Name,
		p.Name,
	} {
		for _, name := range []string{"list.csv", "list.jsonl", "list.xml", "list"} {
			_, err := u.ingest(t, "watchlist", name, []byte(file))
			out.failed(err)
		}
	}
	_, err = u.ingest(t, p.Name, "list.csv", []byte("name\nx\n"))
	out.failed(err)
	_, err = admin.AcceptInvite(t.Context(), &pb.AcceptInviteRequest{Invite: u.keyFiles(t)[0].secret, ExpectedFingerprint: "1234"})
	out.failed(err)
	_, err = admin.AcceptAgreement(t.Context(), &pb.AcceptAgreementRequest{File: []byte(p.Name)})
	out.failed(err)
	_, err = admin.DraftAgreement(t.Context(), &pb.DraftAgreementRequest{Draft: []byte(p.Name + ": [")})
	out.failed(err)
	_, err = c.admin().EndPeer(t.Context(), &pb.EndPeerRequest{TrustDomain: w.valdera.td, Reason: justification})
	out.failed(err)
	request := &pb.IssueSVIDRequest{CertificateRequest: u.keyFiles(t)[0].secret}
	_, err = pb.NewIdentityServiceClient(c.conn).IssueSVID(t.Context(), request)
	out.failed(err)
	conn, err := net.Dial("tcp", w.valdera.gateway.Endpoint())
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(conn, "GET /"+p.Document.Number+" HTTP/1.1\r\n\r\n")
	conn.Close()

	// Panics, of both sides, whose value is a subject.
	for _, x := range []struct {
		n     *nation
		where string
	}{{w.valdera, "holder.(*Holder).Answer"}, {u, "asker.(*Asker).Ask("}, {u, "asker.(*Asker).prepare"},
		{u, "asker.(*Asker).storeOutcome"}} {
		var once sync.Once
		hook := func() {
			if strings.Contains(string(debug.Stack()), x.where) {
				once.Do(func() { panic(fmt.Sprint(p.Name, p.Document.Number, x.where)) })
			}
		}
		x.n.atNow.Store(&hook)
		ask(nil)
		fired := true
		once.Do(func() { fired = false })
		if !fired {
			t.Errorf("control: no panic in %s", x.where)
		}
		x.n.atNow.Store(nil)
	}

	// Clocks.
	for _, ahead := range []time.Duration{5 * time.Minute, 49 * time.Hour, 0} {
		u.ahead.Store(int64(ahead))
		ask(nil)
	}

	// A budget that is used up: forty elements a day.
	budget := w.norlanda.newAsk(people(firstUnknown, firstUnknown+12)...)
	out.refused(w.norlanda.ask(t, budget))

	// A suspended agreement, a holder that is down, and a federation that has ended.
	suspend := &pb.SuspendAgreementRequest{Agreement: "utopia-norlanda", Reason: "drill"}
	_, err = u.as(t, counsel).admin().SuspendAgreement(t.Context(), suspend)
	out.failed(err)
	ask(nil)
	w.valdera.shut(t)
	ask(nil)
	w.valdera.start(t)
	end := &pb.EndPeerRequest{TrustDomain: u.td, Reason: "drill"}
	if _, err := w.valdera.as(t, "admin-1").admin().EndPeer(t.Context(), end); err != nil {
		t.Error(err)
	}
	ask(nil)

	// A copy of a tag set that the disk has damaged.
	u.shut(t)
	damaged := 0
	err = filepath.WalkDir(filepath.Join(u.dir, "store", "sets"), func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		damaged++
		return flip(path)
	})
	if err != nil || damaged == 0 {
		t.Errorf("control: %d damaged segments, %v", damaged, err)
	}
	u.start(t)
	ask(nil)
}

// flip changes a byte in the middle of a file.
func flip(path string) error {
	b, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	b[len(b)/2] ^= 0x55
	if err := os.Chmod(path, 0o600); err != nil {
		return err
	}
	return os.WriteFile(path, b, 0o600)
}

// corrupt damages one file after another in a copy of a gateway that has been shut,
// and starts it each time; and gives it configurations with a secret in the wrong
// place.
func corrupt(t *testing.T, n *nation, out *outputs) {
	t.Helper()
	try := func(damage func(dir string) error) {
		t.Helper()
		dir := filepath.Join(tempDir(t), "c")
		if err := os.CopyFS(dir, regular{os.DirFS(n.dir)}); err != nil {
			t.Fatal(err)
		}
		// A copy has the modes of the original, on which keys insist.
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() {
				return errors.Join(err, os.Chmod(path, 0o700))
			}
			return os.Chmod(path, 0o600)
		})
		if err := errors.Join(err, damage(dir)); err != nil {
			t.Fatal(err)
		}
		c, err := gateway.LoadConfig(filepath.Join(dir, gateway.ConfigFile))
		if err != nil {
			out.failed(err)
			return
		}
		c.Listen = "127.0.0.1:0"
		g, err := gateway.New(t.Context(), c, gateway.Options{Logger: n.log.logger()})
		if err != nil {
			out.failed(err)
			return
		}
		if err := g.Close(t.Context()); err != nil {
			out.failed(err)
		}
	}
	before := out.all.Len()
	failures := 0
	damage := func(f func(dir string) error) {
		t.Helper()
		try(f)
		if out.all.Len() > before {
			failures++
		}
		before = out.all.Len()
	}
	var files []string
	for _, f := range n.keyFiles(t) {
		if !strings.HasPrefix(f.path, "officers/") {
			files = append(files, f.path)
		}
	}
	wrapped, err := fs.Glob(os.DirFS(n.dir), "keys/epochs/*/*/*.key")
	if err != nil || len(wrapped) != 2 {
		t.Errorf("control: %d wrapped keys, %v", len(wrapped), err)
	}
	files = append(files, wrapped...)
	for _, f := range files {
		damage(func(dir string) error { return flip(filepath.Join(dir, f)) })
		damage(func(dir string) error { return os.Truncate(filepath.Join(dir, f), 20) })
	}
	for _, f := range []string{"store/gateway.db", "store/records.db", "log/shared/checkpoint"} {
		damage(func(dir string) error { return os.WriteFile(filepath.Join(dir, f), []byte(person(0).Name), 0o600) })
	}
	// One of the founding administrators' record: the register does not verify.
	damage(func(dir string) error {
		s, err := store.Open(context.Background(), filepath.Join(dir, "store"))
		if err != nil {
			return err
		}
		return errors.Join(s.AppendOfficerChange(context.Background(), 5, []byte(person(0).Name)), s.Close())
	})
	config := func(key string) {
		damage(func(dir string) error {
			path := filepath.Join(dir, gateway.ConfigFile)
			b, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			lines := slices.DeleteFunc(strings.Split(string(b), "\n"), func(l string) bool { return strings.HasPrefix(l, key+":") })
			text := strings.Join(lines, "\n") + "\n" + key + ": " + n.auditor.Reveal() + "\n"
			return os.WriteFile(path, []byte(text), 0o600)
		})
	}
	// The auditor's secret in place of the recipient is the likeliest mistake of all.
	for _, key := range []string{"auditor", "founding", "checkpoint_interval", "max_queries", "collections", "telemetry"} {
		config(key)
	}
	if failures < 15 {
		t.Errorf("control: only %d of the damaged gateways failed to start", failures)
	}
}

// regular is a file system without sockets and locks.
type regular struct{ fs.FS }

func (r regular) ReadDir(name string) ([]fs.DirEntry, error) {
	list, err := fs.ReadDir(r.FS, name)
	return slices.DeleteFunc(list, func(e fs.DirEntry) bool { return !e.IsDir() && !e.Type().IsRegular() }), err
}

// openSeeds opens all sealed content of a gateway that has been shut, as its
// auditor, and returns the seeds.
func openSeeds(t *testing.T, n *nation) [][]byte {
	t.Helper()
	s, err := store.Open(t.Context(), filepath.Join(n.dir, "store"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var seeds [][]byte
	for _, e := range n.readLog(t, "shared") {
		if e.Sealed == ([32]byte{}) {
			continue
		}
		ciphertext, err := s.Sealed(t.Context(), e.Sealed)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := e.Bytes()
		if err != nil {
			t.Fatal(err)
		}
		c, err := inspect.Open(n.auditor, ciphertext, e.Query, raw)
		if err != nil {
			t.Fatal(err)
		}
		seeds = append(seeds, c.Seed)
	}
	return seeds
}

// A collector takes what is exported by OTLP, whatever it is.
type collector struct {
	addr string
	mu   sync.Mutex
	all  []byte
}

func newCollector(t *testing.T) *collector {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	c := &collector{addr: l.Addr().String()}
	s := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		m := new(emptypb.Empty)
		if err := stream.RecvMsg(m); err != nil {
			return err
		}
		c.mu.Lock()
		c.all = append(c.all, m.ProtoReflect().GetUnknown()...)
		c.mu.Unlock()
		return stream.SendMsg(new(emptypb.Empty))
	}))
	go s.Serve(l)
	t.Cleanup(s.Stop)
	return c
}

func (c *collector) bytes() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.all)
}

// freeAddress returns an address that nobody listens on for now.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// scrape returns the page of metrics.
func scrape(t *testing.T, addr string) []byte {
	t.Helper()
	r, err := http.Get("http://" + addr + "/metrics")
	if err != nil {
		t.Error(err)
		return nil
	}
	defer r.Body.Close()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Error(err)
	}
	return b
}
