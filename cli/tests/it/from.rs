// SPDX-License-Identifier: Apache-2.0
//! `krs bundle --from`: images that are in no registry.

use camino::{Utf8Path, Utf8PathBuf};
use krs_core::oci::digest::Digest;
use krs_testing::image::{
    ArchiveFile, Image, ImageBuilder, archive_of, containerd_names, cosign_signature, cosign_tag,
    docker_archive, index, oci_layout, ref_name, sbom,
};
use krs_testing::registry::{Auth, Options};
use serde_json::{Value, json};

use crate::harness::{Outcome, Site, app};

const NONE: Value = Value::Null;

fn write_folder(folder: &Utf8Path, files: &[ArchiveFile]) {
    for (name, bytes) in files {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

impl Site {
    /// Names an image that is in no registry.
    fn name_local(&mut self, repository: &str, tag: &str, digest: Option<Digest>) -> String {
        let digest = digest.map(|digest| format!("@{digest}")).unwrap_or_default();
        self.name(&format!("{repository}:{tag}{digest}"));
        format!("{}/{repository}:{tag}", self.source.host())
    }

    fn write_archive(&self, name: &str, files: &[ArchiveFile]) -> Utf8PathBuf {
        self.desk.write(name, archive_of(files))
    }

    /// Bundles, verifies and pushes; answers what `krs bundle` said.
    fn deliver(&self, from: &[&str]) -> Outcome {
        let from = from.iter().flat_map(|from| ["--from", from]).collect::<Vec<_>>();
        let _ = std::fs::remove_file(self.desk.path("f.krs.tar"));
        let outcome = self.bundle("f.krs.tar", &from).ok();
        self.desk.krs(&["verify", "f.krs.tar"]).ok();
        self.push("f.krs.tar", &[]).ok();
        outcome
    }

    fn at_the_edge(&self, repository: &str, tag: &str) -> Option<Digest> {
        self.edge.digest(repository, tag)
    }
}

#[test]
fn an_image_of_an_oci_layout_arrives_with_its_digest_from_a_folder_and_from_a_tar() {
    for names in [containerd_names as fn(&str) -> Value, ref_name] {
        let mut site = Site::with_three_images();
        let both = index(&[
            (&app("local", 9), Some("linux/amd64")),
            (&ImageBuilder::new("local").platform("linux/arm64").layer_random(30_000, 8).build(), None),
        ]);
        let full = site.name_local("local/pinned", "1.0", Some(both.digest));
        let tagged = app("tagged", 7);
        let tag = site.name_local("local/tagged", "2", None);
        site.commit();
        let files = oci_layout(&[(&both, names(&full)), (&tagged, names(&tag))]);
        write_folder(&site.desk.path("layout"), &files);
        site.write_archive("layout.tar", &files);
        for from in ["oci:layout", "oci:layout.tar", "oci-archive:layout.tar", "docker-archive:layout.tar"] {
            site.source.clear_requests();
            let outcome = site.deliver(&[from]);
            assert_eq!(site.at_the_edge("local/pinned", "1.0"), Some(both.digest), "{from}");
            assert_eq!(site.at_the_edge("local/tagged", "2"), Some(tagged.digest), "{from}");
            site.arrived("team/web", "1.0");
            let asked = site.source.requests().into_iter().filter(|request| request.path.contains("/local/"));
            assert_eq!(asked.count(), 0, "{from}: no registry is asked for what a source has");
            assert!(outcome.out.contains(&format!("From       {from}: 2 images, ")), "{outcome}");
        }
    }
}

#[test]
fn a_bundle_is_a_source_too() {
    let mut site = Site::with_three_images();
    site.bundle("old.krs.tar", &[]).ok();
    // The registry is gone: everything comes from the bundle.
    site.source = krs_testing::registry::Registry::start(Options::default());
    let outcome = site.deliver(&["oci-archive:old.krs.tar"]);
    assert!(outcome.out.contains("From       oci-archive:old.krs.tar: 3 images"), "{outcome}");
    assert!(site.at_the_edge("team/web", "1.0").is_some());
}

#[test]
fn the_report_and_the_plan_say_what_comes_from_which_source() {
    let mut site = Site::with_three_images();
    let (one, two) = (app("one", 11), app("two", 12));
    site.name_local("local/one", "1", Some(one.digest));
    site.name_local("local/two", "1", Some(two.digest));
    site.commit();
    site.write_archive("one.tar", &oci_layout(&[(&one, NONE)]));
    site.write_archive("two.tar", &oci_layout(&[(&two, NONE), (&one, NONE)]));
    let from = ["--from", "oci-archive:one.tar", "--from", "oci-archive:two.tar", "--format", "json"];
    let path = site.checkout.path().to_string();
    let plan = site.desk.krs(&[&["plan", path.as_str()], &from[..]].concat()).ok().json();
    let done = site.bundle("a.krs.tar", &from).ok().json();
    assert_eq!(plan["sources"], done["sources"]);
    // The first source that has an image counts; the layer that both images have is read once, from the first.
    let layers = |image: &Image| image.size();
    assert_eq!(
        plan["sources"],
        json!([
            {"source": "oci-archive:one.tar", "imageCount": 1, "bytes": layers(&one)},
            {"source": "oci-archive:two.tar", "imageCount": 1, "bytes": layers(&two) - shared(&one, &two)},
        ])
    );
    let from_of = |name: &str| {
        let images = done["images"].as_array().unwrap();
        let found = images.iter().find(|image| image["reference"].as_str().unwrap().contains(name));
        found.unwrap()["from"].clone()
    };
    assert_eq!(from_of("local/one"), "oci-archive:one.tar");
    assert_eq!(from_of("local/two"), "oci-archive:two.tar");
    assert_eq!(from_of("team/web"), NONE);
    // What a plan fetches is what comes from registries; manifests came with the look-up.
    let manifests = (one.manifest.len() + two.manifest.len()) as u64;
    let local = layers(&one) + layers(&two) - shared(&one, &two) - manifests;
    assert_eq!(done["run"]["bytesLocal"], local);
    let received = done["run"]["bytesReceived"].as_u64().unwrap();
    assert!(received >= plan["fetchBytes"].as_u64().unwrap() && received < (3 << 20) + 400_000, "{done:#}");
}

/// Bytes that both images have.
fn shared(one: &Image, two: &Image) -> u64 {
    let both = one.blobs.iter().filter(|(digest, _)| two.blobs.iter().any(|(other, _)| other == digest));
    both.map(|(_, bytes)| bytes.len() as u64).sum()
}

#[test]
fn t275_a_name_with_another_digest_is_not_used_and_said() {
    let mut site = Site::new();
    let (wanted, other) = (app("web", 2), app("other", 3));
    site.add(&wanted, "team/web", "1.0");
    site.commit();
    let name = format!("{}/team/web:1.0", site.source.host());
    site.write_archive("other.tar", &oci_layout(&[(&other, containerd_names(&name))]));
    let outcome = site.deliver(&["oci-archive:other.tar"]);
    let (found, pinned) = (other.digest, wanted.digest);
    let remark = format!("oci-archive:other.tar has {name} as {found}, not as {pinned}");
    assert!(outcome.err.contains(&format!("warning: {remark}; it is not used")), "{outcome}");
    assert!(outcome.err.contains("no image was used from oci-archive:other.tar, which has"), "{outcome}");
    assert_eq!(site.at_the_edge("team/web", "1.0"), Some(pinned));

    // Where the registry does not have it, the error says both.
    let mut site = Site::new();
    let name = site.name_local("team/web", "1.0", Some(pinned));
    site.commit();
    site.write_archive("other.tar", &oci_layout(&[(&other, containerd_names(&name))]));
    let remark = format!("oci-archive:other.tar has {name} as {found}, not as {pinned}");
    let advice = format!("pin its digest (image: {name}@{found})");
    site.bundle("x.krs.tar", &["--from", "oci-archive:other.tar"])
        .failed(6, &["does not exist", &remark, &advice]);
    assert!(!site.desk.path("x.krs.tar").exists());
}

#[test]
fn t275_a_registry_that_refuses_is_never_replaced_by_a_name() {
    let mut site = Site::with(Options { auth: Auth::basic("user", "secret"), ..Options::default() });
    let (wanted, other) = (app("web", 2), app("other", 3));
    let name = site.name_local("team/web", "1.0", Some(wanted.digest));
    site.commit();
    site.write_archive("other.tar", &oci_layout(&[(&other, containerd_names(&name))]));
    site.bundle("x.krs.tar", &["--from", "oci-archive:other.tar"])
        .failed(7, &["authentication required", "has", &other.digest.to_string()]);
}

#[test]
fn the_first_source_counts_and_one_with_two_images_of_a_name_is_refused() {
    let mut site = Site::new();
    let (one, two) = (app("one", 2), app("two", 3));
    let name = site.name_local("team/web", "1.0", None);
    site.commit();
    site.write_archive("one.tar", &oci_layout(&[(&one, containerd_names(&name))]));
    site.write_archive("two.tar", &oci_layout(&[(&two, containerd_names(&name))]));
    let outcome = site.deliver(&["oci-archive:two.tar", "oci-archive:one.tar"]);
    assert_eq!(site.at_the_edge("team/web", "1.0"), Some(two.digest));
    assert!(outcome.err.contains("it is not used, because oci-archive:two.tar comes first"), "{outcome}");
    let both = oci_layout(&[(&one, containerd_names(&name)), (&two, containerd_names(&name))]);
    site.write_archive("both.tar", &both);
    site.bundle("x.krs.tar", &["--from", "oci-archive:both.tar"])
        .failed(2, &["has 2 images under the name", &name, "pin the digest"]);
    // A tag alone is no name.
    let mut site = Site::new();
    site.name_local("team/web", "1.0", None);
    site.commit();
    site.write_archive("tag.tar", &oci_layout(&[(&one, ref_name("1.0"))]));
    site.bundle("x.krs.tar", &["--from", "oci-archive:tag.tar"]).failed(6, &["does not exist"]);
}

#[test]
fn t276_an_archive_of_docker_gives_an_image_a_digest_of_its_own() {
    let mut site = Site::new();
    let (web, api) = (app("web", 2), app("api", 3));
    let name = site.name_local("team/web", "1.0", None);
    site.commit();
    let tags = [name.as_str()];
    let files = docker_archive(&[(&web, &tags), (&api, &["team/api:1"])]);
    site.write_archive("d.tar", &files);
    let outcome = site.deliver(&["docker-archive:d.tar"]);
    let digest = site.at_the_edge("team/web", "1.0").unwrap();
    assert!(outcome.out.contains("From       docker-archive:d.tar: 1 image, "), "{outcome}");
    assert_ne!(digest, web.digest);
    assert_eq!(site.deliver(&["docker-archive:d.tar"]).code, 0);
    assert_eq!(site.at_the_edge("team/web", "1.0"), Some(digest), "it is always the same");
    // The other form of the archive is named.
    site.bundle("x.krs.tar", &["--from", "oci-archive:d.tar"])
        .failed(2, &["has no index.json", "--from docker-archive:d.tar"]);

    // The digest of the registry cannot be had from it.
    let mut pinned = Site::new();
    let name = pinned.name_local("team/web", "1.0", Some(web.digest));
    pinned.commit();
    let tags = [name.as_str()];
    pinned.write_archive("d.tar", &docker_archive(&[(&web, &tags)]));
    pinned.bundle("x.krs.tar", &["--from", "docker-archive:d.tar"]).failed(
        6,
        &[
            &format!("docker-archive:d.tar has {name} as {digest}, not as {}", web.digest),
            "`docker save` does not keep the manifest of the registry",
            &format!("pin the digest that the archive gives (image: {name}@{digest}), or push the image"),
        ],
    );
    // As the help says.
    let mut site = Site::new();
    let name = site.name_local("team/web", "1.0", Some(digest));
    site.commit();
    let tags = [name.as_str()];
    site.write_archive("d.tar", &docker_archive(&[(&web, &tags)]));
    site.deliver(&["docker-archive:d.tar"]);
    assert_eq!(site.at_the_edge("team/web", "1.0"), Some(digest));
}

#[test]
fn a_platform_that_a_source_does_not_have_is_missing_or_not_asked_for() {
    let mut site = Site::new();
    let amd64 = app("web", 2);
    let arm64 = ImageBuilder::new("web").platform("linux/arm64").layer_random(30_000, 8).build();
    let both = index(&[(&amd64, None), (&arm64, None)]);
    site.name_local("team/web", "1.0", Some(both.digest));
    site.commit();
    // As containerd exports one platform: the index, and the content of that platform.
    let arm64 = arm64.blobs.iter().map(|(digest, _)| digest).chain([&arm64.digest]).map(Digest::hex);
    let gone = arm64.map(|hex| format!("blobs/sha256/{hex}")).collect::<Vec<_>>();
    let mut files = oci_layout(&[(&both, NONE)]);
    files.retain(|(name, _)| !gone.contains(name));
    site.write_archive("one.tar", &files);
    let from = ["--from", "oci-archive:one.tar"];
    let all = site.bundle("x.krs.tar", &from);
    all.failed(6, &["linux/arm64", "is not in oci-archive:one.tar", "--platform"]);
    let chosen = [&from[..], &["--platform", "linux/amd64"]].concat();
    site.bundle("x.krs.tar", &chosen).ok();
    site.desk.krs(&["verify", "x.krs.tar"]).ok();

    // A layer that is missing is found by the plan.
    let layer = format!("blobs/sha256/{}", amd64.blobs.last().unwrap().0.hex());
    files.retain(|(name, _)| *name != layer);
    site.write_archive("less.tar", &files);
    let path = site.checkout.path().to_string();
    site.desk
        .krs(&["plan", &path, "--platform", "linux/amd64", "--from", "oci-archive:less.tar"])
        .failed(6, &["is not in oci-archive:less.tar"]);
}

#[test]
fn what_refers_to_an_image_travels_from_its_source() {
    let mut site = Site::new();
    let web = app("web", 2);
    let (bill, signature) = (sbom(&web), cosign_signature(&web));
    let name = site.name_local("team/web", "1.0", Some(web.digest));
    site.commit();
    let tag = cosign_tag(&web.digest, "sig");
    let files = oci_layout(&[(&web, containerd_names(&name)), (&bill, NONE), (&signature, ref_name(&tag))]);
    site.write_archive("a.tar", &files);
    let report = site.bundle("a.krs.tar", &["--from", "oci-archive:a.tar", "--format", "json"]).ok().json();
    assert_eq!(report["images"][0]["referrerCount"], 2, "{report:#}");
    site.push("a.krs.tar", &[]).ok();
    assert_eq!(site.at_the_edge("team/web", &tag), Some(signature.digest));
    assert!(site.source.requests().is_empty());
}

#[test]
fn t275_a_source_that_is_damaged_is_refused_and_no_registry_replaces_it() {
    let mut site = Site::new();
    let web = app("web", 2);
    site.add(&web, "team/web", "1.0");
    site.commit();
    let files = oci_layout(&[(&web, NONE)]);
    write_folder(&site.desk.path("layout"), &files);
    let layer = site.desk.path("layout/blobs/sha256").join(web.blobs.last().unwrap().0.hex());
    let mut bytes = std::fs::read(&layer).unwrap();
    bytes[700] ^= 1;
    std::fs::write(&layer, &bytes).unwrap();
    site.bundle("x.krs.tar", &["--from", "oci:layout"]).failed(4, &["oci:layout", "content is damaged"]);
    assert!(!site.desk.path("x.krs.tar").exists());
    // The run resumes when the layer is right again.
    bytes[700] ^= 1;
    std::fs::write(&layer, &bytes).unwrap();
    site.bundle("x.krs.tar", &["--from", "oci:layout"]).ok();
    std::fs::write(&layer, &bytes[..bytes.len() - 1]).unwrap();
    site.bundle("y.krs.tar", &["--from", "oci:layout"]).failed(4, &["is described with"]);
    std::fs::remove_file(&layer).unwrap();
    #[cfg(unix)]
    {
        std::os::unix::fs::symlink("/etc/passwd", &layer).unwrap();
        site.bundle("y.krs.tar", &["--from", "oci:layout"]).failed(4, &["it is a symbolic link"]);
    }
}

#[test]
fn a_location_is_read_strictly_and_says_what_is_wrong() {
    let mut site = Site::new();
    site.add(&app("web", 2), "team/web", "1.0");
    site.commit();
    let run = |from: &str| site.bundle("x.krs.tar", &["--from", from]);
    run("images.tar").failed(2, &["does not say what it is"]);
    run("docker://quay.io/a:1").failed(2, &["is a registry"]);
    run("oci:nowhere").failed(2, &["cannot open oci:nowhere"]);
    site.desk.write("a.tar.gz", b"\x1f\x8b\x08\0\0\0\0\0");
    run("docker-archive:a.tar.gz").failed(2, &["is compressed with gzip", "gzip -d FILE"]);
    site.desk.write("a.tar", archive_of(&[("x".to_owned(), b"x".to_vec())]));
    run("oci-archive:a.tar").failed(2, &["has no index.json", "skopeo copy"]);
    run("docker-archive:a.tar:team/web:1.0").failed(2, &["--from docker-archive:a.tar", "`team/web:1.0`"]);
    std::fs::create_dir(site.desk.path("empty")).unwrap();
    run("oci-archive:empty").failed(2, &["is a folder", "oci:DIR"]);
    run("oci:empty").failed(2, &["has no index.json"]);
    let outcome =
        site.desk.krs_env(&[("KRS_FROM", "oci:empty,oci:nowhere")], &["plan", site.checkout.path().as_str()]);
    outcome.failed(2, &["oci:empty"]);
}

#[test]
fn a_rate_is_said_only_where_something_was_received() {
    let mut site = Site::new();
    let image = app("local", 9);
    let full = site.name_local("local/app", "1.0", Some(image.digest));
    site.commit();
    site.write_archive("layout.tar", &oci_layout(&[(&image, containerd_names(&full))]));
    let local = site.deliver(&["oci:layout.tar"]);
    assert!(local.out.contains("Took") && !local.out.contains("B/s"), "{local}");
    site.add(&app("other", 3), "team/other", "1.0");
    site.commit();
    let fetched = site.deliver(&["oci:layout.tar"]);
    assert!(fetched.out.contains("B/s"), "{fetched}");
}
