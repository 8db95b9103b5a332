// SPDX-License-Identifier: Apache-2.0
//! Which files are written, and how.

use super::{Bench, set};

#[test]
fn every_layout_keeps_its_bytes() {
    let bench = Bench::new();
    let digest = bench.push("team/web", "1.0", "web");
    let pinned = |text: &str| text.replace("R/team/web:1.0", &format!("R/team/web:1.0@{digest}"));
    let plain = set("a", &["R/team/web:1.0"]);
    let flow = "{apiVersion: kuberegistrysync.io/v1alpha1, kind: EdgeImageSet, metadata: {name: b},\n  # why\n  spec: {destinationRegistry: edge.local, images: [{image: R/team/web:1.0}, {image: 'R/team/other:1@sha256:X'}]}}\n";
    let json = "{\"apiVersion\": \"v1\", \"kind\": \"List\",\r\n\t\"items\": [{\"apiVersion\": \"kuberegistrysync.io/v1alpha1\", \"kind\": \"EdgeImageSet\", \"metadata\": {\"name\": \"c\"},\r\n\t\"spec\": {\"destinationRegistry\": \"edge.local\", \"images\": [{\"image\": \"R/team/web:1.0\"}]}}]}";
    let list = format!(
        "apiVersion: v1\nkind: List\nitems:\n- {}",
        set("d", &["\"R/team/web:1.0\"   # why"]).replace('\n', "\n  ").trim_end()
    );
    let files = [
        ("plain.yaml", plain.clone()),
        ("crlf.yml", plain.replace("name: a", "name: e").replace('\n', "\r\n")),
        ("mark.yaml", format!("\u{feff}# ä\n---\n{}...\n", plain.replace("name: a", "name: f"))),
        ("no-end.yaml", plain.replace("name: a", "name: g").trim_end().to_owned()),
        ("flow.yaml", flow.replace("sha256:X", &format!("sha256:{}", "b".repeat(64)))),
        ("list.json", json.to_owned()),
        ("list.yaml", list),
    ];
    for (name, text) in &files {
        bench.write(&format!("sites/{name}"), text);
    }
    let outcome = bench.pin(&["sites"]).ok();
    for (name, text) in &files {
        assert_eq!(bench.read(&format!("sites/{name}")), bench.text(&pinned(text)), "{name}");
    }
    assert!(outcome.out.ends_with("7 references pinned, 1 already pinned\n"), "{outcome}");
    assert_eq!(bench.look_ups(), 1);
    bench.desk.krs(&["validate", "sites"]).ok();
}

#[test]
fn what_is_no_set_of_the_checkout_is_not_written() {
    let bench = Bench::new();
    bench.push("team/web", "1.0", "web");
    bench.write("chart/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n");
    bench.write("chart/templates/set.yaml", &set("a", &["R/team/web:1.0"]));
    bench.write("over/kustomization.yaml", "patches:\n- path: patch.yaml\n");
    bench.write("over/patch.yaml", &set("b", &["R/team/web:1.0"]));
    bench.write("pod.yaml", "apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {containers: [{name: c, image: R/team/web:1.0}]}\n");
    bench.pin(&["."]).failed(2, &["no EdgeImageSet (", "krs carries what an EdgeImageSet lists"]);
    bench.write("set.yaml", &set("c", &["R/team/web:1.0"]));
    let outcome = bench.pin(&["set.yaml", "over", "chart"]).ok();
    for part in [
        "over/patch.yaml: holds a set and was skipped: it is a Kustomize patch (listed in kustomization.yaml)",
        "set.yaml: holds a set and was skipped: it is a template of a Helm chart",
        "over: has no EdgeImageSet",
        "chart: has no EdgeImageSet",
    ] {
        assert!(outcome.err.contains(part), "{part}\n{outcome}");
    }
    assert!(bench.read("set.yaml").contains("1.0@sha256:"));
    for file in ["chart/templates/set.yaml", "over/patch.yaml", "pod.yaml"] {
        assert!(!bench.read(file).contains("sha256"), "{file}");
    }
}

#[cfg(unix)]
#[test]
fn permissions_and_links_stay() {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    let bench = Bench::new();
    bench.push("team/web", "1.0", "web");
    bench.write("real/set.yaml", &set("a", &["R/team/web:1.0"]));
    let real = bench.desk.path("real/set.yaml");
    std::fs::set_permissions(&real, std::fs::Permissions::from_mode(0o640)).unwrap();
    symlink("real/set.yaml", bench.desk.path("link.yaml")).unwrap();
    let outcome = bench.pin(&["link.yaml"]).ok();
    assert!(outcome.out.contains("link.yaml:8"), "{outcome}");
    assert!(!outcome.err.contains("has no EdgeImageSet"), "{outcome}");
    assert!(bench.desk.path("link.yaml").is_symlink());
    assert!(bench.read("real/set.yaml").contains("1.0@sha256:"));
    assert_eq!(std::fs::metadata(&real).unwrap().permissions().mode() & 0o777, 0o640);
    let names =
        bench.desk.path("real").read_dir_utf8().unwrap().map(|entry| entry.unwrap().file_name().to_owned());
    assert_eq!(names.collect::<Vec<_>>(), ["set.yaml"]);
}

#[test]
fn a_reference_that_cannot_be_edited_is_named_and_the_others_are_written() {
    let bench = Bench::new();
    let digest = bench.push("team/web", "1.0", "web");
    let text = set("a", &["|-\n      R/team/api:1.0", "R/team/web:1.0"]);
    bench.write("a.yaml", &text);
    let outcome = bench.pin(&["a.yaml"]).failed(
        2,
        &["a.yaml:9:7: cannot be edited: the value is a block scalar", "write it on one line, as `image: "],
    );
    assert!(outcome.out.ends_with("1 reference pinned, 1 not editable\n"), "{outcome}");
    assert_eq!(bench.read("a.yaml"), bench.text(&text).replace("web:1.0", &format!("web:1.0@{digest}")));
    assert_eq!(bench.look_ups(), 1);
}

#[test]
fn a_set_that_would_break_a_rule_stays_as_it_is() {
    let bench = Bench::new();
    let digest = bench.push("team/web", "1.0", "web");
    let twice = set("a", &["R/team/web:1.0", &format!("R/team/web:1.0@{digest}")]);
    bench.write("a.yaml", &twice);
    bench.write("b.yaml", &set("b", &["R/team/web:1.0"]));
    bench.pin(&["."]).failed(2, &["a.yaml:9:", "1 error"]);
    assert_eq!(bench.read("a.yaml"), bench.text(&twice));
    assert!(bench.read("b.yaml").contains(&digest));
}
