// SPDX-License-Identifier: Apache-2.0

// Command encoders-k1 (encoders-k2: the same with other versions of the modules) compresses what it is sent with the encoders
// that ours are compared with. A request is a line FAMILY LEVEL SIZE WRITES and SIZE plain bytes; WRITES are the sizes of the
// Write calls, separated by commas, which are used again and again. The answer is a line with a size, and the gzip file.
package main

import (
	"bufio"
	"bytes"
	stdgzip "compress/gzip"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/pgzip"
)

func main() {
	in, out := bufio.NewReaderSize(os.Stdin, 1<<20), bufio.NewWriterSize(os.Stdout, 1<<20)
	for {
		var family string
		var level, size int
		var writes string
		if _, err := fmt.Fscanf(in, "%s %d %d %s\n", &family, &level, &size, &writes); err == io.EOF {
			return
		} else if err != nil {
			fail(err)
		}
		plain := make([]byte, size)
		if _, err := io.ReadFull(in, plain); err != nil {
			fail(err)
		}
		compressed, err := compress(family, level, plain, writes)
		if err != nil {
			fail(err)
		}
		fmt.Fprintln(out, len(compressed))
		out.Write(compressed)
		if err := out.Flush(); err != nil {
			fail(err)
		}
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, "encoders:", err)
	os.Exit(1)
}

func compress(family string, level int, plain []byte, writes string) ([]byte, error) {
	var compressed bytes.Buffer
	var writer io.WriteCloser
	var err error
	switch family {
	case "go":
		writer, err = stdgzip.NewWriterLevel(&compressed, level)
	case "klauspost":
		writer, err = gzip.NewWriterLevel(&compressed, level)
	case "pgzip":
		writer, err = pgzip.NewWriterLevel(&compressed, level)
	default:
		err = fmt.Errorf("unknown family %q", family)
	}
	if err != nil {
		return nil, err
	}
	sizes := strings.Split(writes, ",")
	for turn := 0; len(plain) > 0; turn++ {
		size, err := strconv.Atoi(sizes[turn%len(sizes)])
		if err != nil {
			return nil, err
		}
		size = min(max(size, 1), len(plain))
		if _, err := writer.Write(plain[:size]); err != nil {
			return nil, err
		}
		plain = plain[size:]
	}
	if err := writer.Close(); err != nil {
		return nil, err
	}
	return compressed.Bytes(), nil
}
