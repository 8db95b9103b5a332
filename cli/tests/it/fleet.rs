// SPDX-License-Identifier: Apache-2.0
//! What all sites have: tables, documents, lines of values, and the proposed commands.

use jiff::SignedDuration;
use krs_core::sync::receipt::RefusedBundle;
use serde_json::Value;

use crate::harness::{Outcome, Site};
#[cfg(unix)]
use crate::hostile;
use crate::site_receipts::{at_version_two, receipt, short, write};

/// Both bundles are recorded, the second for two sites, and of one there is a receipt.
fn two_sites() -> Site {
    let site = at_version_two();
    let second = ["--stream", "prod", "--sequence", "2", "--catalog", "c.jsonl", "--audience", "berlin,kiel"];
    site.bundle("v2.krs.tar", &second).ok();
    std::fs::create_dir(site.desk.path("receipts")).unwrap();
    write(&site, "receipts/berlin.receipt.json", &receipt(&site, "berlin"), "berlin");
    site
}

fn status(site: &Site, more: &[&str]) -> Outcome {
    let base = ["fleet", "status", "receipts", "--catalog", "c.jsonl", "--site-key", "berlin=berlin.pub"];
    site.desk.krs(&[&base, more].concat())
}

fn of<'a>(status: &'a Value, name: &str) -> &'a Value {
    status["sites"].as_array().unwrap().iter().find(|site| site["site"] == name).unwrap()
}

#[test]
fn each_site_is_shown_with_what_it_has_and_the_proposed_command_makes_what_it_needs() {
    let site = two_sites();
    let shown = status(&site, &["--format", "json"]).ok().json();
    let berlin = of(&shown, "berlin");
    assert_eq!((&berlin["verified"], &berlin["awaited"]["count"]), (&true.into(), &0.into()), "{berlin}");
    let stream = &berlin["streams"][0];
    assert_eq!(
        (&stream["confirmed"]["sequence"], &stream["current"]),
        (&1.into(), &false.into()),
        "{stream}"
    );
    assert_eq!(stream["unconfirmed"]["bundles"][0]["file"], "v2.krs.tar");
    // Nothing came back from there.
    let kiel = of(&shown, "kiel");
    assert_eq!(
        (&kiel["createdAt"], &kiel["streams"][0]["confirmed"]),
        (&Value::Null, &Value::Null),
        "{kiel}"
    );
    let next = |site: &Value| site["streams"][0]["next"]["bytes"].as_u64().unwrap();
    assert!(next(berlin) < 60_000 && next(kiel) > 3 << 20, "{shown}");
    assert_eq!(next(kiel), shown["streams"][0]["fullBytes"].as_u64().unwrap());
    assert_eq!(shown["streams"][0]["groups"].as_array().map(Vec::len), Some(2));

    for (n, (site_name, against)) in [("kiel", false), ("berlin", true)].into_iter().enumerate() {
        let command = shown["streams"][0]["commands"][n].as_str().unwrap();
        assert_eq!(command.contains("--against receipts/berlin.receipt.json"), against, "{command}");
        assert!(command.contains(&format!("--audience {site_name}")), "{command}");
        let path = site.checkout.path().as_str();
        let words = command.split(' ').skip(1).map(|word| if word == "." { path } else { word });
        let more = ["--plain-http", &site.source.host().to_string()].map(str::to_owned);
        let words = words.map(str::to_owned).chain(more).collect::<Vec<_>>();
        site.desk.krs(&words.iter().map(String::as_str).collect::<Vec<_>>()).ok();
        let made = std::fs::metadata(site.desk.path(&format!("prod-group-{}.krs.tar", n + 1))).unwrap().len();
        let expected = next(of(&shown, site_name));
        // Besides blobs an archive has a manifest, and a head for each blob.
        assert!(expected <= made && made < expected + 40_000, "{site_name}: {made}, expected {expected}");
    }
}

#[test]
fn the_table_and_the_lines_of_values_say_the_same() {
    let site = two_sites();
    let mut known = receipt(&site, "kiel");
    known.created_at -= SignedDuration::from_hours(72);
    known.refused = vec![RefusedBundle {
        file: "old.krs.tar".to_owned(),
        message: "sign it with a key that the site trusts".to_owned(),
        reason: "SignatureInvalid".to_owned(),
        sequence: None,
        stream: None,
    }];
    write(&site, "receipts/kiel.receipt.json", &known, "kiel");
    known.created_at -= SignedDuration::from_hours(72);
    write(&site, "receipts/kiel-old.receipt.json", &known, "kiel");
    let outcome = status(&site, &["-v"]).ok();
    let row = outcome.out.lines().find(|line| line.starts_with("kiel")).unwrap();
    let cells = row.split_whitespace().collect::<Vec<_>>();
    let created = receipt(&site, "kiel").created_at;
    assert_eq!(cells[..3], ["kiel", "prod", "1"], "{outcome}");
    assert_eq!(cells[4..11], ["3", "days", "no", "0", "1", "1", "(2)"], "{outcome} {created}");
    outcome.says(&[
        "old.krs.tar",
        "SignatureInvalid",
        "1 bundle for the other 2 sites",
        "berlin, kiel",
        "--against receipts/berlin.receipt.json --against receipts/kiel.receipt.json",
        "2 sites, 1 older receipt not used",
        "kiel did not confirm sequence 2 of stream prod: v2.krs.tar",
    ]);
    let csv = status(&site, &["--csv"]).ok().out;
    let lines = csv.lines().collect::<Vec<_>>();
    assert_eq!(lines.len(), 3, "{csv}");
    assert!(lines[0].starts_with("site,stream,sequence,confirmedAt,"), "{csv}");
    assert!(lines[1].starts_with("berlin,prod,1,") && lines[1].contains(",true,0,0,1,2,false,"), "{csv}");
    assert!(lines[2].starts_with("kiel,prod,1,") && lines[2].contains(",false,0,1,1,2,false,"), "{csv}");
    status(&site, &["--csv", "--format", "json"]).failed(2, &["two forms of one result"]);
    status(&site, &["--stream", "test"]).ok().says(&["0 sites"]);
}

#[test]
fn short_receipts_and_the_catalog_alone_are_enough() {
    let site = two_sites();
    let text = short(&site, "kiel", "kiel", |_| ());
    site.desk.krs(&["catalog", "add", "c.jsonl", &text, "--site-key", "kiel=kiel.pub"]).ok();
    let shown = site.desk.krs(&["fleet", "status", "c.jsonl", "--format", "json"]).ok().json();
    let kiel = of(&shown, "kiel");
    assert_eq!((&kiel["verified"], &kiel["against"][0]), (&true.into(), &"catalog:kiel".into()), "{kiel}");
    assert!(kiel["streams"][0]["next"]["bytes"].as_u64().unwrap() < 60_000, "{kiel}");
    // The same, not recorded.
    let shown = status(&site, &[&short(&site, "ulm", "berlin", |_| ()), "--format", "json"]);
    shown.failed(3, &["1 receipt is not used"]);
    let shown = status(&site, &[&short(&site, "berlin", "berlin", |_| ()), "--format", "json"]).ok().json();
    assert_eq!(of(&shown, "berlin")["streams"][0]["confirmed"]["sequence"], 1);

    site.desk.krs(&["fleet", "status"]).failed(2, &["PATH"]);
    site.desk.krs(&["fleet", "status", "gone"]).failed(2, &["gone"]);
    site.desk.write("empty", "");
    site.desk.krs(&["fleet", "status", "--catalog", "empty"]).failed(2, &["neither receipts nor bundles"]);
    std::fs::copy(site.desk.path("c.jsonl"), site.desk.path("d.jsonl")).unwrap();
    status(&site, &["d.jsonl"]).failed(2, &["two catalogs"]);
}

#[test]
fn t295_a_damaged_or_forged_receipt_among_many_is_named_and_hides_no_other() {
    let site = two_sites();
    let good = std::fs::read_to_string(site.desk.path("receipts/berlin.receipt.json")).unwrap();
    for n in 0..20 {
        write(&site, &format!("receipts/site{n}.receipt.json"), &receipt(&site, &format!("site{n}")), "kiel");
    }
    let cut = [("site7", &good[..good.len() / 2]), ("site8", ""), ("site9", "{\"kind\":\"site\"}")];
    for (name, content) in cut {
        site.desk.write(&format!("receipts/{name}.receipt.json"), content);
    }
    // Of another kind: a receipt of a registry confirms nothing.
    site.desk.write("receipts/edge.receipt.json", "{\"abilities\":{},\"createdAt\":\"2026-11-24T04:00:00Z\",\"formatVersion\":1,\"registry\":\"edge.local:5000\",\"repositories\":[],\"tool\":\"krs\"}");
    let outcome = status(&site, &[]).failed(6, &["4 receipts are not used", "receipts/edge.receipt.json"]);
    outcome.says(&[
        "receipts/site7.receipt.json",
        "receipts/site8.receipt.json",
        "receipts/site9.receipt.json",
        "of a registry",
    ]);
    let json = status(&site, &["--format", "json"]);
    let shown = json.failed(6, &[]).json();
    assert_eq!(shown["unusedReceipts"].as_array().map(Vec::len), Some(4), "{shown}");
    assert_eq!(shown["sites"].as_array().map(Vec::len), Some(2 + 17), "{shown}");
    assert_eq!(of(&shown, "site10")["streams"][0]["confirmed"]["sequence"], 1);
    // One whose signature does not fit is not used either: the site is as if nothing had come back.
    site.desk.write("receipts/berlin.receipt.json", good.replace("\"sequence\":1", "\"sequence\":9"));
    let forged = status(&site, &["--format", "json"]);
    assert_eq!(of(&forged.json(), "berlin")["streams"][0]["confirmed"], Value::Null);
    forged.failed(3, &["5 receipts are not used"]);
    let csv = status(&site, &["--csv"]).failed(3, &[]).out;
    assert_eq!(csv.lines().count(), 1 + 19 + 5, "{csv}");
    assert!(csv.contains("receipts/berlin.receipt.json,\"the signature of key"), "{csv}");
}

#[test]
fn t296_a_catalog_that_is_cut_anywhere_costs_the_cut_line_alone() {
    let site = two_sites();
    let whole = std::fs::read(site.desk.path("c.jsonl")).unwrap();
    let first = whole.iter().position(|byte| *byte == b'\n').unwrap() + 1;
    let shown = |end: usize| {
        std::fs::write(site.desk.path("c.jsonl"), &whole[..end]).unwrap();
        status(&site, &["--format", "json"]).ok().json()
    };
    for end in (first + 1..whole.len() - 2).step_by(whole.len() / 9) {
        let status = shown(end);
        assert_eq!(status["damaged"].as_array().map(Vec::len), Some(1), "{status}");
        assert_eq!(status["streams"][0]["sequence"], 1, "cut at {end}: {status}");
        assert_eq!(of(&status, "berlin")["streams"][0]["current"], true, "{status}");
    }
    assert_eq!(shown(whole.len())["streams"][0]["sequence"], 2);
    // The cut is in the middle of the file, because krs appended to it later.
    let middle = [&whole[..first / 2], b"\n", &whole[first..]].concat();
    std::fs::write(site.desk.path("c.jsonl"), middle).unwrap();
    let outcome = status(&site, &[]).ok();
    outcome.says(&["c.jsonl:1: the line is not used", "sequence 2"]);
    // JSON, and no layers where they are expected.
    let text = String::from_utf8(whole.clone()).unwrap();
    let changed = text.replace("\"layers\":[[", "\"layers\":[[1,");
    std::fs::write(site.desk.path("c.jsonl"), changed).unwrap();
    let outcome = status(&site, &[]).ok();
    outcome.says(&["c.jsonl:2: the layers of the line are not used", "berlin"]);
}

#[test]
fn t297_texts_of_sites_never_reach_the_terminal_as_control_characters() {
    let site = two_sites();
    let mut hostile = receipt(&site, "kiel");
    hostile.refused = vec![RefusedBundle {
        file: "ESCAPE[2J.krs.tar".to_owned(),
        message: "ESCAPE]0;title".to_owned(),
        reason: "ESCAPE".to_owned(),
        sequence: None,
        stream: None,
    }];
    let text = String::from_utf8(hostile.encode().unwrap()).unwrap();
    site.desk.write("receipts/kiel.receipt.json", text.replace("ESCAPE", "\\u001b\\u0007"));
    site.desk.write("receipts/\u{1b}[31mred\u{7}.receipt.json", "{}");
    // A name that a spreadsheet or a shell would run.
    site.desk.write("receipts/=cmd $(id)\n.receipt.json", "{\"kind\":\"\u{9b}31m\"}");
    for form in [&[][..], &["--csv"], &["-v"], &["--format", "json"]] {
        let outcome = status(&site, form).failed(6, &["3 receipts are not used"]);
        let all = format!("{}{}", outcome.out, outcome.err);
        let is_control = |c: char| c.is_control() && !matches!(c, '\n' | '\r');
        assert!(!all.contains(is_control), "{form:?}: {all:?}");
        assert!(all.contains("kiel.receipt.json") && all.contains("is not plain text"), "{form:?}: {all}");
    }
    let csv = status(&site, &["--csv"]).out;
    assert_eq!(csv.lines().count(), 1 + 2 + 3, "{csv:?}");
}

/// Peak memory in MiB and the time of a status of a made fleet.
#[cfg(unix)]
fn measure(sites: u64, images: u64, bundles: u64) -> (u64, std::time::Duration) {
    let site = Site::new();
    krs_testing::fleet::write(site.desk.folder(), sites, images, bundles);
    let arguments = ["fleet", "status", "receipts", "--catalog", "catalog.jsonl", "--site-key", "sites.pub"];
    let cost = hostile::measured(&site.desk, &arguments);
    assert_eq!(cost.code, 0);
    let begin = std::time::Instant::now();
    let outcome = site.desk.krs_of(&hostile::program(), &[&arguments[..], &["--format", "json"]].concat());
    let elapsed = begin.elapsed();
    let shown = outcome.ok().json();
    assert_eq!(shown["sites"].as_array().map(Vec::len), usize::try_from(sites).ok());
    let groups = shown["streams"][0]["groups"].as_array().unwrap();
    let grouped = groups.iter().map(|group| group["sites"].as_array().unwrap().len() as u64).sum::<u64>();
    assert_eq!(shown["streams"][0]["currentSites"].as_u64().unwrap() + grouped, sites);
    assert!(groups.len() > 1 && (groups.len() as u64) < sites / 3, "{}", groups.len());
    (cost.memory >> 20, elapsed)
}

#[cfg(unix)]
#[test]
fn receipts_of_many_sites_and_a_long_catalog_take_little_memory() {
    let (memory, _) = measure(90, 300, 40);
    assert!(memory <= 64, "{memory} MiB");
}

/// With `KRS_TEST_PROGRAM`, or `cargo test --release`: 200 MB of receipts and 250 MB of catalog.
#[cfg(unix)]
#[test]
#[ignore = "takes minutes, and measures only a release build"]
fn the_status_of_three_hundred_sites_takes_two_seconds_and_128_mebibytes() {
    let (memory, elapsed) = measure(300, 3000, 100);
    assert!(memory <= 128 && elapsed.as_secs_f64() <= 2.0, "{memory} MiB, {elapsed:?}");
}
