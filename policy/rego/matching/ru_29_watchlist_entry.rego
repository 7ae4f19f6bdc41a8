# METADATA
# title: Watch-list entries have criteria, an owner and a review date
# description: |
#   Only a watch-list entry with a nominating agency, an inclusion criterion, an evidence grade and a review date in the
#   future is published. A record of any category stays unpublished when its review date has passed, when the person
#   contests it or a complaint about it was upheld, or when it is not active. An entry of the UN Security Council
#   Consolidated List need not have what that list does not publish: owner, criterion and review are the Council's.
# custom:
#   doors: [publish]
#   regimes: [UN, GCTF, EU-LED]
#   citation: >-
#     S/RES/2396 (2017) OP 13 "shall develop watch lists or databases of known and suspected terrorists"; LED Art. 5
#   verified: true
#   references:
#     - GCTF Counterterrorism Watchlisting Toolkit (2021), of which only the existence was confirmed
#   limits: >-
#     Of S/RES/2396 only the paragraph number and the quoted words were confirmed, in slides of CTED. An entry is of the
#     UN list if its source list begins with "UN List: ", as the reader of that file writes it; whether the Council still
#     lists the person is known as of the file read last, and a source list written so into a file of one's own is
#     believed. The codes of criterion and grade are not compared with any list. Purging after the review date is not
#     done here.
package passerelle.rules["RU-29"]

import data.passerelle.facts

doors := rego.metadata.chain()[1].annotations.custom.doors

deny contains "The record is not active, so it is not published. Remove it, or correct it and read the list again." if not active

active if input.record.state == "active"

deny contains "The record is contested, or a complaint about it was upheld. Settle that before it is published." if not settled

settled if input.record.redress_state in {"", "none"}

deny contains "The review date has passed. Review the record, and enter the next date or remove it." if {
	not undated
	not in_time
}

undated if input.record.review_by == ""

in_time if {
	facts.moment(input.now)
	facts.moment(input.record.review_by)
	input.now < input.record.review_by
}

# Lists of lost documents, vehicles and the like nominate nobody.
exempt if {
	facts.category != "watchlist"
	facts.category != "" # not known
}

exempt if {
	is_string(input.record.source_list)
	startswith(input.record.source_list, "UN List: ")
}

deny contains "The watch-list entry has no review date. Enter one in the list, and read it again." if {
	not exempt
	undated
}

deny contains "The watch-list entry names no agency that nominated it. Enter it in the list, and read it again." if {
	not exempt
	not nominated
}

nominated if said(input.record.nominator)

deny contains "The watch-list entry has no criterion of inclusion. Enter its code in the list, and read it again." if {
	not exempt
	not justified
}

justified if said(input.record.criterion_code)

deny contains "The watch-list entry has no evidence grade. Enter the reliability grade in the list, and read it again." if {
	not exempt
	not graded
}

graded if said(input.record.reliability_grade)

said(code) if {
	is_string(code)
	trim_space(code) != ""
}
