# METADATA
# title: A named officer and a reason
# description: |
#   Each consultation identifies the officer, the unit, the case and the justification, so that the reason can be
#   established later from the log.
# custom:
#   doors: [ask, answer]
#   regimes: [EU-LED, EU-Eurodac]
#   citation: >-
#     LED Art. 25(1) logs "shall make it possible to establish the justification, date and time … and, as far as
#     possible, the identification of the person"; Eurodac Reg. 2024/1358 Art. 41(1)
#   verified: true
#   limits: >-
#     The holder sees only that a case reference and a justification are in the asker's sealed content, and a pseudonym
#     of the unit; the asker's auditor can open them.
package passerelle.rules["RU-06"]

doors := rego.metadata.chain()[1].annotations.custom.doors

least_length := 20 # characters of a justification

least_words := 4 # different words of a justification

deny contains "The query is not by a named officer. Ask with your own key, not with a shared or technical account." if {
	input.door == "ask"
	not officer
}

officer if {
	input.officer.named == true
	input.officer.pseudonym != ""
}

deny contains "Your unit is not known. Ask the administrators of the officer register to enter it." if {
	input.door == "ask"
	not unit
}

unit if input.officer.unit != ""

deny contains "There is no case reference, or it is a placeholder. Give the number of the case." if {
	input.door == "ask"
	not case
}

case if {
	input.query.case_ref.present == true
	input.query.case_ref.placeholder == false
}

deny contains "The justification is missing or fits every case. Say in one full sentence why you ask about this person now." if {
	input.door == "ask"
	not reason
}

reason if {
	input.query.justification.boilerplate == false
	input.query.justification.length >= least_length
	input.query.justification.words >= least_words
}

obligations contains {"kind": "log_justification"} if input.door == "ask"

deny contains "The asking country did not log an officer's unit, a case and a justification. It must ask again with all three." if {
	input.door == "answer"
	not attested
}

attested if {
	input.query.unit != ""
	input.query.case_reference == true
	input.query.justification == true
}
