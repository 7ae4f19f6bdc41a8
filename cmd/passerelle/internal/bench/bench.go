// Package bench measures what the parts of a query cost on this machine, and holds
// the report of a measurement.
//
// A time alone says little: machines differ, and other programs run beside us. So
// everything that a time is made of is measured in the same run: one group
// operation on one thread, one durable entry of a log, one commit of the database.
// The ratios between them hold from machine to machine.
//
// Who drives whole gateways is not here, see the command `passerelle bench`. Nothing
// here is secret: all records are fiction.
package bench

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Samples are durations of the same operation, in any order.
type Samples []time.Duration

// Quantile returns the smallest sample that at least a part p, from 0 to 1, of all
// samples do not exceed; 0 if there is none.
func (s Samples) Quantile(p float64) time.Duration {
	if len(s) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(s))
	i := int(math.Ceil(p*float64(len(sorted)))) - 1
	return sorted[min(max(i, 0), len(sorted)-1)]
}

// Median returns the quantile of one half.
func (s Samples) Median() time.Duration { return s.Quantile(0.5) }

// Milliseconds and Microseconds return d in that unit, with three digits behind the
// point: more are noise.
func Milliseconds(d time.Duration) float64 { return Round(float64(d) / float64(time.Millisecond)) }

// Microseconds is like Milliseconds.
func Microseconds(d time.Duration) float64 { return Round(float64(d) / float64(time.Microsecond)) }

// Seconds is like Milliseconds.
func Seconds(d time.Duration) float64 { return Round(d.Seconds()) }

// Round returns f with three digits behind the point.
func Round(f float64) float64 { return math.Round(f*1000) / 1000 }

// A Publication watches the building of tag sets. Its methods may be called
// concurrently.
type Publication struct {
	mu         sync.Mutex
	began      time.Time
	done, want map[string]int // by class
}

// Observe is told at now that done of total evaluations for a class are made. An
// empty set does not count: a new agreement has one before there are records.
func (p *Publication) Observe(now time.Time, class string, done, total int) {
	if total == 0 {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.began.IsZero() {
		p.began, p.done, p.want = now, make(map[string]int), make(map[string]int)
	}
	p.done[class], p.want[class] = max(p.done[class], done), total
}

// Evaluated returns when the first evaluations were made, and how many there were
// in all classes. Decoys are not evaluated, and not counted.
func (p *Publication) Evaluated() (began time.Time, tags int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range p.done {
		tags += n
	}
	return p.began, tags
}

// PeakRSS returns the most memory that this process has had resident, in bytes.
func PeakRSS() (uint64, error) {
	b, err := os.ReadFile("/proc/self/status")
	if errors.Is(err, os.ErrNotExist) { // not Linux
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			return 0, fmt.Errorf("bench: reading the peak of memory: %w", err)
		}
		return uint64(u.Maxrss), nil
	}
	if err != nil {
		return 0, fmt.Errorf("bench: reading the peak of memory: %w", err)
	}
	return ParsePeakRSS(b)
}

// ParsePeakRSS returns VmHWM of the text of /proc/PID/status, in bytes.
func ParsePeakRSS(status []byte) (uint64, error) {
	for line := range bytes.Lines(status) {
		value, ok := bytes.CutPrefix(line, []byte("VmHWM:"))
		if !ok {
			continue
		}
		fields := bytes.Fields(value)
		if len(fields) != 2 || string(fields[1]) != "kB" {
			break
		}
		n, err := strconv.ParseUint(string(fields[0]), 10, 50)
		if err != nil {
			break
		}
		return n << 10, nil
	}
	return 0, errors.New("bench: the peak of memory is not in the status of the process")
}

// CPUTime returns the processor time of this process.
func CPUTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// Cores returns on how many cores this process computes.
func Cores() int { return runtime.GOMAXPROCS(0) }
