// SPDX-License-Identifier: Apache-2.0
//! What krs writes is what 0.1 wrote, byte for byte: archives, volumes, receipts, results in JSON and exit codes. Each
//! difference is in [`DIFFERENCES`], with its reason.

use std::collections::BTreeMap;

use camino::Utf8PathBuf;
use krs_testing::image::ImageBuilder;
use krs_testing::registry::{Matcher, What};

use super::recorder::{EDGE, Reaches, Recorder};

/// Lines that 0.1 wrote, and those that are in their place.
struct Difference {
    /// The text, or the texts that begin with what is before a `*`.
    text: &'static str,
    /// Without white space around them.
    before: &'static [&'static str],
    after: &'static [&'static str],
    #[expect(dead_code, reason = "for readers of the table")]
    why: &'static str,
}

const DIFFERENCES: &[Difference] = &[
    Difference {
        text: "bundle-*",
        before: &[],
        after: &[r#""bytesLocal": 0,"#],
        why: "`krs bundle --from` reads images from local sources, and says how much came from there",
    },
    Difference {
        text: "exit-codes.txt",
        before: &["1\tother\t1\tbundle and registry swapped"],
        after: &["2\tusage\t2\tbundle and registry swapped"],
        why: "it is the call that is wrong; before, the file was not found",
    },
];

fn folder() -> Utf8PathBuf {
    Utf8PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../testdata/golden/0.1/written"))
}

/// All that a program writes for the same input.
pub(super) fn record(program: &str) -> BTreeMap<String, String> {
    let mut krs = Recorder::new(program);
    let set = krs.set();
    let set = set.as_str();
    let signed = ["--key", "test.key"];
    let trusted = ["--public-key", "test.pub"];
    let bundle = |file| ["bundle", set, "-o", file];
    use Reaches::{Edge, Source};

    krs.result("validate", 0, Source, &[&["validate", set]]);
    krs.result("plan", 0, Source, &[&["plan", set, "--rate", "10MiB"]]);
    let full = ["--stream", "prod", "--sequence", "7", "--audience", "berlin", "--not-after", "2999-01-01"];
    krs.result("bundle-dry-run", 0, Source, &[&bundle("full.krs.tar"), &full, &["--dry-run"]]);
    krs.result("bundle-full", 0, Source, &[&bundle("full.krs.tar"), &full, &signed]);
    krs.archive("full.krs.tar");
    krs.result("bundle-unsigned", 0, Source, &[&bundle("unsigned.krs.tar"), &["--referrers", "none"]]);
    krs.archive("unsigned.krs.tar");
    let platforms = ["--platform", "linux/arm,linux/amd64"];
    krs.result("bundle-platform", 0, Source, &[&bundle("platform.krs.tar"), &platforms, &signed]);
    krs.archive("platform.krs.tar");

    krs.result("verify", 0, Source, &[&["verify", "full.krs.tar"], &trusted]);
    krs.result("verify-unsigned", 0, Source, &[&["verify", "unsigned.krs.tar"]]);
    krs.result("inspect", 0, Source, &[&["inspect", "full.krs.tar"], &trusted]);
    krs.result("inspect-tree", 0, Source, &[&["inspect", "platform.krs.tar", "--tree"]]);
    krs.result("push-dry-run", 0, Edge, &[&["push", "full.krs.tar", EDGE, "--dry-run"], &trusted]);
    krs.result("push", 0, Edge, &[&["push", "full.krs.tar", EDGE], &trusted]);
    krs.result("push-again", 0, Edge, &[&["push", "full.krs.tar", EDGE], &trusted]);
    krs.result("receipt", 0, Edge, &[&["receipt", EDGE, "--set", set, "-o", "plain.receipt.json"]]);
    krs.receipt("plain.receipt.json");
    let site = ["--site", "berlin", "--probe", "-o", "site.receipt.json"];
    krs.result("receipt-site", 0, Edge, &[&["receipt", EDGE, "--set", set], &site]);
    krs.receipt("site.receipt.json");

    let second = ImageBuilder::new("web").layer(vec![b's'; 3000]).layer_random(900, 9).build();
    krs.site.add(&second, "team/web", "2.0");
    krs.commit();
    let against = ["--against", "site.receipt.json", "--against", "full.krs.tar"];
    let delta = ["--stream", "prod", "--sequence", "8"];
    krs.result("plan-delta", 0, Source, &[&["plan", set], &against]);
    krs.result("bundle-delta", 0, Source, &[&bundle("delta.krs.tar"), &delta, &against, &signed]);
    krs.archive("delta.krs.tar");
    krs.result("push-delta", 0, Edge, &[&["push", "delta.krs.tar", EDGE], &trusted]);
    krs.result("diff-bundles", 10, Source, &[&["diff", "full.krs.tar", "delta.krs.tar"]]);
    krs.result("diff-receipt", 10, Source, &[&["diff", "site.receipt.json", "delta.krs.tar"]]);
    krs.result("diff-edge", 0, Edge, &[&["diff", "delta.krs.tar", EDGE]]);
    krs.result("diff-checkout", 10, Source, &[&["diff", "full.krs.tar", set]]);

    let large = ImageBuilder::new("large").layer(vec![b'l'; 150_000]).build();
    krs.site.add(&large, "team/large", "1.0");
    krs.commit();
    krs.result(
        "bundle-volumes",
        0,
        Source,
        &[&bundle("volumes.krs.tar"), &["--volume-size", "64KiB"], &signed],
    );
    krs.archive("volumes.krs.tar");
    krs.text("volumes.krs.json");
    krs.text("volumes.krs.json.minisig");
    krs.result("verify-volumes", 0, Source, &[&["verify", "volumes.krs.json"], &trusted]);
    std::fs::create_dir(krs.site.desk.path("drive")).unwrap();
    krs.result("copy", 0, Source, &[&["copy", "full.krs.tar", "volumes.krs.json", "drive"]]);
    krs.result("inspect-folder", 0, Source, &[&["inspect", "drive"]]);
    krs.result("sign", 0, Source, &[&["sign", "unsigned.krs.tar"], &signed]);
    krs.archive("unsigned.krs.tar");

    // Images that are missing: first the run ends, then it keeps going without them.
    let (digest, _) = large.blobs.last().unwrap();
    krs.site.source.fail(Matcher::blobs().path(digest), What::Status(404, Vec::new(), String::new()));
    krs.site.name("team/gone:1.0");
    krs.commit();
    krs.result("bundle-missing", 6, Source, &[&bundle("missing.krs.tar"), &["--keep-going"]]);
    krs.archive("missing.krs.tar");
    krs.result("verify-missing", 6, Source, &[&["verify", "missing.krs.tar"]]);

    failures(&mut krs);
    krs.texts()
}

/// Calls that fail.
fn failures(krs: &mut Recorder) {
    use Reaches::{Edge, Source};
    let set = krs.set();
    let set = set.as_str();
    let desk = |name: &str, bytes: &[u8], krs: &Recorder| drop(krs.site.desk.write(name, bytes));
    krs.failure("images are missing", Source, &["bundle", set, "-o", "b.krs.tar"]);
    krs.failure("no such file", Source, &["verify", "nothing.krs.tar"]);
    krs.failure("a folder in place of a bundle", Source, &["verify", "drive"]);
    krs.failure("no output", Source, &["bundle", set]);
    krs.failure("no such option", Source, &["verify", "full.krs.tar", "--fast"]);
    krs.failure("no such command", Source, &["verfy", "full.krs.tar"]);
    krs.failure("no sets", Source, &["plan", "home"]);
    krs.failure("no such path", Source, &["validate", "nowhere"]);
    krs.failure("no folder for the output", Source, &["bundle", set, "-o", "nowhere/a.krs.tar"]);
    krs.failure("an output that is no bundle", Source, &["bundle", set, "-o", "test.pub"]);
    krs.failure("an invalid destination", Source, &["push", "full.krs.tar", "https://edge.local"]);
    krs.failure("bundle and registry swapped", Source, &["push", EDGE, "full.krs.tar"]);
    krs.failure("an invalid size of volumes", Source, &["plan", set, "--volume-size", "3"]);

    let full = std::fs::read(krs.site.desk.path("full.krs.tar")).unwrap();
    desk("gzip.krs.tar", &[0x1f, 0x8b, 8, 0], krs);
    krs.failure("compressed", Source, &["verify", "gzip.krs.tar"]);
    desk("empty.krs.tar", b"", krs);
    krs.failure("an empty file", Source, &["verify", "empty.krs.tar"]);
    desk("half.krs.tar", &full[..full.len() / 2], krs);
    krs.failure("a bundle that is cut", Source, &["verify", "half.krs.tar"]);
    krs.failure("a bundle that is cut, shown", Source, &["inspect", "half.krs.tar"]);
    krs.failure("a bundle that is cut, pushed", Edge, &["push", "half.krs.tar", EDGE]);
    desk("more.krs.tar", &[&full[..], b"more"].concat(), krs);
    krs.failure("something after the end", Source, &["inspect", "more.krs.tar"]);
    let mut flipped = full;
    let middle = flipped.len() / 2;
    flipped[middle] ^= 1;
    desk("flipped.krs.tar", &flipped, krs);
    krs.failure("a damaged bundle", Source, &["verify", "flipped.krs.tar"]);
    krs.failure("a damaged bundle, pushed", Edge, &["push", "flipped.krs.tar", EDGE]);
    krs.failure("a damaged bundle, copied", Source, &["copy", "flipped.krs.tar", "drive"]);
    std::fs::remove_file(krs.site.desk.path("volumes.krs.tar.002")).unwrap();
    krs.failure("a missing volume", Source, &["verify", "volumes.krs.json"]);

    let other = "untrusted comment: minisign public key 1\nRWQf6LRCGA9i53mlYecO4IzT51TGPpvWucNSCh1CBM0QTaLn73Y7GFO3\n";
    desk("other.pub", other.as_bytes(), krs);
    krs.failure("another key", Source, &["verify", "full.krs.tar", "--public-key", "other.pub"]);
    krs.failure("no signature", Source, &["verify", "delta.krs.tar", "--public-key", "other.pub"]);
    krs.failure("no key", Source, &["verify", "full.krs.tar", "--public-key", "nothing.pub"]);
    krs.failure("no key to sign with", Source, &["sign", "full.krs.tar", "--key", "test.pub"]);
    krs.failure(
        "a signature that is required",
        Source,
        &["bundle", set, "-o", "b.krs.tar", "--require-signature"],
    );
    let key = ["--public-key", "test.pub"];
    krs.failure(
        "another stream",
        Source,
        &[&["verify", "full.krs.tar", "--stream", "test"][..], &key].concat(),
    );
    krs.failure(
        "another site",
        Source,
        &[&["verify", "full.krs.tar", "--audience", "kiel"][..], &key].concat(),
    );
    krs.failure("too old", Source, &[&["verify", "full.krs.tar", "--min-sequence", "8"][..], &key].concat());
    krs.failure("older than what was pushed", Edge, &[&["push", "full.krs.tar", EDGE][..], &key].concat());
    let lower = ["bundle", set, "-o", "full.krs.tar", "--stream", "prod", "--sequence", "6", "--keep-going"];
    krs.failure("a sequence that went back", Source, &lower);
    krs.failure("a receipt that is damaged", Source, &["plan", set, "--against", "test.pub"]);

    let status = |status: u16| What::Status(status, Vec::new(), String::new());
    let push = ["push", "delta.krs.tar", EDGE, "--retries", "0"];
    for (answer, what) in [
        (401, "credentials are required"),
        (403, "credentials are refused"),
        (404, "the repository is not found"),
        (405, "the registry is read-only"),
        (413, "too large"),
        (429, "rate limited"),
        (500, "the registry fails"),
        (507, "no space in the registry"),
    ] {
        krs.site.edge.fail(Matcher::any(), status(answer));
        krs.failure(
            &format!("{what} (status {answer}), pushed"),
            Edge,
            &[&push[..], &["--max-wait", "0s"]].concat(),
        );
        let receipt = ["receipt", EDGE, "--set", set, "--retries", "0", "--max-wait", "0s"];
        krs.failure(&format!("{what} (status {answer}), read"), Edge, &receipt);
        krs.site.edge.clear_faults();
    }
    krs.failure("nothing listens", Edge, &["push", "delta.krs.tar", "127.0.0.1:1", "--retries", "0"]);
    krs.site.source.clear_faults();
    krs.site.source.fail(Matcher::blobs(), What::WrongBytes);
    krs.failure("wrong bytes", Source, &["bundle", set, "-o", "b.krs.tar", "--keep-going", "--retries", "0"]);
}

fn golden() -> BTreeMap<String, String> {
    let entries = folder().read_dir_utf8().unwrap().map(|entry| entry.unwrap().into_path());
    let entries = entries.filter(|path| !path.file_name().unwrap().starts_with("test."));
    entries
        .map(|path| (path.file_name().unwrap().to_owned(), std::fs::read_to_string(&path).unwrap()))
        .collect()
}

/// Lines before and after, where two texts differ.
fn hunks(before: &str, after: &str) -> Vec<(Vec<String>, Vec<String>)> {
    let (old, new) = (before.lines().collect::<Vec<_>>(), after.lines().collect::<Vec<_>>());
    // The longest common lines from each pair of positions on.
    let mut common = vec![vec![0_u32; new.len() + 1]; old.len() + 1];
    for (i, from) in old.iter().enumerate().rev() {
        for (j, to) in new.iter().enumerate().rev() {
            common[i][j] =
                if from == to { common[i + 1][j + 1] + 1 } else { common[i + 1][j].max(common[i][j + 1]) };
        }
    }
    let (mut i, mut j, mut hunks) = (0, 0, Vec::new());
    let mut hunk = (Vec::new(), Vec::new());
    while i < old.len() || j < new.len() {
        if i < old.len() && j < new.len() && old[i] == new[j] {
            hunks.push(std::mem::take(&mut hunk));
            (i, j) = (i + 1, j + 1);
        } else if j == new.len() || (i < old.len() && common[i + 1][j] >= common[i][j + 1]) {
            hunk.0.push(old[i].trim().to_owned());
            i += 1;
        } else {
            hunk.1.push(new[j].trim().to_owned());
            j += 1;
        }
    }
    hunks.push(hunk);
    hunks.retain(|(before, after)| !before.is_empty() || !after.is_empty());
    hunks
}

/// Fails where the texts differ otherwise than the table says, and where the table says more than that.
fn compare(before: &BTreeMap<String, String>, after: &BTreeMap<String, String>, differences: &[Difference]) {
    let names = |texts: &BTreeMap<String, String>| texts.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(before), names(after));
    let mut unused = (0..differences.len()).collect::<Vec<_>>();
    let mut wrong = String::new();
    for ((name, before), after) in before.iter().zip(after.values()) {
        for (old, new) in hunks(before, after) {
            let is_it = |difference: &Difference| {
                difference
                    .text
                    .strip_suffix('*')
                    .map_or(name == difference.text, |start| name.starts_with(start))
                    && difference.before == old
                    && difference.after == new
            };
            match differences.iter().position(is_it) {
                Some(row) => unused.retain(|one| *one != row),
                None => {
                    wrong.push_str(&format!("{name}:\n"));
                    old.iter().for_each(|line| wrong.push_str(&format!("  - {line}\n")));
                    new.iter().for_each(|line| wrong.push_str(&format!("  + {line}\n")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "not what 0.1 wrote, and not a known difference:\n{wrong}");
    let unused = unused.into_iter().map(|row| differences[row].text).collect::<Vec<_>>();
    assert!(unused.is_empty(), "no such difference any more: {unused:?}");
}

#[test]
fn what_krs_writes_is_what_0_1_wrote() {
    compare(&golden(), &record(env!("CARGO_BIN_EXE_krs")), DIFFERENCES);
}

#[test]
#[ignore = "needs the program of a released version in $KRS_RELEASED"]
fn a_released_version_still_writes_the_golden_files() {
    let released = std::env::var("KRS_RELEASED").expect("KRS_RELEASED is the path of a released krs");
    let texts = record(&released);
    if std::env::var_os("KRS_WRITE_GOLDEN").is_some() {
        for (name, text) in &texts {
            std::fs::write(folder().join(name), text).unwrap();
        }
    }
    compare(&golden(), &texts, &[]);
}
