package passerelle.tests.main

import data.passerelle.tests.fixtures as f

test_every_door_has_an_input_that_passes if {
	every doc in [f.ask, f.answer, f.publish, f.disclose, f.reuse, f.read_log] {
		d := f.decide(doc)
		d.allow
		count(d.denials) == 0
		count(d.approvals_needed) == 0
		count(d.rules) > 0
	}
}

test_rules_of_an_allowed_query_are_all_that_were_asked if {
	ask := f.decide(f.ask)
	every id in ["RU-01", "RU-03", "RU-04", "RU-06", "RU-08", "RU-26"] {
		id in ask.rules
	}
	answer := f.decide(f.answer)
	every id in ["RU-01", "RU-02", "RU-03", "RU-04", "RU-06", "RU-08", "RU-11", "RU-40"] {
		id in answer.rules
	}
	not "RU-26" in answer.rules
}

test_rules_of_a_denied_query_are_those_that_denied if {
	d := f.decide(f.with_fact(f.ask, "/query/purpose_code", "tax-enforcement"))
	not d.allow
	d.rules == ["RU-03", "RU-04"]
}

test_nothing_is_allowed_without_a_permit if {
	every action in ["purge", "recall", "onward", "", "anything"] {
		d := f.decide(f.with_fact(f.reuse, "/action", action))
		not d.allow
		f.denied(d) == {"default_deny"}
	}
}

test_unknown_door_is_denied if {
	d := f.decide(f.with_fact(f.ask, "/door", "window"))
	not d.allow
	d.rules == ["default_deny"]
}

test_empty_and_odd_inputs_are_denied if {
	every doc in [{}, [], "", 0, null, {"door": ["ask"]}] {
		d := f.decide(doc)
		not d.allow
	}
}

test_switched_off_rule_is_not_asked if {
	doc := f.off(f.with_fact(f.ask, "/query/legal_basis_ref", ""), "RU-04")
	d := f.decide(doc)
	d.allow
	not "RU-04" in d.rules
}

test_unknown_rule_switched_off_changes_nothing if {
	d := f.decide(f.off(f.ask, "XX-99"))
	d.allow
}

test_reason_is_told_except_at_publish if {
	every doc in [f.ask, f.answer, f.disclose, f.reuse] {
		d := f.decide(f.with_fact(doc, "/agreement/suspended", true))
		d.disclose_reason
	}
	d := f.decide(f.publish)
	not d.disclose_reason
}

# What this bundle has no rule for, with a rule from outside: redactions, reasons withheld, limits in common.
test_aggregation_of_an_added_rule if {
	added := {
		"doors": ["ask"],
		"deny": set(),
		"permit": false,
		"approvals": {"legal_officer"},
		"obligations": set(),
		"redactions": {"religion"},
		"limits": {"threshold": 900},
		"withhold": true,
	}
	d := data.passerelle.decision with input as f.ask with data.passerelle.rules["ZZ-01"] as added
	not d.allow
	count(d.denials) == 0
	d.approvals_needed == [{"role": "legal_officer", "rule": "ZZ-01"}]
	d.redactions == ["religion"]
	d.limits.threshold == 900
	not d.disclose_reason
}

test_obligations_of_a_denied_query_are_of_those_who_denied if {
	d := f.decide(f.with_fact(f.ask, "/query/purpose_code", "tax-enforcement"))
	d.obligations == []
}
