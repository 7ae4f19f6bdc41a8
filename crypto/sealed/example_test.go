package sealed_test

import (
	"fmt"

	"github.com/passerelle/passerelle/crypto/sealed"
)

// The auditor makes an identity elsewhere and hands over the recipient, one line of
// text. The gateway seals what it must be able to account for, and keeps only the
// digest in its log.
func Example() {
	auditor, err := sealed.GenerateIdentity()
	if err != nil {
		panic(err)
	}
	recipient, err := sealed.ParseRecipient(auditor.Recipient().String())
	if err != nil {
		panic(err)
	}

	context := sealed.Context{QueryID: [16]byte{0x01, 0x9a}, Leaf: []byte("entry without the digest")}
	envelope, err := sealed.Seal(recipient, context, []byte("who asked for whom, and why"))
	if err != nil {
		panic(err)
	}
	fmt.Println(len(envelope), "bytes")

	content, err := sealed.Open(auditor, context, envelope)
	fmt.Printf("%s, %v\n", content, err)

	context.QueryID[0]++
	_, err = sealed.Open(auditor, context, envelope)
	fmt.Println(err)
	// Output:
	// 4096 bytes
	// who asked for whom, and why, <nil>
	// sealed: cannot be opened
}
