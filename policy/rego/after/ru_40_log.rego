# METADATA
# title: Log first, log enough, use logs only for control
# description: |
#   No answer leaves unless the log entry is written; logs may be used only to check lawfulness, for self-monitoring,
#   integrity, security and criminal proceedings, and are open to the supervisory authority.
# custom:
#   doors: [answer, disclose, retain]
#   regimes: [EU-LED, EU-Eurodac, EU-AIA]
#   citation: LED Art. 25(1)-(3); Eurodac Reg. 2024/1358 Art. 41(1); AI Act Art. 12(3) and 26(6)
#   verified: true
#   limits: >-
#     The rule looks at the health of the log when it is asked; that the entry of this very query is durable before
#     anything is computed is the order of steps in the gateway.
package passerelle.rules["RU-40"]

import data.passerelle.facts

doors := rego.metadata.chain()[1].annotations.custom.doors

longest_age := 14400 # seconds, as X-Road does

answering if input.door in {"answer", "disclose"}

deny contains "The holder's log does not accept entries, and without an entry there is no answer. Ask again later." if {
	answering
	not writes
}

writes if input.log.write_ok == true

deny contains "Nobody outside has confirmed the holder's log for too long. Ask again later; its operator must mend this." if {
	answering
	not fresh
}

fresh if {
	facts.whole(input.log.timestamp_age_s)
	facts.whole(input.log.max_timestamp_age_s)
	input.log.timestamp_age_s <= min({longest_age} | {m | m := input.log.max_timestamp_age_s; m > 0})
}

reading if {
	input.door == "retain"
	input.action == "read_log"
}

permit if reading

readers := {"auditor", "supervisor"}

controls := {"lawfulness", "self_monitoring", "integrity", "security", "criminal_proceedings"}

deny contains "Only auditors and the supervisory authority may read the log. Ask your auditor." if {
	reading
	not reader
}

reader if input.reader.role in readers

deny contains "The log may be read only for control: lawfulness, self-monitoring, integrity, security or criminal proceedings." if {
	reading
	not control
}

control if input.reader.purpose in controls

obligations contains {"kind": "log_reading"} if reading
