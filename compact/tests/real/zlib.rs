// SPDX-License-Identifier: Apache-2.0
//! zlib (Python's), GNU gzip and pigz of Debian, at all levels.

use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::process::{Command, Stdio};

use krs_compact::encoder::Family;
use krs_compact::encoder::zlib::Level;

use crate::reference::Reference;
use crate::support::gzip;
use crate::support::random::{Draw, plain};

/// Answers as the programs of [`Reference`] do, in the container that zlib writes itself.
const PYTHON: &str = "
import sys, zlib
while line := sys.stdin.buffer.readline():
    _, level, size, _ = line.decode().split(' ', 3)
    encoder = zlib.compressobj(int(level), zlib.DEFLATED, 31)
    stream = encoder.compress(sys.stdin.buffer.read(int(size))) + encoder.flush()
    sys.stdout.buffer.write(b'%d\\n' % len(stream) + stream)
    sys.stdout.buffer.flush()
";

/// Streams of each size, by how many of them are made for each level.
const SIZES: [(usize, usize); 4] = [(300, 30), (70_000, 10), (400_000, 3), (2_500_000, 1)];

/// `KRS_ENCODER_ROUNDS=100` compares a hundred times as many, others each time.
fn compare(family: impl Fn(Level) -> Family, mut expected: impl FnMut(u8, &[u8]) -> Vec<u8>) {
    let rounds = std::env::var("KRS_ENCODER_ROUNDS").map_or(1, |rounds| rounds.parse().unwrap());
    for (size, count) in SIZES {
        for number in 0..count * rounds {
            for level in 1..=9u8 {
                let mut draw = Draw::new((size + 7919 * number + 31 * usize::from(level)) as u32);
                let plain = plain(draw.below(size + 1), &mut draw);
                let pieces = (0..1 + draw.below(4)).map(|_| 1 + draw.skewed(200_000)).collect::<Vec<_>>();
                let family = family(Level::new(level).unwrap());
                let stream = gzip(&family.header(), family.encoder(), &plain, &pieces);
                assert!(
                    stream == expected(level, &plain),
                    "{family:?}: number {number} of size {size}, {} bytes",
                    plain.len()
                );
            }
        }
    }
}

/// What a program writes for a file on its standard input. From a pipe it would read as much as is in there by chance, and near
/// the end of its buffer GNU gzip writes something else then.
fn filter(program: &str, arguments: &[&str], level: u8, plain: &[u8]) -> Vec<u8> {
    let mut file: File = tempfile::tempfile().unwrap();
    file.write_all(plain).unwrap();
    file.rewind().unwrap();
    let mut command = Command::new(program);
    command.args(arguments).arg(format!("-{level}")).env_remove("GZIP").env_remove("PIGZ");
    let output = command.stdin(file).stderr(Stdio::inherit()).output();
    let output =
        output.unwrap_or_else(|error| panic!("{program}: {error}: run `cargo xtask tools` or install it"));
    assert!(output.status.success(), "{program}: {}", output.status);
    output.stdout
}

#[test]
fn random_streams_are_those_of_zlib() {
    let mut command = Command::new("python3");
    command.args(["-c", PYTHON]);
    let mut reference = Reference::run(command);
    compare(Family::Zlib, |level, plain| reference.gzip("zlib", i32::from(level), plain, &[]));
}

#[test]
fn random_streams_are_those_of_gnu_gzip() {
    compare(Family::Gnu, |level, plain| filter("gzip", &["-n", "-c"], level, plain));
}

#[test]
fn random_streams_are_those_of_pigz() {
    compare(Family::Pigz, |level, plain| filter("pigz", &["-n", "-c", "-p", "2"], level, plain));
}
