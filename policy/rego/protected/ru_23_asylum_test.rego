package passerelle.tests["RU-23"]

import data.passerelle.tests.fixtures as f

protected(status, origin) := json.patch(f.publish, [
	{"op": "replace", "path": "/record/protection_status", "value": status},
	{"op": "replace", "path": "/record/country_of_origin", "value": origin},
])

published(status, origin) := f.decide(protected(status, origin))

# Country of origin B asks whether person P is known to A; P is an asylum seeker in A.
test_refuse_example if {
	d := published("asylum", "BBB")
	not d.allow
	f.denied(d) == {"RU-23"}
	not d.disclose_reason
}

# Neighbour B, where P is not at risk, asks about a stolen passport used by P; the list of documents tells nothing of P.
test_pass_example if {
	doc := json.patch(f.publish, [
		{"op": "replace", "path": "/collection", "value": "stolen-documents"},
		{"op": "replace", "path": "/category", "value": "document"},
		{"op": "replace", "path": "/record/country_of_origin", "value": ""},
	])
	d := f.decide(doc)
	d.allow
	"RU-23" in d.rules
}

test_international_protection_goes_to_nobody if {
	every status in ["asylum", "refugee", "subsidiary"] {
		every origin in ["BBB", "CCC", ""] {
			f.denied(published(status, origin)) == {"RU-23"}
		}
	}
}

# A status that is spelled in another way protects too.
test_unknown_status_goes_to_nobody if {
	every status in ["asylum seeker", "Asylum", "REFUGEE", "None", " ", "temporary", 7, null, {}] {
		f.denied(published(status, "CCC")) == {"RU-23"}
	}
}

test_nobody_protected if {
	every status in ["", "none"] {
		every origin in ["BBB", "CCC", "", null] {
			published(status, origin).allow
		}
	}
}

test_other_protection_stays_from_the_country_of_origin if {
	f.denied(published("court", "BBB")) == {"RU-23"}
	published("court", "CCC").allow
	"RU-23" in f.denied(published("minor", "BBB"))
	f.denied(published("minor", "CCC")) == {"RU-21"}
}

test_other_protection_and_unknown_origin if {
	every origin in ["", " ", "BB", "bbb", "BBBB", "Country B", 7, null] {
		f.denied(published("court", origin)) == {"RU-23"}
	}
}

test_asker_of_no_country if {
	every country in ["", "bbb", null] {
		d := f.decide(f.with_fact(protected("court", "CCC"), "/peer/country", country))
		"RU-23" in f.denied(d)
	}
}

test_missing_facts if {
	every path in ["/record", "/record/protection_status"] {
		d := f.decide(f.without(f.publish, path))
		"RU-23" in f.denied(d)
	}
	every path in ["/record/country_of_origin", "/peer", "/peer/country"] {
		d := f.decide(f.without(protected("court", "CCC"), path))
		"RU-23" in f.denied(d)
	}
}

test_one_sentence_for_each_case if {
	every case in [["asylum", "BBB"], ["court", ""], ["court", "BBB"]] {
		d := published(case[0], case[1])
		count(d.denials) == 1
	}
}

test_refusal_is_never_told if data.passerelle.rules["RU-23"].withhold

test_cannot_be_switched_off if {
	every status in ["asylum", "refugee", "subsidiary"] {
		d := f.decide(f.off(protected(status, "CCC"), "RU-23"))
		f.denied(d) == {"RU-23"}
	}
	d := f.decide(f.off(protected("court", "BBB"), "RU-23"))
	f.denied(d) == {"RU-23"}
}
