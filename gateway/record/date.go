package record

import (
	"errors"
	"fmt"
)

// ErrDate is returned for a text that is not a date. It does not repeat the text.
var ErrDate = errors.New("record: not a date")

// The years a Date may have. The bounds refuse dates of other calendars, such as
// Hijri (about 1445) or Buddhist (about 2567), which would match nobody.
const (
	MinYear = 1850
	MaxYear = 2199
)

// A Date is a day, a month, or a year of the Gregorian calendar. Zero stands for
// an unknown part: a Date without Month has no Day, and the zero Date is unknown.
//
// Unlike the other types of this package a Date prints as what it is.
type Date struct{ Year, Month, Day int }

// IsZero reports whether nothing of d is known.
func (d Date) IsZero() bool { return d == Date{} }

// Known reports whether year, month and day of d are known.
func (d Date) Known() bool { return d.Year != 0 && d.Month != 0 && d.Day != 0 }

// String returns d as YYYY-MM-DD, YYYY-MM or YYYY, or "" for the zero Date.
// [ParseDate] is its inverse.
func (d Date) String() string {
	switch {
	case d.Year == 0:
		return ""
	case d.Month == 0:
		return fmt.Sprintf("%04d", d.Year)
	case d.Day == 0:
		return fmt.Sprintf("%04d-%02d", d.Year, d.Month)
	}
	return fmt.Sprintf("%04d-%02d-%02d", d.Year, d.Month, d.Day)
}

// Validate reports whether d is the zero Date, or a day, month or year that
// exists. It returns an error wrapping [ErrDate] otherwise.
func (d Date) Validate() error {
	switch {
	case d.IsZero():
		return nil
	case d.Year < MinYear || d.Year > MaxYear:
		return fmt.Errorf("%w: year is not between %d and %d of the Gregorian calendar", ErrDate, MinYear, MaxYear)
	case d.Month < 0 || d.Month > 12:
		return fmt.Errorf("%w: no such month", ErrDate)
	case d.Month == 0 && d.Day != 0:
		return fmt.Errorf("%w: day without month", ErrDate)
	case d.Day < 0 || d.Day > 0 && d.Day > daysIn(d.Year, d.Month):
		return fmt.Errorf("%w: no such day", ErrDate)
	}
	return nil
}

// daysIn returns the number of days of a month.
func daysIn(year, month int) int {
	switch month {
	case 4, 6, 9, 11:
		return 30
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	}
	return 31
}

// ParseDate parses YYYY-MM-DD, YYYYMMDD, YYYY-MM and YYYY. The separator may be
// "-", "/" or ".". A month or day of 00 is an unknown one. It returns an error
// wrapping [ErrDate] for anything else, also for the empty string.
//
// Forms that put the day or the month first are not accepted, because they are
// ambiguous, and neither is the YYMMDD of a machine readable zone, for which see
// [ParseMRZDate].
func ParseDate(s string) (Date, error) {
	var d Date
	var ok bool
	switch len(s) {
	case 4:
		d.Year, ok = number(s)
	case 7:
		var y, m bool
		d.Year, y = number(s[:4])
		d.Month, m = number(s[5:])
		ok = y && m && separator(s[4])
	case 8:
		var y, m, x bool
		d.Year, y = number(s[:4])
		d.Month, m = number(s[4:6])
		d.Day, x = number(s[6:])
		ok = y && m && x
	case 10:
		var y, m, x bool
		d.Year, y = number(s[:4])
		d.Month, m = number(s[5:7])
		d.Day, x = number(s[8:])
		ok = y && m && x && separator(s[4]) && s[7] == s[4]
	}
	if !ok {
		return Date{}, fmt.Errorf("%w: want YYYY-MM-DD, YYYYMMDD, YYYY-MM or YYYY", ErrDate)
	}
	if d.Year == 0 {
		return Date{}, fmt.Errorf("%w: no year", ErrDate)
	}
	if err := d.Validate(); err != nil {
		return Date{}, err
	}
	return d, nil
}

// ParseMRZDate parses the YYMMDD of a machine readable zone, ICAO Doc 9303-3,
// Section 4.8. The century is the latest that gives a date not after latest: the
// day of the check for a date of birth. Unknown parts are "<<" or, as some States
// write, "00". It returns an error wrapping [ErrDate] for anything else.
func ParseMRZDate(s string, latest Date) (Date, error) {
	if len(s) != 6 || !latest.Known() || latest.Validate() != nil {
		return Date{}, fmt.Errorf("%w: want YYMMDD", ErrDate)
	}
	if s == "<<<<<<" {
		return Date{}, nil
	}
	yy, ok := number(s[:2])
	var part [2]int
	for i := range part {
		if p := s[2+2*i : 4+2*i]; p != "<<" {
			var isNumber bool
			part[i], isNumber = number(p)
			ok = ok && isNumber
		}
	}
	if !ok {
		return Date{}, fmt.Errorf("%w: want YYMMDD", ErrDate)
	}
	d := Date{Year: latest.Year/100*100 + yy, Month: part[0], Day: part[1]}
	if d.Year > latest.Year || d.Year == latest.Year &&
		(d.Month > latest.Month || d.Month == latest.Month && d.Day > latest.Day) {
		d.Year -= 100
	}
	if err := d.Validate(); err != nil {
		return Date{}, err
	}
	return d, nil
}

// separator reports whether c may stand between the parts of a date.
func separator(c byte) bool { return c == '-' || c == '/' || c == '.' }

// number parses a string of decimal digits, without sign.
func number(s string) (n int, ok bool) {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return 0, false
		}
		n = 10*n + int(s[i]-'0')
	}
	return n, s != ""
}

// MarshalText returns d.String, for encoding/json.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDate, and the empty text is the zero Date.
func (d *Date) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*d = Date{}
		return nil
	}
	parsed, err := ParseDate(string(b))
	if err != nil {
		return err
	}
	*d = parsed
	return nil
}
