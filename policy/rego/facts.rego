# METADATA
# title: Facts
# description: Facts that several rules read, in the words of the input vocabulary.
package passerelle.facts

# The side that asks, and the side that has the data.
asker := input.self if input.door == "ask"

asker := input.peer if input.door in {"answer", "publish", "disclose"}

holder := input.peer if input.door == "ask"

holder := input.self if input.door in {"answer", "publish", "disclose"}

collection := input.collection if input.door == "publish"

collection := input.query.collection if input.door in {"ask", "answer", "disclose"}

# Never undefined, so that a sentence may name it.
default category := ""

category := input.category if input.door in {"publish", "retain"}

category := input.query.category if input.door in {"ask", "answer", "disclose"}

# The agency for which a gateway acts, as registered in the agreement.
agencies(gateway) := {party |
	some party in input.agreement.parties
	party.trust_domain == gateway.trust_domain
	party.country == gateway.country
	party.agency_code == gateway.agency_code
}

# A moment, "2026-11-22T18:55:58Z": moments compare as text.
moment(t) if {
	is_string(t)
	regex.match(`^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z$`, t)
}

# A whole number that is not negative.
whole(n) if {
	is_number(n)
	n >= 0
	n == floor(n)
}

# The number of items that a query about n subjects shows: 1, 4, 16 or the next
# multiple of 64.
padded(n) := min({p | some p in [1, 4, 16]; n <= p} | {ceil(n / 64) * 64})

# A provision in the register of the agencies that covers purpose and category.
registered(parties, ref, purpose, of_category) if {
	ref != ""
	some party in parties
	some basis in party.legal_bases
	basis.ref == ref
	purpose in basis.purposes
	of_category in basis.categories
}
