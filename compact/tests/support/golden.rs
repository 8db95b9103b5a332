// SPDX-License-Identifier: Apache-2.0
//! Tables of golden vectors: what real encoders make of the [inputs](super::inputs).
//!
//! In `testdata/golden`, a line has an input's name and for each encoder `SIZE:DIGEST` of its gzip stream, the digest cut to 16
//! digits, or `-`. They were made by Go 1.26.8 compress/gzip, klauspost/compress of the version in the table's head with pgzip
//! 1.2.6 on amd64, zlib 1.2.13, GNU gzip 1.12 `-n` from standard input, and pigz 2.6 `-n -p 2`, from one call with all bytes.

use std::fs;
use std::path::Path;

use sha2::Digest as _;

/// `SIZE:DIGEST` of a stream.
pub fn fingerprint(stream: &[u8]) -> String {
    format!("{}:{}", stream.len(), &hex::encode(sha2::Sha256::digest(stream))[..16])
}

/// One stream that an encoder wrote.
#[derive(Debug)]
pub struct Vector {
    pub input: String,
    /// The column's head: the level or the version.
    pub encoder: String,
    pub fingerprint: String,
}

/// The vectors of a table, by input.
pub fn table(name: &str) -> Vec<Vector> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/golden").join(name).with_extension("tsv");
    let text = fs::read_to_string(path).unwrap();
    let mut lines = text.lines().map(|line| line.split('\t'));
    let encoders: Vec<&str> = lines.next().unwrap().skip(1).collect();
    let mut vectors = Vec::new();
    for mut line in lines {
        let input = line.next().unwrap();
        for (encoder, fingerprint) in encoders.iter().zip(line) {
            if fingerprint != "-" {
                let (encoder, fingerprint) = ((*encoder).to_owned(), fingerprint.to_owned());
                vectors.push(Vector { input: input.to_owned(), encoder, fingerprint });
            }
        }
    }
    vectors
}

/// Compares each vector of a table with what `gzip(encoder, plain)` makes of its input, and reports all that differ.
pub fn assert_table(name: &str, at_least: usize, mut gzip: impl FnMut(&str, &[u8]) -> Vec<u8>) {
    let vectors = table(name);
    assert!(vectors.len() >= at_least, "{} vectors in {name}", vectors.len());
    let mut differ = Vec::new();
    let mut last = (String::new(), Vec::new());
    for vector in vectors {
        if last.0 != vector.input {
            last = (vector.input.clone(), super::inputs::input(&vector.input));
        }
        let actual = fingerprint(&gzip(&vector.encoder, &last.1));
        if actual != vector.fingerprint {
            differ.push(format!(
                "{} of {}: {actual}, expected {}",
                vector.encoder, vector.input, vector.fingerprint
            ));
        }
    }
    assert!(differ.is_empty(), "{} differ:\n{}", differ.len(), differ.join("\n"));
}
