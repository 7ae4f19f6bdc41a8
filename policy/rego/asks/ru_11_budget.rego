# METADATA
# title: Query budget
# description: |
#   Each peer, agency and unit has an agreed daily number of queries; above it queries wait or are refused, which also
#   stops enumeration of a list by guessing.
# custom:
#   doors: [answer]
#   regimes: [Model practice, EU-LED]
#   citation: LED Art. 29(2)(d)-(f)
#   verified: true
#   references:
#     - "Five Country Conference protocol: about 3,000 fingerprint records per country per year (read in a secondary source)"
#     - "Prüm II: daily search capacities"
#   limits: The holder cannot count per officer, only per pseudonym of a unit.
package passerelle.rules["RU-11"]

import data.passerelle.facts

doors := rego.metadata.chain()[1].annotations.custom.doors

deny contains "No daily budget is agreed for this query. Ask your operators to agree on one." if no_budget

no_budget if not input.budgets

no_budget if count(input.budgets) == 0

deny contains "The daily budget cannot be counted. The holder's operator must mend this before anything is answered." if {
	some budget in input.budgets
	not countable(budget)
}

countable(budget) if {
	facts.whole(budget.used)
	facts.whole(budget.requested)
	facts.whole(budget.limit)
	facts.whole(budget.resets_in_s)
	budget.requested > 0
}

deny contains sentence if {
	some budget in exhausted
	sentence := sprintf(
		"The agreed daily number of queries (%d) is used up. Ask again in %d minutes, or ask your legal officer for a higher one.",
		[budget.limit, ceil(budget.resets_in_s / 60)],
	)
}

exhausted contains budget if {
	some budget in input.budgets
	countable(budget)
	budget.used + budget.requested > budget.limit
}

limits["retry_after_s"] := max({budget.resets_in_s | some budget in exhausted}) if count(exhausted) > 0

# Auditors hear of the query that reaches a mark, and of every one refused.
obligations contains {"kind": "notify_auditors", "percent": percent} if {
	some percent in [80, 100]
	some budget in input.budgets
	countable(budget)
	budget.used * 100 < budget.limit * percent
	(budget.used + budget.requested) * 100 >= budget.limit * percent
	count(exhausted) == 0
}

obligations contains {"kind": "notify_auditors", "percent": 100} if count(exhausted) > 0
