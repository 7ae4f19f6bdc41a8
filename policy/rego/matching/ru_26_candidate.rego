# METADATA
# title: A match is a candidate
# description: |
#   Below the release threshold nothing is returned; above it the result is a candidate for human review and never an
#   identity; thresholds are set per modality in the agreement and logged with the result.
# custom:
#   doors: [ask, disclose]
#   regimes: [EU-Prüm, EU-LED]
#   citation: 'Prüm II Reg. 2024/982: "the importance of a human decision before information is released"; LED Art. 7(2)'
#   verified: true
#   limits: >-
#     Threshold and profile are logged, and no score: biometric search yields none, and for names the score exists only at
#     the asker. For names the asker learns every single key class that matches, even under the threshold.
package passerelle.rules["RU-26"]

import data.passerelle.facts

doors := rego.metadata.chain()[1].annotations.custom.doors

# Exact keys, such as a document number, have no modality and no threshold.
modality := input.query.modality if input.door == "ask"

modality := input.match.modality if input.door == "disclose"

profile := input.query.profile if input.door == "ask"

profile := input.match.profile if input.door == "disclose"

agreed := threshold if {
	modality != ""
	threshold := input.agreement.thresholds[modality]
	facts.whole(threshold)
	threshold > 0
}

deny contains "It is not said how candidates are compared. Ask your operator; nothing was sent." if not stated

stated if modality == ""

stated if {
	is_string(modality)
	is_string(profile)
	profile != ""
}

deny contains sprintf("The agreement has no threshold for %q. Ask your legal officer to agree on one.", [modality]) if {
	modality != ""
	not agreed
}

limits["threshold"] := agreed if input.door == "ask"

obligations contains {"kind": "human_review", "people": 1} if input.door == "ask"

obligations contains {"kind": "log_match", "modality": modality, "profile": profile, "threshold": agreed} if {
	input.door == "ask"
}

deny contains "The candidate is below the agreed threshold, so it is not a match. Nothing can be disclosed." if {
	input.door == "disclose"
	stated
	not reached
}

reached if {
	modality == ""
	input.match.within_threshold == true
}

reached if {
	input.match.within_threshold == true
	facts.whole(input.match.threshold)
	input.match.threshold >= agreed
	not under_by_score
}

under_by_score if {
	not unscored
	not scored_enough
}

unscored if input.match.scored == false

scored_enough if {
	facts.whole(input.match.score)
	input.match.score >= agreed
}

deny contains "A person must confirm the candidate before anything is disclosed. Let a trained officer compare it first." if {
	input.door == "disclose"
	not human
}

# Comparison material is what people confirm with.
human if input.stage == "verify"

human if {
	input.stage == "full"
	input.match.confirmed == true
	facts.whole(input.match.confirmed_by)
	input.match.confirmed_by >= 1
}
