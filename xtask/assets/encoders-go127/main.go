// SPDX-License-Identifier: Apache-2.0

// Command encoders-go127 compresses standard input to standard output with compress/gzip of Go 1.27, whose encoder is another
// than that of earlier releases: krs-encoders-go127 LEVEL <in >out.
package main

import (
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strconv"
)

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "krs-encoders-go127:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("usage: krs-encoders-go127 LEVEL <in >out")
	}
	level, err := strconv.Atoi(args[0])
	if err != nil {
		return err
	}
	writer, err := gzip.NewWriterLevel(os.Stdout, level)
	if err != nil {
		return err
	}
	if _, err := io.Copy(writer, os.Stdin); err != nil {
		return err
	}
	return writer.Close()
}
