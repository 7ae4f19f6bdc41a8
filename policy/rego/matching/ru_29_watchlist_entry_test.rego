package passerelle.tests["RU-29"]

import data.passerelle.tests.fixtures as f

published(path, value) := f.decide(f.with_fact(f.publish, path, value))

patched(changes) := json.patch(f.publish, [{"op": "replace", "path": path, "value": value} | some path, value in changes])

# Entry without review date imported from a CSV.
test_refuse_example if {
	d := published("/record/review_by", "")
	f.denied(d) == {"RU-29"}
	count(d.denials) == 1
}

# Entry under UN list reference QDi.xxx, review_by 2027-01-31, nominator UNSC.
test_pass_example if {
	d := f.decide(patched({
		"/record/source_list": "UN List: Al-Qaida",
		"/record/review_by": "2027-01-31T00:00:00Z",
		"/record/nominator": "UNSC",
	}))
	d.allow
	"RU-29" in d.rules
}

un := patched({
	"/record/source_list": "UN List: Al-Qaida",
	"/record/originator": "United Nations Security Council",
	"/record/subject_category": "",
	"/record/protection_status": "",
	"/record/country_of_origin": "",
	"/record/basis": "",
	"/record/reliability_grade": "",
	"/record/last_verified": "",
	"/record/review_by": "",
	"/record/criterion_code": "",
	"/record/nominator": "",
	"/record/redress_state": "",
	"/record/created_at": "",
})

# The UN list as it is ingested, with none of these fields, and as the list of the country that read it.
test_un_list_as_published if {
	f.decide(un).allow
	f.decide(f.with_fact(un, "/record/originator", "a.example")).allow
}

test_un_list_is_not_exempt_from_the_rest if {
	every change in [
		{"path": "/record/review_by", "value": "2026-11-22T18:00:00Z"},
		{"path": "/record/redress_state", "value": "contested"},
		{"path": "/record/state", "value": "withdrawn"},
	] {
		d := f.decide(f.with_fact(un, change.path, change.value))
		f.denied(d) == {"RU-29"}
	}
}

test_lists_that_only_sound_like_the_un_list if {
	every name in ["UN List", "un list: Al-Qaida", "Our UN List: x", "", null, 7] {
		d := f.decide(f.with_fact(un, "/record/source_list", name))
		f.denied(d) == {"RU-29"}
		count(d.denials) == 4
	}
}

test_each_field_of_an_entry if {
	every field in ["nominator", "criterion_code", "reliability_grade"] {
		every value in ["", " ", null, 7] {
			d := published(sprintf("/record/%s", [field]), value)
			f.denied(d) == {"RU-29"}
			count(d.denials) == 1
		}
	}
}

test_review_date_to_the_second if {
	f.denied(published("/record/review_by", "2026-11-22T17:59:59Z")) == {"RU-29"}
	f.denied(published("/record/review_by", "2026-11-22T18:00:00Z")) == {"RU-29"}
	published("/record/review_by", "2026-11-22T18:00:01Z").allow
}

test_review_date_that_is_none if {
	every value in [" ", "2099", "never", null, 9] {
		f.denied(published("/record/review_by", value)) == {"RU-29"}
	}
}

test_contested_or_upheld if {
	every value in ["contested", "upheld", "pending", "None", null] {
		f.denied(published("/record/redress_state", value)) == {"RU-29"}
	}
	published("/record/redress_state", "").allow
}

test_not_active if {
	every value in ["withdrawn", "corrected", "expired", "", "Active", null] {
		f.denied(published("/record/state", value)) == {"RU-29"}
	}
}

# A stolen passport has no nominator; but its record may be withdrawn, contested or out of date.
test_other_categories if {
	document := patched({
		"/collection": "stolen-documents",
		"/category": "document",
		"/record/nominator": "",
		"/record/criterion_code": "",
		"/record/reliability_grade": "",
		"/record/review_by": "",
	})
	f.decide(document).allow
	every change in [
		{"path": "/record/review_by", "value": "2026-01-01T00:00:00Z"},
		{"path": "/record/redress_state", "value": "contested"},
		{"path": "/record/state", "value": "expired"},
	] {
		d := f.decide(f.with_fact(document, change.path, change.value))
		f.denied(d) == {"RU-29"}
	}
}

test_missing_facts if {
	every path in [
		"/record", "/record/nominator", "/record/criterion_code", "/record/reliability_grade", "/record/review_by",
		"/record/redress_state", "/record/state",
	] {
		d := f.decide(f.without(f.publish, path))
		"RU-29" in f.denied(d)
	}
	every path in ["/record/review_by", "/record/redress_state", "/record/state"] {
		d := f.decide(f.without(un, path))
		"RU-29" in f.denied(d)
	}
	"RU-29" in f.denied(f.decide(f.without(un, "/record/source_list")))
	"RU-29" in f.denied(f.decide(f.without(f.publish, "/now")))
	"RU-29" in f.denied(f.decide(f.without(f.with_fact(f.publish, "/record/nominator", ""), "/category")))
}

test_switched_off if {
	d := f.decide(f.off(f.with_fact(f.publish, "/record/review_by", ""), "RU-29"))
	d.allow
}
