package entry

// Binding returns the bytes to which the sealed content of e is bound: the
// encoding of e with Sealed set to zero. Content that was sealed for one entry
// does not open as that of another.
//
// Sealed itself need not be set yet. Binding returns an error wrapping
// [ErrInvalid] if e is not valid otherwise.
func (e *Entry) Binding() ([]byte, error) {
	c := *e
	c.Sealed[0] = 1 // for the check only: the hash is not known before sealing
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c.Sealed = [32]byte{}
	return c.append(nil), nil
}
