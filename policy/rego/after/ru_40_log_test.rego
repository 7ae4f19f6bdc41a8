package passerelle.tests["RU-40"]

import data.passerelle.tests.fixtures as f

reader(role, purpose) := f.decide(f.with_fact(
	f.read_log, "/reader",
	{"role": role, "purpose": purpose},
))

# An analyst mines the query log for associates of a journalist.
test_refuse_example if f.denied(reader("analyst", "investigation")) == {"RU-40"}

# The supervisory authority reads all queries of one officer.
test_pass_example if {
	d := reader("supervisor", "lawfulness")
	d.allow
	f.duties(d, "RU-40") == {"log_reading"}
}

test_every_control_purpose if {
	every purpose in ["lawfulness", "self_monitoring", "integrity", "security", "criminal_proceedings"] {
		reader("auditor", purpose).allow
	}
}

test_role_and_purpose_both_count if {
	f.denied(reader("auditor", "investigation")) == {"RU-40"}
	f.denied(reader("legal_officer", "lawfulness")) == {"RU-40"}
	f.denied(reader("", "")) == {"RU-40"}
}

log(doc, path, value) := f.decide(f.with_fact(doc, path, value))

test_no_entry_no_answer if {
	every doc in [f.answer, f.disclose] {
		f.denied(log(doc, "/log/write_ok", false)) == {"RU-40"}
		f.denied(log(doc, "/log/write_ok", "yes")) == {"RU-40"}
	}
}

test_stale_log if {
	log(f.answer, "/log/timestamp_age_s", 3600).allow
	f.denied(log(f.answer, "/log/timestamp_age_s", 3601)) == {"RU-40"}
	f.denied(log(f.answer, "/log/timestamp_age_s", -1)) == {"RU-40"}
}

test_longest_age_of_all if {
	doc := f.with_fact(f.answer, "/log/max_timestamp_age_s", 0)
	log(doc, "/log/timestamp_age_s", 14400).allow
	not log(doc, "/log/timestamp_age_s", 14401).allow
	lax := f.with_fact(f.answer, "/log/max_timestamp_age_s", 999999)
	not log(lax, "/log/timestamp_age_s", 14401).allow
}

test_missing_facts if {
	every path in ["/log", "/log/write_ok", "/log/timestamp_age_s", "/log/max_timestamp_age_s"] {
		d := f.decide(f.without(f.answer, path))
		f.denied(d) == {"RU-40"}
	}
	every path in ["/reader", "/reader/role", "/reader/purpose"] {
		d := f.decide(f.without(f.read_log, path))
		f.denied(d) == {"RU-40"}
	}
}

test_cannot_be_switched_off if {
	f.denied(log(f.off(f.answer, "RU-40"), "/log/write_ok", false)) == {"RU-40"}
	d := f.decide(f.off(f.with_fact(f.read_log, "/reader/role", "analyst"), "RU-40"))
	f.denied(d) == {"RU-40"}
}
