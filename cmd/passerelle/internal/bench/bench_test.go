package bench_test

import (
	"bytes"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/passerelle/passerelle/cmd/passerelle/internal/bench"
)

func TestQuantile(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		samples bench.Samples
		p       float64
		want    time.Duration
	}{
		{nil, 0.5, 0},
		{bench.Samples{7}, 0.5, 7},
		{bench.Samples{7}, 0.99, 7},
		{bench.Samples{4, 1, 3, 2}, 0, 1},
		{bench.Samples{4, 1, 3, 2}, 0.5, 2},
		{bench.Samples{4, 1, 3, 2}, 0.51, 3},
		{bench.Samples{4, 1, 3, 2}, 1, 4},
		{bench.Samples{5, 1, 3, 2, 4}, 0.5, 3},
	} {
		before := append(bench.Samples(nil), tt.samples...)
		if got := tt.samples.Quantile(tt.p); got != tt.want {
			t.Errorf("Quantile(%v) of %v = %d, want %d", tt.p, tt.samples, got, tt.want)
		}
		if !reflect.DeepEqual(before, tt.samples) {
			t.Errorf("Quantile changed its samples to %v", tt.samples)
		}
	}
	if got := (bench.Samples{3, 1, 2}).Median(); got != 2 {
		t.Errorf("Median = %d, want 2", got)
	}
}

func TestUnitsOfTime(t *testing.T) {
	t.Parallel()
	const d = 1234567 * time.Nanosecond
	if ms, us, s := bench.Milliseconds(d), bench.Microseconds(d), bench.Seconds(d); ms != 1.235 || us != 1234.567 || s != 0.001 {
		t.Errorf("%v is %v ms, %v us, %v s", d, ms, us, s)
	}
}

func TestParsePeakRSS(t *testing.T) {
	t.Parallel()
	got, err := bench.ParsePeakRSS([]byte("Name:\tpasserelle\nVmPeak:\t  99 kB\nVmHWM:\t   1234 kB\nVmRSS:\t 12 kB\n"))
	if err != nil || got != 1234<<10 {
		t.Errorf("peak = %d, %v, want %d", got, err, 1234<<10)
	}
	for _, s := range []string{"", "VmRSS: 1 kB\n", "VmHWM: 1234\n", "VmHWM: many kB\n", "VmHWM: -1 kB\n", "VmHWM: 1 MB\n", "xVmHWM: 1 kB\n"} {
		if got, err := bench.ParsePeakRSS([]byte(s)); err == nil || got != 0 {
			t.Errorf("peak of %q = %d, %v, want an error", s, got, err)
		}
	}
	if got, err := bench.PeakRSS(); err != nil || got < 1<<20 {
		t.Errorf("our own peak = %d, %v", got, err)
	}
}

func TestPublication(t *testing.T) {
	t.Parallel()
	var p bench.Publication
	if began, n := p.Evaluated(); !began.IsZero() || n != 0 {
		t.Errorf("before anything: %v, %d", began, n)
	}
	first := time.Unix(100, 0)
	p.Observe(first.Add(-time.Hour), "doc", 0, 0) // an empty set
	p.Observe(first, "doc", 5, 20)
	p.Observe(first.Add(time.Second), "doc", 20, 20)
	p.Observe(first.Add(time.Second), "doc", 15, 20) // late
	p.Observe(first.Add(2*time.Second), "name", 7, 7)
	if began, n := p.Evaluated(); !began.Equal(first) || n != 27 {
		t.Errorf("evaluated %d since %v, want 27 since %v", n, began, first)
	}
}

func TestMeasureExchange(t *testing.T) {
	t.Parallel()
	for _, items := range []int{1, 4, 6} {
		e, err := bench.MeasureExchange(items, 1)
		if err != nil || e.Evaluate <= 0 || e.Verify <= 0 {
			t.Errorf("exchange of %d items: %+v, %v", items, e, err)
		}
	}
	if _, err := bench.MeasureExchange(0, 1); err == nil {
		t.Error("an exchange of nothing was measured")
	}
	if u := bench.MeasureUnits(); u.Mul <= 0 || u.Hash <= 0 || u.Encode <= 0 {
		t.Errorf("units %+v", u)
	}
}

func TestDurable(t *testing.T) {
	t.Parallel()
	d, err := bench.OpenDurable(t.Context(), t.TempDir(), 100*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		for name, f := range map[string]func() (bench.Samples, error){
			"append": func() (bench.Samples, error) { return d.Append(t.Context(), 3) },
			"commit": func() (bench.Samples, error) { return d.Commit(t.Context(), 3) },
		} {
			s, err := f()
			if err != nil || len(s) != 3 || s.Quantile(0) <= 0 {
				t.Errorf("%s: %v, %v, want 3 samples", name, s, err)
			}
		}
	}
	if err := d.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

// TestReport checks that people see what scripts do.
func TestReport(t *testing.T) {
	t.Parallel()
	var r bench.Identity
	v := reflect.ValueOf(&r).Elem()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Kind() {
		case reflect.Int:
			f.SetInt(int64(1000 + i))
		case reflect.Uint64:
			f.SetUint(uint64(1000 + i))
		case reflect.Float64:
			f.SetFloat(float64(1000 + i))
		case reflect.String:
			f.SetString("text")
		}
	}
	var text bytes.Buffer
	if err := r.Table(&text); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(text.String(), "%!") || strings.Count(text.String(), "\n") < 20 {
		t.Errorf("table:\n%s", &text)
	}
	b, err := json.Marshal(&r)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(b, &fields); err != nil {
		t.Fatal(err)
	}
	if len(fields) != v.NumField() {
		t.Errorf("%d fields in JSON of %d: two have one name", len(fields), v.NumField())
	}
	// DESIGN, section 13.
	for _, name := range strings.Fields("records tags items cores tags_per_s mul_us encode_us hash_us append_ms_p50 commit_ms_p50 " +
		"evaluate_us_per_item verify_us_per_item lookup_ms_p50 lookup_ms_p99 bytes_up bytes_down tagset_bytes label_bytes peak_rss_bytes") {
		if _, ok := fields[name]; !ok {
			t.Errorf("field %s is missing", name)
		}
	}
}
