// SPDX-License-Identifier: Apache-2.0

// Command krs-gzip compresses standard input to standard output as the builders of real images do: with Go's own
// compress/gzip, or with pgzip.
package main

import (
	stdgzip "compress/gzip"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/pgzip"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "krs-gzip:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	var writer io.WriteCloser
	switch {
	case len(args) == 1 && args[0] == "go":
		writer = stdgzip.NewWriter(os.Stdout)
	case len(args) == 1 && args[0] == "pgzip":
		writer = pgzip.NewWriter(os.Stdout)
	default:
		return fmt.Errorf("usage: krs-gzip go|pgzip <in >out")
	}
	if _, err := io.Copy(writer, os.Stdin); err != nil {
		return err
	}
	return writer.Close()
}
