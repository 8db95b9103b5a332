// SPDX-License-Identifier: Apache-2.0

// krs-ocimem serves an empty registry, kept in memory, at the address that it is given. It is of another family than
// Distribution: tests find out what krs takes for granted that only Distribution does.
package main

import (
	"fmt"
	"net/http"
	"os"

	"cuelabs.dev/go/oci/ociregistry/ocimem"
	"cuelabs.dev/go/oci/ociregistry/ociserver"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: krs-ocimem HOST:PORT")
		os.Exit(2)
	}
	fmt.Fprintln(os.Stderr, http.ListenAndServe(os.Args[1], ociserver.New(ocimem.New(), nil)))
	os.Exit(1)
}
