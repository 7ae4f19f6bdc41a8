# METADATA
# title: Cross-border sharing decision
# description: |
#   Unites what the rules say. A rule of the catalogue is one package
#   passerelle.rules["RU-nn"], named by its id, with any of
#
#     doors              the doors where it decides (required)
#     deny               sentences for the officer: what is wrong, and what to do
#     permit             true if the rule allows; at least one rule must
#     approvals          roles whose approval is missing
#     obligations        objects with a kind; they bind if the rule denied, or if no rule did
#     redactions         names of fields to leave out
#     limits             numbers by name; of two rules the larger one counts
#     withhold           true if not even the refusal may be explained to the other side
#
#   Any denial wins; then missing approvals suspend; then redactions, obligations
#   and limits are united.
#
#   Every fact that a rule wants and does not find counts against the query. So
#   rules deny with "not" in front of a rule of their own that says what is good,
#   as in "deny contains ... if not lawful". Never write "not" in front of a call
#   or an operator on facts, such as "not input.x in y": if input.x is missing
#   the whole clause is undefined, and does not deny.
package passerelle

# METADATA
# description: Rules that no agreement can switch off.
permanent := {"RU-01", "RU-23", "RU-40"}

# METADATA
# description: The document that package policy reads. All fields are required.
# entrypoint: true
decision := {
	"allow": allow,
	"denials": sort(denials),
	"approvals_needed": sort(approvals),
	"obligations": sort(obligations),
	"redactions": sort(redactions),
	"limits": limits,
	"disclose_reason": disclose_reason,
	"rules": sort(deciding),
}

default decision := {
	"allow": false,
	"denials": [{"rule": "default_deny", "sentence": "No sharing rule could be applied. Tell your operator; nothing was sent."}],
	"approvals_needed": [],
	"obligations": [],
	"redactions": [],
	"limits": {},
	"disclose_reason": false,
	"rules": ["default_deny"],
}

default allow := false

allow if {
	permitted
	count(denials) == 0
	count(approvals) == 0
}

# The rules that decide at each door.
asked := {door: ids |
	some door in {d | some d in data.passerelle.rules[_].doors}
	ids := {id |
		some id
		door in data.passerelle.rules[id].doors
	}
}

switched_off := {id | some id in input.agreement.disabled_rules} - permanent

# Nobody, at a door that no rule knows.
default active := set()

active := asked[input.door] - switched_off

default permitted := false

permitted if {
	some id in active
	data.passerelle.rules[id].permit
}

objections contains {"rule": id, "sentence": sentence} if {
	some id in active
	some sentence in data.passerelle.rules[id].deny
}

denials contains objection if some objection in objections

denials contains {
	"rule": "default_deny",
	"sentence": "No sharing rule allows this. Ask your legal officer which agreement could cover it.",
} if {
	count(objections) == 0
	not permitted
}

approvals contains {"role": role, "rule": id} if {
	some id in active
	some role in data.passerelle.rules[id].approvals
}

# Who decided: those who denied or, if none did, everyone who was asked.
deciding := active if {
	count(denials) == 0
} else := {d.rule | some d in denials}

obligations contains object.union(obligation, {"rule": id}) if {
	some id in deciding
	some obligation in data.passerelle.rules[id].obligations
}

redactions contains field if {
	some id in active
	some field in data.passerelle.rules[id].redactions
}

wanted contains [name, n] if {
	some id in active
	some name, n in data.passerelle.rules[id].limits
}

limits[name] := max({n | some [name, n] in wanted}) if some [name, _] in wanted

silent contains id if {
	some id in active
	data.passerelle.rules[id].withhold
}

# What is published to a neighbour is never explained to it.
default disclose_reason := false

disclose_reason if {
	input.door in {"ask", "answer", "disclose", "retain"}
	count(silent) == 0
}
