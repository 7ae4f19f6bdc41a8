package together_test

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/passerelle/passerelle/gateway/internal/together"
)

func TestDo(t *testing.T) {
	t.Parallel()
	var sum atomic.Int64
	together.Do(100, func(i int) { sum.Add(int64(i)) })
	if got, want := sum.Load(), int64(4950); got != want {
		t.Errorf("sum = %d, want %d", got, want)
	}
	together.Do(0, func(int) { t.Error("called for none") })
}

// TestDoPanics checks that a panic comes back, that the others are waited for, and
// that nothing of the value is told.
func TestDoPanics(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		f     func()
		want  string
		place string
	}{
		{"text", func() { panicking("ERIKSSON, ANNA") }, "string", "panicking"},
		{"runtime", func() { _ = make([]int, 1)[len("much too far")] }, "runtime error: index out of range [12] with length 1", "TestDoPanics"},
		{"nested", func() { together.Do(2, func(int) { panicking("L898902C3") }) }, "string", "panicking"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var others atomic.Int64
			defer func() {
				p, ok := recover().(*together.Panic)
				if !ok {
					t.Fatal("no Panic came back")
				}
				if got := p.Error(); got != tt.want || together.Text(p) != got {
					t.Errorf("text = %q, want %q", got, tt.want)
				}
				if stack := string(p.Stack()); !strings.Contains(stack, tt.place) || strings.Contains(stack, "ERIKSSON") {
					t.Errorf("stack without %s, or with the value:\n%s", tt.place, stack)
				}
				if got, want := others.Load(), int64(3); got != want {
					t.Errorf("%d other calls returned, want %d", got, want)
				}
			}()
			together.Do(4, func(i int) {
				if i == 2 {
					tt.f()
				}
				others.Add(1)
			})
			t.Error("Do returned")
		})
	}
}

func panicking(v any) { panic(v) }
