// SPDX-License-Identifier: Apache-2.0
//! `krs.yaml` at the top of a checkout.

use crate::harness::Site;

/// Three images by digest, and a `krs.yaml` that is committed.
fn with_settings(text: &str) -> Site {
    let mut site = Site::with_three_images();
    site.checkout.write("krs.yaml", text);
    site.checkout.commit("Add settings");
    site
}

fn inspect(site: &Site, file: &str) -> serde_json::Value {
    // The code says that nobody vouches for it.
    site.desk.krs(&["inspect", file, "--format", "json"]).json()
}

#[test]
fn a_pipeline_needs_no_flags_for_what_the_file_says() {
    let site = with_settings(
        "stream: prod\naudience: [berlin, bonn]\nplatforms: [linux/amd64]\nrequire: {digests: true, clean: true}\n",
    );
    let sites = site.checkout.path().join("sites");
    let said = site.desk.krs(&["bundle", sites.as_str(), "-o", "a.krs.tar"]).ok();
    let file = site.checkout.path().join("krs.yaml");
    let line =
        format!("{file}: stream prod; audience berlin, bonn; platforms linux/amd64; requires digests, clean");
    assert!(said.out.contains(&line), "{said}");
    let bundle = inspect(&site, "a.krs.tar");
    assert_eq!(bundle["stream"], "prod");
    assert_eq!(bundle["audience"], serde_json::json!(["berlin", "bonn"]));
    // A flag comes before a variable, and that before the file.
    let variable = [("KRS_STREAM", "test")];
    site.desk.krs_env(&variable, &["bundle", sites.as_str(), "-o", "b.krs.tar"]).ok();
    assert_eq!(inspect(&site, "b.krs.tar")["stream"], "test");
    let arguments = ["bundle", sites.as_str(), "-o", "c.krs.tar", "--stream", "own", "--format", "json"];
    let json = site.desk.krs_env(&variable, &arguments).ok().json();
    assert_eq!(json["stream"], "own");
    assert_eq!(
        json["settings"]["values"],
        serde_json::json!(["audience berlin, bonn", "platforms linux/amd64"])
    );
    let json = site.desk.krs(&["plan", sites.as_str(), "--format", "json"]).ok().json();
    assert_eq!(json["stream"], "prod");
    let said = site.desk.krs(&["validate", sites.as_str()]).ok();
    assert!(said.out.contains("stream prod; audience berlin, bonn"), "{said}");
}

#[test]
fn t279_what_the_file_requires_holds_for_every_call_and_is_named_with_its_line() {
    let mut site =
        with_settings("# Of all sites.\nrequire:\n  digests: true\n  signature: true\n  referrers: true\n");
    let path = site.checkout.path().to_owned();
    let path = path.as_str();
    site.bundle("a.krs.tar", &[]).failed(
        2,
        &[
            "krs.yaml:4:14: requires a signature",
            "4 |   signature: true",
            "^^^^",
            "help: name the secret key with --key",
        ],
    );
    site.desk.keygen("k");
    for arguments in [
        &["bundle", path, "-o", "a.krs.tar", "--key", "k.key", "--referrers", "none"][..],
        &["plan", path, "--referrers", "application/spdx+json"],
    ] {
        site.desk
            .krs(arguments)
            .failed(2, &["krs.yaml:5:14: requires all signatures, SBOMs and attestations"]);
    }
    site.bundle("a.krs.tar", &["--key", "k.key"]).ok();
    site.name("team/web:2.0");
    site.commit();
    for command in
        [&["validate", path][..], &["plan", path], &["bundle", path, "-o", "b.krs.tar", "--key", "k.key"]]
    {
        site.desk.krs(command).failed(
            2,
            &["/sites/berlin.yaml:12:12: `", "team/web:2.0` has no digest, and ", "krs.yaml:3 requires one"],
        );
    }
    assert!(!site.desk.path("b.krs.tar").exists());
}

#[test]
fn a_file_that_could_loosen_a_check_stops_every_command() {
    for (text, expected) in [
        ("ca-file: evil.pem\n", "krs.yaml:1:1: unknown field `ca-file`"),
        ("require: {digests: 'true'}\n", "krs.yaml:1:20: expected true or false, without quotes"),
        ("stream: a/b\n", "krs.yaml:1:9: `a/b` is not a name"),
    ] {
        let site = with_settings(text);
        let path = site.checkout.path().as_str();
        for command in [&["validate", path][..], &["plan", path], &["bundle", path, "-o", "a.krs.tar"]] {
            site.desk.krs(command).failed(2, &[expected, "krs.yaml is not acceptable: 1 error"]);
        }
        let said = site.desk.krs(&["validate", path, "--report", "github"]);
        assert!(said.out.starts_with("::error file=krs.yaml,line=1,"), "{said}");
    }
}

#[test]
fn errors_of_the_file_and_of_the_sets_are_shown_together() {
    let site = with_settings("stream: a/b\n");
    site.checkout
        .write("sites/berlin.yaml", site.set().replace("destinationRegistry", "destinationRegistri"));
    site.desk.krs(&["validate", site.checkout.path().as_str()]).failed(
        2,
        &[
            "krs.yaml:1:9: `a/b` is not a name",
            "unknown field `destinationRegistri`",
            "the sets are not acceptable: 2 errors",
        ],
    );
}

#[test]
fn the_file_is_compared_with_the_commit_as_sets_are() {
    let site = with_settings("require: {clean: true}\n");
    let sites = site.checkout.path().join("sites");
    let bundle = |file: &str| site.desk.krs(&["bundle", sites.as_str(), "-o", file]);
    bundle("a.krs.tar").ok();
    site.checkout.write("krs.yaml", "require: {clean: true, digests: true}\n");
    bundle("b.krs.tar").failed(
        2,
        &[
            "what was read is not what the commit holds, and ",
            "krs.yaml:1 requires it",
            "krs.yaml: is not as in the commit",
        ],
    );
    // Windows checks it out with other line ends.
    site.checkout.write("krs.yaml", "require: {clean: true}\r\n");
    bundle("c.krs.tar").ok();
    std::fs::remove_file(site.checkout.path().join("krs.yaml")).unwrap();
    let said = bundle("d.krs.tar").ok();
    assert!(said.err.contains("krs.yaml: is in the commit, and not here"), "{said}");
    let plain = Site::with_three_images();
    plain.checkout.write("krs.yaml", "stream: prod\n");
    let said = plain.bundle("e.krs.tar", &[]).ok();
    assert!(said.err.contains("krs.yaml: is not in the commit"), "{said}");
}

#[test]
fn a_new_set_has_the_naming_that_is_required() {
    let site = with_settings("naming: HostInPath\n");
    let pod = |name: &str, image: &str| {
        format!(
            "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - name: a\n    image: {image}\n"
        )
    };
    site.checkout.write("deploy/a.yaml", pod("a", "quay.io/team/web:2"));
    let (deploy, new) = (site.checkout.path().join("deploy"), site.checkout.path().join("sites/new.yaml"));
    let collect = ["collect", deploy.as_str(), "--destination", "edge.local:5000", "--output", new.as_str()];
    site.desk.krs(&collect).ok();
    let text = std::fs::read_to_string(&new).unwrap();
    assert!(text.contains("  destinationRegistry: edge.local:5000\n  naming: HostInPath\n"), "{text}");
    site.checkout.write("krs.yaml", "naming: PathOnly\n");
    site.checkout.write("deploy/b.yaml", pod("b", "ghcr.io/team/web:2"));
    std::fs::remove_file(&new).unwrap();
    site.desk.krs(&collect).failed(
        2,
        &["images of several registries would have one name, and krs.yaml requires naming: PathOnly"],
    );
    assert!(!new.exists());
}

#[test]
fn a_file_that_is_not_read_is_a_warning() {
    let mut site = Site::with_three_images();
    site.checkout.write("sites/krs.yaml", "require: {signature: true}\n");
    site.checkout.write("krs.yml", "require: {signature: true}\n");
    site.commit();
    let path = site.checkout.path().as_str().to_owned();
    let said = site.desk.krs(&["validate", &path]).ok();
    for file in ["sites/krs.yaml", "krs.yml"] {
        assert!(said.err.contains(&format!("{file}: is not read as settings")), "{said}");
    }
}
