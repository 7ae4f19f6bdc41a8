// Package policy decides whether data may be asked for, answered, published,
// disclosed or kept, by rules that legal officers write in Rego, the language of
// the [Open Policy Agent].
//
//	AskInput, AnswerInput, ... --Stored--> facts in JSON --Decide--> Decision
//	                                                 ^
//	Bundle: rules and their tests --Activate---------+
//
// A country's rules stand at five doors: [Ask] and [Answer] around a query,
// [Publish] before a record is exposed to a neighbour at all, [Disclose] after
// people confirmed a candidate, and [Retain] for everything done with data
// later. Each door has its own type of input. What a door cannot know is not in
// its type: at Answer the subject is missing, because the holder never sees it.
//
// # Fail closed
//
// A [Decision] allows only if some rule permits, none denies and no approval is
// missing. Rules that fail, that are undefined, that contradict themselves, or
// that ask for something the gateway does not know how to do, deny. The zero
// Decision denies, and so does every Decision that is returned with an error.
//
// # Replay
//
// A decision depends on the stored form of its input and on the bundle, and on
// nothing else. The clock and all counters are facts; rules have no access to
// time, chance, network or machine. [Engine.Replay] gives the same decision
// again, or shows what a draft would have decided.
//
// # What inputs hold
//
// Codes of the agreement, counts, dates and erasable pseudonyms. Free text is
// coded by [NewText] and [NewRef] before it comes near an input, so that it is
// not in the engine, the stored inputs, or an error. Errors name places in rules
// and fields of decisions, never values.
//
// # Bundles
//
// A [Bundle] is a tree of Rego files. Package passerelle has the decision; each
// rule of the catalogue is one package passerelle.rules["RU-nn"] with its title,
// duty, citation and regimes as METADATA; tests are in files _test.rego in
// packages below passerelle.tests, and cannot change a decision. A bundle
// becomes active only if it compiles with a short list of built-in functions,
// if every test passes twice, and if the tests make every clause of every rule
// true. Decisions are made with rules in which what depends on no fact was worked
// out once, by OPA with all its optimisations; tests pass on these, and on the rules
// as they are written, without rule indexing and early exit. A decision is by one
// bundle, which it names.
//
// Out of scope: who the parties are, how budgets are counted, how obligations
// are performed, signatures of bundles.
//
// [Open Policy Agent]: https://www.openpolicyagent.org/docs/policy-language
package policy
