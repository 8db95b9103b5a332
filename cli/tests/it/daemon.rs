// SPDX-License-Identifier: Apache-2.0
//! `krs bundle --from docker-daemon:`: images of a daemon on this machine.

use krs_core::oci::digest::Digest;
use krs_testing::daemon::{Daemon, DaemonImage, ImageStore};
use krs_testing::image::{Image, docker_archive};

use crate::harness::{Site, app};

/// A site with sets that name images of a daemon, which are in no registry.
struct DaemonSite {
    site: Site,
    images: Vec<DaemonImage>,
}

impl DaemonSite {
    fn new() -> Self {
        Self { site: Site::new(), images: Vec::new() }
    }

    /// Puts an image into the daemon, and names it in the set.
    fn add(&mut self, image: &Image, reference: &str, pinned: Option<Digest>, pulled: Option<Digest>) {
        let suffix = pinned.map(|digest| format!("@{digest}")).unwrap_or_default();
        self.site.name(&format!("{reference}{suffix}"));
        let name = format!("{}/{reference}", self.site.source.host());
        self.images.push(DaemonImage { image: image.clone(), name, pulled });
    }

    /// Starts the daemon, which is the source that is returned.
    fn start(&mut self, store: ImageStore) -> (Daemon, String) {
        self.site.commit();
        let daemon = Daemon::start(store, self.images.clone());
        let location = format!("docker-daemon:{}", daemon.socket());
        (daemon, location)
    }
}

#[test]
fn images_of_a_daemon_that_keeps_manifests_arrive_with_their_digests() {
    let mut daemon = DaemonSite::new();
    let (pinned, tagged) = (app("pinned", 2), app("tagged", 3));
    daemon.add(&pinned, "local/pinned:1.0", Some(pinned.digest), Some(pinned.digest));
    daemon.add(&tagged, "local/tagged:2", None, None);
    let (fake, location) = daemon.start(ImageStore::Containerd);
    let site = &daemon.site;
    let outcome = site.bundle("a.krs.tar", &["--from", &location]).ok();
    assert!(outcome.out.contains(&format!("From       {location}: 2 images, ")), "{outcome}");
    assert!(
        outcome.err.contains(&format!("exporting 2 images of {location}, about 6.1 MiB, to")),
        "{outcome}"
    );
    site.push("a.krs.tar", &[]).ok();
    assert_eq!(site.edge.digest("local/pinned", "1.0"), Some(pinned.digest));
    assert_eq!(site.edge.digest("local/tagged", "2"), Some(tagged.digest));
    assert!(site.source.requests().is_empty(), "no registry is asked for what the daemon has");

    // The socket of DOCKER_HOST; a plan says the same.
    let path = site.checkout.path().as_str();
    let host = fake.host();
    let environment = [("DOCKER_HOST", host.as_str())];
    let plan =
        site.desk.krs_env(&environment, &["plan", path, "--from", "docker-daemon:", "--format", "json"]);
    let sources = plan.ok().json()["sources"].clone();
    assert_eq!(
        (sources[0]["imageCount"].as_u64(), sources[0]["source"].as_str()),
        (Some(2), Some(location.as_str()))
    );
}

#[test]
fn t286_an_image_that_was_built_in_a_daemon_gets_the_digest_of_its_archive() {
    let mut daemon = DaemonSite::new();
    let web = app("web", 2);
    daemon.add(&web, "local/web:1.0", None, None);
    let (_fake, location) = daemon.start(ImageStore::Classic);
    let site = &daemon.site;
    let name = daemon.images[0].name.as_str();
    site.desk.write("d.tar", krs_testing::image::archive_of(&docker_archive(&[(&web, &[name])])));
    let digest_from = |from: &str, file: &str| {
        site.bundle(file, &["--from", from]).ok();
        site.push(file, &["--allow-older"]).ok();
        site.edge.digest("local/web", "1.0").unwrap()
    };
    let of_daemon = digest_from(&location, "a.krs.tar");
    assert_ne!(of_daemon, web.digest);
    assert_eq!(digest_from("docker-archive:d.tar", "b.krs.tar"), of_daemon);
}

#[test]
fn t286_a_pinned_digest_that_a_daemon_has_lost_is_named_and_not_exported() {
    let web = app("web", 2);
    let lost = |location: &str, name: &str| {
        let pinned = web.digest;
        format!("{location} has {name} of {pinned}, but not the manifest with this digest")
    };
    // Its registry has it.
    let mut daemon = DaemonSite::new();
    web.push_to(&daemon.site.source, "team/web", Some("1.0"));
    daemon.add(&web, "team/web:1.0", Some(web.digest), Some(web.digest));
    let (fake, location) = daemon.start(ImageStore::Classic);
    let outcome = daemon.site.bundle("a.krs.tar", &["--from", &location]).ok();
    let remark = format!("warning: {}", lost(&location, &daemon.images[0].name));
    assert!(outcome.err.contains(&remark) && outcome.err.contains("it is not used"), "{outcome}");
    assert!(fake.requests().iter().all(|path| !path.starts_with("/images/get")), "{:?}", fake.requests());
    daemon.site.push("a.krs.tar", &[]).ok();
    assert_eq!(daemon.site.edge.digest("team/web", "1.0"), Some(web.digest));

    // No registry has it.
    let mut daemon = DaemonSite::new();
    daemon.add(&web, "team/web:1.0", Some(web.digest), Some(web.digest));
    let (_fake, location) = daemon.start(ImageStore::Classic);
    let name = &daemon.images[0].name;
    let advice = format!("write it without its digest (image: {name})");
    daemon.site.bundle("x.krs.tar", &["--from", &location]).failed(6, &[&lost(&location, name), &advice]);

    // Another digest than the one by which the daemon knows the image: an export cannot have any of a registry.
    let other = app("other", 3);
    let mut daemon = DaemonSite::new();
    daemon.add(&web, "team/web:1.0", Some(other.digest), None);
    let (_fake, location) = daemon.start(ImageStore::ClassicWithLayout);
    let (name, found) = (&daemon.images[0].name, web.digest);
    daemon.site.bundle("x.krs.tar", &["--from", &location]).failed(
        6,
        &[
            &format!("{location} has {name} as {found}, not as {}", other.digest),
            "does not keep the manifest of the registry",
        ],
    );
}

#[test]
fn a_daemon_that_cannot_be_asked_is_named_with_what_works() {
    let mut daemon = DaemonSite::new();
    daemon.add(&app("web", 2), "local/web:1.0", None, None);
    daemon.site.commit();
    let path = daemon.site.checkout.path().as_str();
    let desk = &daemon.site.desk;
    let with_host =
        |host: &str| desk.krs_env(&[("DOCKER_HOST", host)], &["plan", path, "--from", "docker-daemon:"]);
    let export = "docker save -o FILE IMAGE…, and --from docker-archive:FILE";
    with_host("tcp://build.example.com:2376")
        .failed(2, &["DOCKER_HOST is `tcp://build.example.com:2376`", export]);
    with_host("ssh://me:SECRET@build.example.com").failed(2, &["ssh://***@build.example.com"]);
    // As `docker context create far --docker host=ssh://me@far` and `docker context use far` write it.
    let meta =
        "docker/contexts/meta/512eea46ceb3921dff4363c7069d89d4964d1d9fccaa0f411851a7aa60a5c868/meta.json";
    std::fs::create_dir_all(desk.path(meta).parent().unwrap()).unwrap();
    desk.write(meta, r#"{"Name":"far","Endpoints":{"docker":{"Host":"ssh://me@far"}}}"#);
    let config = desk.path("docker");
    let with_context = |context: &str| {
        let variables = [("DOCKER_CONFIG", config.as_str()), ("DOCKER_CONTEXT", context)];
        desk.krs_env(&variables, &["plan", path, "--from", "docker-daemon:"])
    };
    with_context("far").failed(2, &["the Docker context `far` (DOCKER_CONTEXT) is `ssh://***@far`", export]);
    with_context("gone")
        .failed(2, &["Docker context `gone` (DOCKER_CONTEXT): there is no file", "docker context ls"]);
    desk.write("docker/config.json", r#"{"currentContext": "far"}"#);
    with_context("").failed(2, &["the Docker context `far` (", "config.json) is `ssh://***@far`", export]);
    let nowhere = desk.path("nowhere.sock");
    desk.write(meta, format!(r#"{{"Name":"far","Endpoints":{{"docker":{{"Host":"unix://{nowhere}"}}}}}}"#));
    with_context("").failed(8, &[&format!("cannot connect to a Docker daemon at {nowhere}")]);
    let host = format!("unix://{nowhere}");
    let refused = with_host(&host);
    refused.failed(8, &[&format!("cannot connect to a Docker daemon at {nowhere}"), export]);
    desk.krs(&["plan", path, "--from", "docker-daemon:local/web:1.0"])
        .failed(2, &["names no daemon", "expected docker-daemon: alone"]);
}

#[test]
fn an_image_that_the_daemon_does_not_have_comes_from_its_registry() {
    let mut daemon = DaemonSite::new();
    let web = app("web", 2);
    daemon.site.add(&web, "team/web", "1.0");
    let (_fake, location) = daemon.start(ImageStore::Containerd);
    let outcome = daemon.site.bundle("a.krs.tar", &["--from", &location]).ok();
    let remark = format!("no image was used from {location}, which has no image of the sets");
    assert!(outcome.err.contains(&remark), "{outcome}");
}
