// SPDX-License-Identifier: Apache-2.0
//! `krs pin`: digests in the files of sets.

mod failures;
mod files;

use krs_testing::image::{Image, ImageBuilder, index};
use krs_testing::registry::{Options, Registry};

use crate::harness::{Desk, Outcome};

/// A registry and a folder with files.
struct Bench {
    desk: Desk,
    registry: Registry,
}

impl Bench {
    fn new() -> Self {
        Self::with(Options::default())
    }

    fn with(options: Options) -> Self {
        Self { desk: Desk::new(), registry: Registry::start(options) }
    }

    /// Puts an image under a tag, and answers its digest.
    fn push(&self, repository: &str, tag: &str, content: &str) -> String {
        let image = image(content);
        image.push_to(&self.registry, repository, Some(tag));
        image.digest.to_string()
    }

    /// A text in which `R` is the registry.
    fn text(&self, text: &str) -> String {
        text.replace("R/", &format!("{}/", self.registry.host()))
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.desk.path(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, self.text(text)).unwrap();
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.desk.path(name)).unwrap()
    }

    fn pin(&self, arguments: &[&str]) -> Outcome {
        self.desk.krs(&[&["pin"], arguments, &["--retries", "0", "--no-progress"]].concat())
    }

    /// Requests for manifests.
    fn look_ups(&self) -> usize {
        let requests = self.registry.requests();
        requests.iter().filter(|request| request.path.contains("/manifests/")).count()
    }
}

fn image(content: &str) -> Image {
    ImageBuilder::new(content).layer(content).build()
}

/// A set of these images, in lines.
fn set(name: &str, images: &[&str]) -> String {
    let images = images.iter().map(|image| format!("  - image: {image}\n")).collect::<String>();
    format!(
        "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: {name}\nspec:\n  destinationRegistry: edge.local\n  images:\n{images}"
    )
}

#[test]
fn what_has_no_digest_gets_that_of_its_tag() {
    let bench = Bench::new();
    let (web, api) = (bench.push("team/web", "1.0", "web"), bench.push("team/api", "2.0", "api"));
    let old = format!("sha256:{}", "a".repeat(64));
    let images = [
        "R/team/web:1.0 # the shop".to_owned(),
        "'R/team/api:2.0'".to_owned(),
        format!("R/team/web:0.9@{old}"),
        format!("R/team/db@{old}"),
    ];
    bench.write("sites/a.yaml", &set("a", &images.each_ref().map(String::as_str)));
    let before = bench.read("sites/a.yaml");
    let outcome = bench.pin(&["sites"]).ok();
    let after =
        before.replace("web:1.0", &format!("web:1.0@{web}")).replace("api:2.0", &format!("api:2.0@{api}"));
    assert_eq!(bench.read("sites/a.yaml"), after);
    assert!(
        outcome.out.ends_with("2 references pinned, 1 already pinned, 1 with only a digest\n"),
        "{outcome}"
    );
    assert!(outcome.out.contains("sites/a.yaml:8  "), "{outcome}");
    assert_eq!(outcome.err, "");
    // The tag's digest is that of the bytes, and nothing else is fetched.
    assert_eq!(bench.look_ups(), 2);
    assert!(bench.registry.requests().iter().all(|request| !request.path.contains("/blobs/")));
    let outcome = bench.pin(&["sites"]).ok();
    assert_eq!(outcome.out, "0 references pinned, 3 already pinned, 1 with only a digest\n");
    assert_eq!(bench.look_ups(), 2);
}

#[test]
fn a_tag_that_moved_gets_its_new_digest_where_that_is_asked_for() {
    let bench = Bench::new();
    let old = bench.push("tools/trivy-db", "2", "old");
    let web = bench.push("team/web", "1.0", "web");
    let text = set("a", &[&format!("R/tools/trivy-db:2@{old}"), &format!("R/team/web:1.0@{web}")]);
    bench.write("a.yaml", &text);
    let new = bench.push("tools/trivy-db", "2", "new");
    bench.push("team/web", "1.0", "new web");
    bench.pin(&["a.yaml"]).ok();
    assert_eq!(bench.read("a.yaml"), bench.text(&text));
    let outcome = bench.pin(&["a.yaml", "--refresh", "--tag-pattern", "trivy-db:*", "--format", "json"]).ok();
    assert_eq!(bench.read("a.yaml"), bench.text(&text).replace(&old, &new));
    let report = outcome.json();
    let change = &report["changes"][0];
    assert_eq!((change["before"].as_str(), change["after"].as_str()), (Some(&*old), Some(&*new)));
    assert_eq!(
        (&change["file"], &change["line"], &change["set"]),
        (&"a.yaml".into(), &8.into(), &"a".into())
    );
    assert_eq!((&report["written"], &report["pinned"]), (&true.into(), &1.into()));
    let outcome = bench.pin(&["a.yaml", "--refresh"]).ok();
    assert!(outcome.out.ends_with("0 references pinned, 1 moved, 1 unchanged\n"), "{outcome}");
    let outcome = bench.pin(&["a.yaml", "--refresh", "--tag-pattern", "nothing:1"]).ok();
    assert!(outcome.err.contains("--tag-pattern nothing:1 matches no reference"), "{outcome}");
    bench.pin(&["a.yaml", "--tag-pattern", "a:1"]).failed(2, &["--refresh"]);
    bench.pin(&["a.yaml", "--refresh", "--tag-pattern", "trivy-db"]).failed(2, &["names no tag"]);
}

#[test]
fn check_writes_nothing_and_its_exit_code_says_whether_anything_would_change() {
    let bench = Bench::new();
    let web = bench.push("team/web", "1.0", "web");
    let text = set("a", &["R/team/web:1.0"]);
    bench.write("a.yaml", &text);
    let outcome = bench.pin(&["a.yaml", "--check"]);
    assert_eq!((outcome.code, bench.read("a.yaml")), (10, bench.text(&text)), "{outcome}");
    assert!(outcome.out.contains("a.yaml:8") && outcome.out.ends_with("1 reference to pin\n"), "{outcome}");
    assert_eq!(outcome.err, "");
    bench.pin(&["a.yaml"]).ok();
    bench.pin(&["a.yaml", "--check"]).ok();
    bench.pin(&["a.yaml", "--check", "--refresh"]).ok();
    bench.push("team/web", "1.0", "new");
    let outcome = bench.pin(&["a.yaml", "--check", "--refresh", "--format", "json"]);
    assert_eq!((outcome.code, outcome.json()["written"].as_bool()), (10, Some(false)), "{outcome}");
    assert_eq!(bench.read("a.yaml"), bench.text(&text).replace("1.0", &format!("1.0@{web}")));
}

#[test]
fn standard_input_goes_to_standard_output() {
    let bench = Bench::new();
    let web = bench.push("team/web", "1.0", "web");
    let text = bench.text(&format!(
        "apiVersion: v1\nkind: ConfigMap # ä\nmetadata: {{name: c}}\n---\n{}---\n# end",
        set("a", &["R/team/web:1.0"])
    ));
    let outcome = bench.desk.krs_stdin(&text, &["pin", "-", "--no-progress"]).ok();
    assert_eq!((outcome.out, outcome.err.as_str()), (text.replace("1.0", &format!("1.0@{web}")), ""));
    let outcome = bench.desk.krs_stdin(&text, &["pin", "-", "--check"]);
    assert_eq!(outcome.code, 10);
    assert!(outcome.out.ends_with("1 reference to pin\n"), "{outcome}");
    bench
        .desk
        .krs_stdin(&text, &["pin", "-", "--format", "json"])
        .failed(2, &["standard output is for the YAML"]);
    bench.desk.krs_stdin(&text, &["pin", "-", "a.yaml"]).failed(2, &["`-` stands beside other paths"]);
}

#[test]
fn a_thousand_images_take_one_look_up_for_each_tag() {
    let bench = Bench::new();
    let digest = bench.push("team/app", "0", "app");
    for tag in 1..250 {
        bench.push("team/app", &tag.to_string(), "app");
    }
    let images = (0..4).map(|copy| {
        let images = (0..250).map(|tag| format!("R/team/app:{tag}")).collect::<Vec<_>>();
        set(&format!("s{copy}"), &images.iter().map(String::as_str).collect::<Vec<_>>())
    });
    let text = images.collect::<Vec<_>>().join("---\n");
    bench.write("a.yaml", &text);
    bench.write("b.yaml", &text.replace("name: s", "name: t"));
    let outcome = bench.pin(&["."]).ok();
    assert!(outcome.out.ends_with("2000 references pinned\n"), "{outcome}");
    assert_eq!(bench.look_ups(), 250);
    assert_eq!(bench.read("a.yaml").matches(&digest).count(), 1000);
    assert_eq!(
        bench.read("b.yaml").replace(&format!("@{digest}"), ""),
        bench.text(&text.replace("name: s", "name: t"))
    );
}

#[test]
fn platforms_of_the_set_that_an_image_does_not_have_are_said() {
    let bench = Bench::new();
    let amd64 = ImageBuilder::new("amd64").platform("linux/amd64").build();
    let both = index(&[(&amd64, None)]);
    both.push_to(&bench.registry, "team/web", Some("1.0"));
    amd64.push_to(&bench.registry, "team/one", Some("1.0"));
    let with = |platforms: &str, image: &str| {
        let text = set("a", &[image]).replace("  images:", &format!("  platforms: [{platforms}]\n  images:"));
        bench.write("a.yaml", &text);
    };
    with("linux/amd64, linux/arm64", "R/team/web:1.0");
    let outcome = bench.pin(&["a.yaml"]).ok();
    assert!(
        outcome.err.contains("warning: a.yaml:9: ")
            && outcome.err.contains("has no image for linux/arm64; it has linux/amd64"),
        "{outcome}"
    );
    assert!(bench.read("a.yaml").contains(&both.digest.to_string()));
    with("linux/amd64, linux/arm64", "R/team/web:1.0");
    let before = bench.read("a.yaml");
    bench
        .pin(&["a.yaml", "--require-platforms"])
        .failed(2, &["it has no image for linux/arm64; it has linux/amd64"]);
    assert_eq!(bench.read("a.yaml"), before);
    with("linux/arm64", "R/team/web:1.0");
    bench.pin(&["a.yaml"]).failed(2, &["has no image for linux/arm64"]);
    with("linux/arm64", "R/team/one:1.0");
    let outcome = bench.pin(&["a.yaml"]).ok();
    assert!(outcome.err.contains("has no image for linux/arm64; it has linux/amd64"), "{outcome}");
}
