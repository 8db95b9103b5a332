// SPDX-License-Identifier: Apache-2.0
//! Refusing a hostile archive takes little memory and little time, measured on the complete process.

use crate::harness::bundled;

/// Runs the command in its arguments; prints exit code, seconds, and peak memory in KiB.
const MEASURE: &str = "import resource, subprocess, sys, time\n\
    begun = time.monotonic()\n\
    code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode\n\
    print(code, time.monotonic() - begun, resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n";

#[test]
fn t05_t06_t22_a_hostile_archive_is_refused_within_64_mib_and_2_seconds() {
    let (workspace, ..) = bundled();
    let intact = std::fs::read(workspace.path().join("all.krs.tar")).unwrap();
    let middle = intact.len() / 2;
    let flipped = |at: usize| {
        let mut bytes = intact.clone();
        bytes[at] ^= 1;
        bytes
    };
    let nested = || {
        let mut bytes = intact.clone();
        bytes[1536..3000].fill(b'[');
        bytes
    };
    let cases = [
        ("empty", Vec::new(), 6),
        ("half", intact[..middle].to_vec(), 6),
        ("longer", [&intact[..], &[0; 512]].concat(), 4),
        ("layer", flipped(middle), 4),
        ("header", flipped(20), 4),
        ("manifest", flipped(1600), 3),
        ("nested", nested(), 3),
        ("zeroes", vec![0; 1 << 20], 4),
        ("twice", [&intact[..middle / 512 * 512], &intact[..]].concat(), 4),
        ("blank", [&intact[..middle], &vec![0; 4096], &intact[middle + 4096..]].concat(), 4),
        ("moved", [&intact[512..], &intact[..512]].concat(), 4),
    ];
    for (name, bytes, expected) in cases {
        let file = format!("{name}.krs.tar");
        std::fs::write(workspace.path().join(&file), bytes).unwrap();
        let krs = env!("CARGO_BIN_EXE_krs");
        let measured =
            workspace.tool("python3", &["-c", MEASURE, krs, "verify", &file, "--public-key", "ci.pub"]);
        let mut figures = measured.split_whitespace();
        let mut next = || figures.next().unwrap().parse::<f64>().unwrap();
        let (code, seconds, memory) = (next(), next(), next());
        assert!((code - f64::from(expected)).abs() < 0.1, "{name}: exit code {code}, expected {expected}");
        assert!(seconds < 2.0, "{name}: {seconds} s");
        assert!(memory < 64.0 * 1024.0, "{name}: {memory} KiB");
    }
}
