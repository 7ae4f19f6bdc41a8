package holder

// What the door `publish` is told of a record.
var (
	Minor  = minor
	Origin = origin
)
