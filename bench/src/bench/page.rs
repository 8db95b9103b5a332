// SPDX-License-Identifier: Apache-2.0
//! `docs/benchmarks.md`. Pure.

use std::fmt::Write as _;

use super::report::{GoalResult, Table, goals, markdown, megabytes};
use super::runner::Bench;

/// Writes the page of results.
pub(crate) fn write(
    facts: &[(String, String)],
    bench: &Bench,
    tables: &[Table],
    results: &[GoalResult],
) -> String {
    let content = format!(
        "{} images of Debian and PyPI packages, {} of content in {} blobs",
        bench.inventory.images.len(),
        megabytes(bench.inventory.bytes()),
        bench.inventory.blobs.len() + bench.inventory.manifests.len(),
    );
    page(facts, &content, bench.rounds, tables, results)
}

fn page(
    facts: &[(String, String)],
    content: &str,
    rounds: usize,
    tables: &[Table],
    results: &[GoalResult],
) -> String {
    let mut out = "# Benchmarks\n\nThis page shows what krs costs, compared with the least work that gives the same result (the \
                   *floor*) and with other programs.\nA full run of the first command writes this page:\n\n\
                   ```text\ncargo xtask bench            # most of an hour or more; needs Rust, Go and root on Debian 12\n\
                   cargo xtask bench --small    # a quick check that the benchmark works\n\
                   cargo xtask bench --only push --rounds 5\n```\n\n"
        .to_owned();
    out += &markdown(&goals(results)).replacen("### ", "## ", 1);
    for result in results.iter().filter(|result| !result.is_met && !result.why.is_empty()) {
        let _ = writeln!(out, "*{}*: {}\n", result.what, result.why);
    }
    out += "## How it is measured\n\n";
    let _ = writeln!(
        out,
        "- The content: {content} (`cargo xtask corpus`). The same package files give the same bytes.\n\
         - Registries are Distribution 3 on the same machine, over loopback and without TLS; each cold push has an empty \
         one.\n\
         - The programs take turns; rounds: {rounds}. The table has the median, the minimum and the maximum. A ratio is the \
         median of the ratios of each round. `sync` runs before each. Over the links of the benchmark there is one round.\n\
         - Processor time and memory are those of the programs, without the registry. If a program has to be called once \
         for each image, the times are added, and the highest memory counts.\n\
         - krs queries the registry for signatures and SBOMs; the other programs do not. krs flushes the archive to the disk \
         before it reports that it is ready; the floor and the other programs do not.\n\
         - Updates with patches are those of `cargo xtask corpus --updates`: slim images of a point release of Debian before and \
         after its security updates, a patch release of Python packages, a program in Go that was built again with a small \
         change, and a build that changes nothing but times, each compressed as builders do. One round; krs has no recipes of \
         earlier runs.\n\
         - The slow link is a forwarder that delays each byte by 25 ms in each direction, with 100 Mbit/s in each direction \
         for all connections together; opening a connection takes a round trip.\n"
    );
    out += "## Machine and programs\n\n| | |\n| --- | --- |\n";
    for (name, value) in facts {
        let _ = writeln!(out, "| {name} | {value} |");
    }
    out += "\n## Numbers\n\n";
    for table in tables {
        out += &markdown(table);
    }
    out.truncate(out.trim_end().len());
    out.push('\n');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_has_goals_machine_and_tables() {
        let table =
            Table { title: "T".into(), note: "N".into(), head: vec!["a"], rows: vec![vec!["b".into()]] };
        let (what, goal, got) = ("w".into(), "g".into(), "x".into());
        let result = GoalResult { what, goal, got, is_met: false, why: "because", worst_of: None };
        let page = page(&[("cpu".into(), "fast".into())], "much", 3, &[table], &[result]);
        for part in [
            "| w | g | x | **not met** |",
            "*w*: because",
            "| cpu | fast |",
            "### T\n\nN\n\n| a |",
            "rounds: 3",
        ] {
            assert!(page.contains(part), "{part} is not in:\n{page}");
        }
    }
}
