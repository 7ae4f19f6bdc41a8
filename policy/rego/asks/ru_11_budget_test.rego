package passerelle.tests["RU-11"]

import data.passerelle.tests.fixtures as f

budget(used, requested) := f.decide(f.with_fact(f.answer, "/budgets", [{
	"scope": "peer",
	"used": used,
	"requested": requested,
	"limit": 500,
	"resets_in_s": 7200,
}]))

percents(d) := {o.percent | some o in d.obligations; o.kind == "notify_auditors"}

# The 501st query of the day where the agreement says 500.
test_refuse_example if {
	d := budget(500, 1)
	f.denied(d) == {"RU-11"}
	d.limits.retry_after_s == 7200
	percents(d) == {100}
	contains(d.denials[0].sentence, "in 120 minutes")
}

# The 212th query of the day.
test_pass_example if {
	d := budget(211, 1)
	d.allow
	percents(d) == set()
	d.limits == {}
}

test_auditors_hear_at_both_marks if {
	percents(budget(398, 1)) == set()
	percents(budget(399, 1)) == {80}
	percents(budget(400, 1)) == set()
	percents(budget(499, 1)) == {100}
	percents(budget(399, 101)) == {80, 100}
	percents(budget(450, 51)) == {100}
	budget(499, 1).allow
	not budget(450, 51).allow
}

test_every_budget_counts if {
	d := f.decide(f.with_fact(f.answer, "/budgets/1/used", 50))
	f.denied(d) == {"RU-11"}
}

test_longest_wait_counts if {
	doc := json.patch(f.answer, [
		{"op": "replace", "path": "/budgets/0/used", "value": 500},
		{"op": "replace", "path": "/budgets/1/used", "value": 50},
		{"op": "replace", "path": "/budgets/1/resets_in_s", "value": 9000},
	])
	d := f.decide(doc)
	d.limits.retry_after_s == 9000
}

test_no_budget_is_no_query if {
	d := f.decide(f.with_fact(f.answer, "/budgets", []))
	f.denied(d) == {"RU-11"}
	e := f.decide(f.without(f.answer, "/budgets"))
	f.denied(e) == {"RU-11"}
}

test_odd_counts if {
	every value in [-1, 0.5, "1", null] {
		every field in ["used", "requested", "limit", "resets_in_s"] {
			doc := f.with_fact(f.answer, sprintf("/budgets/0/%s", [field]), value)
			d := f.decide(doc)
			f.denied(d) == {"RU-11"}
		}
	}
	not budget(10, 0).allow
}

test_no_notice_for_a_query_that_others_refuse if {
	doc := f.with_fact(f.with_fact(f.answer, "/budgets/0/used", 399), "/agreement/suspended", true)
	d := f.decide(doc)
	percents(d) == set()
}

test_switched_off if {
	d := f.decide(f.off(f.with_fact(f.answer, "/budgets", []), "RU-11"))
	d.allow
}
