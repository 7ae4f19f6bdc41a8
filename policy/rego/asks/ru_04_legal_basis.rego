# METADATA
# title: Legal basis is named
# description: |
#   The query names the domestic provision it rests on, and that provision must be in the register that the
#   requesting State has published for this purpose and category.
# custom:
#   doors: [ask, answer]
#   regimes: [EU-LED]
#   citation: LED Art. 8(1)-(2) and Art. 24(1)(g)
#   verified: true
package passerelle.rules["RU-04"]

import data.passerelle.facts

doors := rego.metadata.chain()[1].annotations.custom.doors

deny contains "No legal basis is named. Name the provision of your law that allows this query." if not named

named if {
	is_string(input.query.legal_basis_ref)
	trim_space(input.query.legal_basis_ref) != ""
}

deny contains "The named legal basis is not in the asking country's register for this purpose and category. Choose one that is." if {
	named
	not registered
}

registered if {
	facts.registered(
		facts.agencies(facts.asker),
		input.query.legal_basis_ref,
		input.query.purpose_code,
		facts.category,
	)
}
