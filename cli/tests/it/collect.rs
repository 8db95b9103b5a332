// SPDX-License-Identifier: Apache-2.0
//! `krs collect`: from manifests, charts and kustomizations to a set.

use std::fs;

use crate::harness::{Desk, Outcome};

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn write(desk: &Desk, name: &str, text: &str) {
    let path = desk.path(name);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

fn pod(name: &str, image: &str) -> String {
    format!(
        "apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  containers:\n  - name: a\n    image: {image}\n"
    )
}

/// Two manifests.
fn desk() -> Desk {
    let desk = Desk::new();
    write(&desk, "deploy/a.yaml", &pod("a", "nginx:1.27"));
    write(&desk, "deploy/b.yaml", &pod("b", "quay.io/team/web:2"));
    desk
}

/// `krs collect` with a search path of its own, in which the programs are shell scripts.
#[cfg(unix)]
fn with_programs(desk: &Desk, programs: &[(&str, &str)], arguments: &[&str]) -> Outcome {
    for (name, text) in programs {
        fs::create_dir_all(desk.path("bin")).unwrap();
        let text = format!("#!/bin/sh\n{text}\n");
        krs_testing::process::write_script(desk.path(&format!("bin/{name}")), &text);
    }
    let all = [&["collect"], arguments].concat();
    let path = format!("{}:/nonexistent", desk.path("bin"));
    Outcome::of(desk.command(&all).env("PATH", path).output().unwrap())
}

#[test]
fn a_new_set_names_each_image_in_full_and_says_what_uses_it() {
    let desk = desk();
    write(&desk, "deploy/c.yaml", &pod("c", "nginx:1.27"));
    let said = desk.krs(&["collect", "deploy", "--destination", "edge.local:5000"]).ok();
    assert_eq!(
        said.out,
        "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata:\n  name: images\nspec:\n  destinationRegistry: edge.local:5000\n  images:\n  # deploy/a.yaml: Pod a\n  # deploy/c.yaml: Pod c\n  - image: docker.io/library/nginx:1.27\n  # deploy/b.yaml: Pod b\n  - image: quay.io/team/web:2\n"
    );
    assert!(said.err.contains("2 images have no digest"), "{said}");
    let arguments =
        ["collect", "deploy", "--destination", "edge.local:5000/m", "-o", "shop.yaml", "--namespace", "n"];
    let said = desk.krs(&arguments).ok();
    assert!(said.out.contains("quay.io/team/web:2               1  deploy/b.yaml:7: Pod b"), "{said}");
    let validated = desk.krs(&["validate", "shop.yaml"]).ok();
    assert!(validated.out.contains("n/shop") && validated.out.contains("edge.local:5000/m"), "{validated}");
}

#[test]
fn the_report_for_programs_has_every_use() {
    let said = desk().krs(&["collect", "deploy", "--format", "json"]).ok();
    let json = said.json();
    let first = &json["images"][0];
    assert_eq!(first["image"], "docker.io/library/nginx:1.27");
    assert_eq!(
        first["usedBy"][0],
        serde_json::json!({
            "written": "nginx:1.27", "source": "deploy/a.yaml", "resource": "Pod a",
            "field": "spec.containers[0].image", "line": 7
        })
    );
    assert_eq!((&json["files"], &json["resources"]), (&2.into(), &2.into()));
}

#[test]
fn wrong_calls_say_what_to_do() {
    let desk = desk();
    desk.krs(&["collect", "deploy"]).failed(2, &["--destination REGISTRY"]);
    desk.krs(&["collect", "nowhere"]).failed(2, &["--destination"]);
    let to = ["--destination", "edge.local"];
    let run = |arguments: &[&str]| desk.krs(&[&["collect"], arguments, &to].concat());
    run(&["nowhere"]).failed(2, &["cannot read the source nowhere"]);
    run(&["deploy", "--values", "none.yaml"]).failed(2, &["there is no file none.yaml"]);
    run(&["deploy", "-o", "-"]).failed(2, &["standard output"]);
    run(&["deploy", "-o", "new.yaml", "--prune"]).failed(2, &["--prune needs a file"]);
    run(&["deploy", "-o", "deploy/a.yaml"]).failed(2, &["no EdgeImageSet"]);
    run(&["deploy", "--name", "Not-A-Name"]).failed(2, &["metadata.name"]);
    fs::create_dir(desk.path("empty")).unwrap();
    run(&["empty"]).failed(2, &["no image found"]);
}

#[test]
fn an_update_keeps_every_byte_and_adds_at_the_end() {
    let desk = desk();
    let before = format!(
        "# Ours.\napiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata: {{name: s}}\nspec:\n  destinationRegistry: 'edge.local'\n  images:\n    - image: docker.io/nginx:1.27@{DIGEST} # pinned\n    # Old.\n    - image: quay.io/team/old:1\n"
    );
    write(&desk, "set.yaml", &before);
    let said = desk.krs(&["collect", "deploy", "-o", "set.yaml", "--destination", "edge.local"]).ok();
    let read = || fs::read_to_string(desk.path("set.yaml")).unwrap();
    let new = "    # deploy/b.yaml: Pod b\n    - image: quay.io/team/web:2\n";
    assert_eq!(read(), format!("{before}{new}"));
    assert!(
        said.out.contains("+  quay.io/team/web:2") && said.out.contains("?  quay.io/team/old:1"),
        "{said}"
    );
    // The same call again changes nothing.
    desk.krs(&["collect", "deploy", "-o", "set.yaml"]).ok();
    assert_eq!(read(), format!("{before}{new}"));
    let said = desk.krs(&["collect", "deploy", "-o", "set.yaml", "--prune"]).ok();
    assert!(said.out.contains("-  quay.io/team/old:1"), "{said}");
    assert_eq!(
        read(),
        format!("{}{new}", before.replace("    # Old.\n    - image: quay.io/team/old:1\n", ""))
    );
    desk.krs(&["collect", "deploy", "-o", "set.yaml", "--destination", "other.local"])
        .failed(2, &["another destinationRegistry"]);
    // Another digest for the same tag.
    let other = format!("sha256:{}", "1".repeat(64));
    write(&desk, "deploy/a.yaml", &pod("a", &format!("nginx:1.27@{other}")));
    desk.krs(&["collect", "deploy", "-o", "set.yaml"]).ok();
    assert!(
        read().contains(&format!("- image: docker.io/library/nginx:1.27@{other} # pinned")),
        "{}",
        read()
    );
}

#[test]
fn images_that_would_have_one_name_are_refused_or_told_apart() {
    let desk = desk();
    let to = ["collect", "deploy", "--destination", "edge.local", "-o", "set.yaml"];
    let other = format!("sha256:{}", "1".repeat(64));
    write(&desk, "deploy/a.yaml", &pod("a", &format!("nginx:1.27@{DIGEST}")));
    write(&desk, "deploy/b.yaml", &pod("b", &format!("nginx:1.27@{other}")));
    let expected = format!("`docker.io/library/nginx:1.27@{DIGEST}` has another digest than");
    desk.krs(&to).failed(6, &[&expected, "use one digest everywhere"]);
    // The same path in two registries.
    write(&desk, "deploy/a.yaml", &pod("a", "docker.io/team/web:1"));
    write(&desk, "deploy/b.yaml", &pod("b", "quay.io/team/web:1"));
    desk.krs(&to).ok();
    assert!(fs::read_to_string(desk.path("set.yaml")).unwrap().contains("\n  naming: HostInPath\n"));
    desk.krs(&["validate", "set.yaml"]).ok();
    // Added to a set without it.
    let set = "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata: {name: s}\nspec:\n  destinationRegistry: edge.local\n  images:\n  - image: docker.io/team/web:1\n";
    write(&desk, "set.yaml", set);
    desk.krs(&to).failed(2, &["`quay.io/team/web:1` would get the name of `docker.io/team/web:1`"]);
    assert_eq!(fs::read_to_string(desk.path("set.yaml")).unwrap(), set);
}

/// Aliases make a short text a very large one.
#[test]
fn a_text_that_grows_without_end_is_a_problem_and_takes_seconds() {
    let desk = Desk::new();
    let mut text = "apiVersion: x/v1\nkind: A\nspec:\n  a0: &a0 {image: 'q.io/a/b:1'}\n".to_owned();
    for n in 1..40 {
        text.push_str(&format!("  a{n}: &a{n} [*a{0}, *a{0}]\n", n - 1));
    }
    write(&desk, "d/a.yaml", &text);
    desk.krs(&["collect", "d", "--destination", "edge.local"])
        .failed(6, &["d/a.yaml:23: is not valid YAML: has aliases that stand for more than 2000000 values"]);
}

#[test]
fn a_check_finds_what_no_set_carries_and_what_nothing_uses() {
    let desk = desk();
    desk.krs(&["collect", "deploy", "--destination", "edge.local", "-o", "deploy/images.yaml"]).ok();
    let said = desk.krs(&["collect", "deploy", "--check"]).ok();
    assert!(said.out.contains("2 images used and carried by 1 set, 0 missing, 0 unused"), "{said}");
    // By its name in the edge registry, and by a digest that the set does not state.
    write(&desk, "deploy/a.yaml", &pod("a", "edge.local/library/nginx:1.27"));
    desk.krs(&["collect", "deploy", "--check"]).ok();
    write(&desk, "deploy/a.yaml", &pod("a", &format!("nginx:1.27@{DIGEST}")));
    let said = desk.krs(&["collect", "deploy", "--check"]);
    assert_eq!(said.code, 10, "{said}");
    assert!(said.out.contains("Used, and carried by no set:\nIMAGE"), "{said}");
    assert!(said.out.contains("Carried by a set, and used by nothing:\nIMAGE"), "{said}");
    let json = desk.krs(&["collect", "deploy", "--check", "--format", "json"]).json();
    assert_eq!(json["missing"][0]["usedBy"][0]["source"], "deploy/a.yaml");
    assert_eq!(json["unused"][0]["image"], "docker.io/library/nginx:1.27");
    desk.krs(&["collect", "deploy", "--check", "-o", "x"]).failed(2, &["cannot be used with"]);
}

#[test]
fn what_cannot_be_read_stops_the_set_unless_that_is_accepted() {
    let desk = desk();
    write(&desk, "deploy/c.yaml", &pod("c", "'quay.io/a:${TAG}'"));
    write(&desk, "deploy/d.yaml", "apiVersion: v1\nkind: Pod\nspec: [\n");
    let arguments = ["collect", "deploy", "--destination", "edge.local", "-o", "set.yaml"];
    let said = desk.krs(&arguments).failed(
        6,
        &[
            "deploy/c.yaml:7: Pod c: spec.containers[0].image: `quay.io/a:${TAG}` holds a variable",
            "deploy/d.yaml",
            "is not valid YAML",
            "2 sources could not be read",
            "--allow-incomplete",
        ],
    );
    assert!(!desk.path("set.yaml").exists(), "{said}");
    desk.krs(&[&arguments[..], &["--allow-incomplete"]].concat()).ok();
    assert_eq!(fs::read_to_string(desk.path("set.yaml")).unwrap().matches("- image:").count(), 2);
    desk.krs(&[&arguments[..], &["--allow-incomplete", "--prune"]].concat())
        .failed(6, &["nothing is removed"]);
    let json = desk.krs(&[&arguments[..], &["--format", "json"]].concat()).json();
    assert_eq!(json["problems"].as_array().unwrap().len(), 2);
}

#[cfg(unix)]
#[test]
fn charts_are_rendered_with_values_and_their_files_are_not_read() {
    let desk = desk();
    write(
        &desk,
        "charts/shop/Chart.yaml",
        "apiVersion: v2\nname: shop\nversion: 1.0.0\nannotations:\n  artifacthub.io/images: |\n    - image: quay.io/shop/extra:1\n",
    );
    write(&desk, "charts/shop/values.yaml", "image: quay.io/not/this:1\n");
    write(&desk, "charts/shop/templates/a.yaml", "image: {{ .Values.image }}\n");
    write(&desk, "prod.yaml", "a: 1\n");
    let to = ["charts", "--destination", "edge.local", "--values", "prod.yaml", "--kube-version", "1.33"];
    with_programs(&desk, &[], &to).failed(6, &["charts/shop: is a Helm chart, and helm is not installed"]);
    let helm =
        format!("echo \"$@\" > {}\ncat <<'E'\n{}E", desk.path("call"), pod("web", "quay.io/shop/web:3"));
    let said = with_programs(&desk, &[("helm", &format!("PATH=/usr/bin:/bin\n{helm}"))], &to).ok();
    assert!(said.out.contains("  # charts/shop: Pod web\n  - image: quay.io/shop/web:3\n"), "{said}");
    assert!(
        said.out.contains("  # charts/shop/Chart.yaml: Chart shop\n  - image: quay.io/shop/extra:1\n"),
        "{said}"
    );
    assert!(!said.out.contains("not/this"), "{said}");
    let call = fs::read_to_string(desk.path("call")).unwrap();
    let prod = desk.path("prod.yaml").canonicalize_utf8().unwrap();
    let chart = desk.path("charts/shop").canonicalize_utf8().unwrap();
    assert_eq!(call, format!("template shop {chart} --kube-version=1.33 --values={prod}\n"));
    with_programs(&desk, &[("helm", "echo 'Error: it needs a host' >&2; exit 1")], &to)
        .failed(6, &["charts/shop: cannot be rendered: helm failed: it needs a host", "--values FILE"]);
    write(
        &desk,
        "charts/shop/Chart.yaml",
        "name: shop\ndependencies:\n- {name: redis, version: 1.x, repository: 'https://r.example'}\n",
    );
    with_programs(&desk, &[], &to)
        .failed(6, &["`redis` (1.x of https://r.example)", "helm dependency build charts/shop"]);
}

#[cfg(unix)]
#[test]
fn t308_a_rendered_document_that_is_no_resource_is_named() {
    let desk = Desk::new();
    write(&desk, "c/Chart.yaml", "name: c\nversion: 1.0.0\n");
    let document = "---\nkind: Pod\nspec: {containers: [{image: q.io/b:1}]}\n---\n{}";
    let script = format!("echo \"{}{document}\"", pod("a", "q.io/a:1"));
    with_programs(&desk, &[("helm", &script)], &["c", "--destination", "edge.local"])
        .failed(6, &["c: renders a document without `apiVersion` and `kind` (it has: kind, spec)"]);
}

#[cfg(unix)]
#[test]
fn t309_credentials_in_charts_and_names_of_images_are_not_shown() {
    let desk = Desk::new();
    write(&desk, "c/Chart.yaml", "name: c\nversion: 1.0.0\n");
    write(&desk, "p.yaml", &pod("p", "ci:HUNTER2@q.io/team/a:1"));
    let script = "echo 'Error: execution error: no connection with password=HUNTER2 to https://ci:HUNTER2@db' >&2; exit 1";
    let said = with_programs(&desk, &[("helm", script)], &[".", "--destination", "edge.local"]).failed(
        6,
        &["with password=*** to https://***@db", "`***@q.io/team/a:1` is not the name of an image"],
    );
    assert!(!said.to_string().contains("HUNTER2"), "{said}");
}

#[cfg(unix)]
#[test]
fn kustomizations_are_built_and_their_files_are_not_read() {
    let desk = desk();
    write(&desk, "k/base/kustomization.yaml", "resources: [pod.yaml]\n");
    write(&desk, "k/base/pod.yaml", &pod("base", "quay.io/base:1"));
    write(&desk, "k/prod/kustomization.yaml", "resources: [../base]\npatches: [{path: patch.yaml}]\n");
    write(&desk, "k/prod/patch.yaml", &pod("base", "quay.io/patch:1"));
    write(&desk, "k/other.yaml", &pod("other", "quay.io/other:1"));
    let to = ["k", "--destination", "edge.local"];
    with_programs(&desk, &[], &to)
        .failed(6, &["k/prod: is a kustomization, and neither kustomize nor kubectl"]);
    let script =
        format!("echo \"$0 $@\" > {}\necho \"{}\"", desk.path("call"), pod("web", "quay.io/built:1"));
    for program in ["kubectl", "kustomize"] {
        let said = with_programs(&desk, &[(program, &script)], &to).ok();
        let images = said.out.lines().filter(|line| line.contains("- image:")).collect::<Vec<_>>();
        assert_eq!(images, ["  - image: quay.io/built:1", "  - image: quay.io/other:1"], "{said}");
        let call = fs::read_to_string(desk.path("call")).unwrap();
        let expected = if program == "kubectl" { "kubectl kustomize ." } else { "kustomize build ." };
        assert!(call.ends_with(&format!("/{expected}\n")), "{call}");
    }
    write(&desk, "k/base/kustomization.yaml", "resources: ['https://github.com/a/b?ref=v1']\n");
    with_programs(&desk, &[], &to).failed(6, &["k/prod: takes https://github.com/a/b?*** from a network"]);
}

/// With the programs themselves, where they are.
#[test]
fn real_programs_render_what_is_found() {
    let tools = std::env::var("KRS_TOOLS").map(|tools| format!("{tools}/bin:")).unwrap_or_default();
    let path = format!("{tools}{}", std::env::var("PATH").unwrap_or_default());
    let is_there = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let desk = Desk::new();
    let mut expected = Vec::new();
    if is_there("helm") {
        write(&desk, "c/Chart.yaml", "apiVersion: v2\nname: c\nversion: 1.0.0\n");
        write(&desk, "c/values.yaml", "tag: '1'\n");
        write(&desk, "c/templates/pod.yaml", &pod("{{ .Release.Name }}", "quay.io/chart:{{ .Values.tag }}"));
        write(&desk, "v.yaml", "tag: '2'\n");
        expected.push("quay.io/chart:2");
    }
    if is_there("kustomize") {
        write(&desk, "k/base/kustomization.yaml", "resources: [pod.yaml]\n");
        write(&desk, "k/base/pod.yaml", &pod("a", "quay.io/base"));
        write(
            &desk,
            "k/prod/kustomization.yaml",
            "resources: [../base]\nimages: [{name: quay.io/base, newTag: '7'}]\n",
        );
        expected.push("quay.io/base:7");
    }
    write(&desk, "p.yaml", &pod("p", "quay.io/plain:1"));
    expected.push("quay.io/plain:1");
    write(&desk, "v.yaml", "tag: '2'\n");
    let arguments = ["collect", ".", "--values", "v.yaml", "--format", "json"];
    let said = Outcome::of(desk.command(&arguments).env("PATH", path).output().unwrap()).ok();
    let mut found = said.json()["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["image"].as_str().unwrap().to_owned())
        .collect::<Vec<_>>();
    found.sort();
    expected.sort_unstable();
    assert_eq!(found, expected, "{said}");
}

/// A `helm` that writes its arguments and values into the file `calls`, and a Pod with the image `quay.io/NAME:1` for the
/// release NAME.
#[cfg(unix)]
fn helm(desk: &Desk) -> String {
    format!(
        "PATH=/usr/bin:/bin\nif [ \"$1\" = show ]; then printf 'name: redis\\nversion: 1.2.3\\n'; exit; fi\n\
         echo \"$@\" >> {calls}; cat >> {calls}; echo >> {calls}\n\
         printf 'apiVersion: v1\\nkind: Pod\\nmetadata: {{name: p}}\\nspec: {{containers: [{{image: quay.io/%s:1}}]}}\\n' \"$2\"",
        calls = desk.path("calls")
    )
}

#[cfg(unix)]
fn images(said: &Outcome) -> Vec<String> {
    let line = |line: &str| Some(line.trim().strip_prefix("- image: ")?.to_owned());
    said.out.lines().filter_map(line).collect()
}

#[test]
fn what_an_ignore_file_names_is_not_read_and_counted() {
    let desk = desk();
    write(&desk, "old/c.yaml", &pod("c", "not an image"));
    write(&desk, "old/readme.md", "no manifest");
    write(&desk, ".krsignore", "old/\n");
    let said = desk.krs(&["collect", ".", "--destination", "edge.local", "-v"]).ok();
    assert!(said.err.contains("1 file not read, because .gitignore or .krsignore names them"), "{said}");
    let collect = ["collect", ".", "--destination", "edge.local", "-o", "set.yaml"];
    let said = desk.krs(&collect).ok();
    assert!(said.out.contains("2 images in 2 resources (2 files read, 1 ignored)"), "{said}");
    let report = desk.krs(&["collect", ".", "--format", "json"]).ok().json();
    assert_eq!((&report["ignoredFiles"], &report["files"]), (&1.into(), &3.into()));
    write(&desk, ".krsignore", "*.yaml\n");
    desk.krs(&collect[..4]).failed(2, &["no image found (0 files and 0 resources read, 4 files ignored)"]);
}

#[cfg(unix)]
#[test]
fn releases_of_flux_are_rendered_with_their_values() {
    let desk = Desk::new();
    let to = [".", "--destination", "edge.local"];
    write(&desk, "charts/shop/Chart.yaml", "name: shop\nversion: 1.0.0\n");
    write(
        &desk,
        "flux/shop.yaml",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: values, namespace: n}\ndata:\n  values.yaml: |\n    a: 1\n    b: 1\n  host: x\n---\n\
         apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web, namespace: n}\nspec:\n  chart: {spec: {chart: ./charts/shop, sourceRef: {kind: GitRepository, name: r}}}\n  valuesFrom:\n  - {kind: ConfigMap, name: values}\n  - {kind: ConfigMap, name: values, valuesKey: host, targetPath: c.host}\n  - {kind: Secret, name: none, optional: true}\n  values: {b: 2}\n",
    );
    let said = with_programs(&desk, &[("helm", &helm(&desk))], &to).ok();
    assert_eq!(images(&said), ["quay.io/web:1"], "{said}");
    assert!(said.out.contains("# flux/shop.yaml (HelmRelease n/web): Pod p"), "{said}");
    let calls = fs::read_to_string(desk.path("calls")).unwrap();
    assert!(calls.contains("--namespace=n --values=-\n{\"a\":1,\"b\":2,\"c\":{\"host\":\"x\"}}"), "{calls}");
    // A chart of a repository, first not there, then as the archive that the help asks for.
    write(
        &desk,
        "flux/redis.yaml",
        "apiVersion: source.toolkit.fluxcd.io/v1\nkind: HelmRepository\nmetadata: {name: r}\nspec: {url: 'oci://registry.example.com/charts'}\n---\n\
         apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: cache}\nspec:\n  chart: {spec: {chart: redis, version: 1.2.3, sourceRef: {kind: HelmRepository, name: r}}}\n",
    );
    with_programs(&desk, &[("helm", &helm(&desk))], &to).failed(
        6,
        &[
            "HelmRelease cache: its chart `redis` 1.2.3 of oci://registry.example.com/charts is not on disk",
            "helm pull oci://registry.example.com/charts/redis --version '1.2.3'",
        ],
    );
    write(&desk, "redis-1.2.3.tgz", "not read by this helm");
    let said = with_programs(&desk, &[("helm", &helm(&desk))], &to).ok();
    assert_eq!(
        images(&said),
        ["quay.io/cache:1", "quay.io/web:1", "registry.example.com/charts/redis:1.2.3"],
        "{said}"
    );
    // Values that only the cluster has.
    write(
        &desk,
        "flux/shop.yaml",
        "apiVersion: helm.toolkit.fluxcd.io/v2\nkind: HelmRelease\nmetadata: {name: web}\nspec:\n  chart: {spec: {chart: charts/shop, sourceRef: {kind: GitRepository, name: r}}}\n  valuesFrom: [{kind: Secret, name: s}]\n",
    );
    with_programs(&desk, &[("helm", &helm(&desk))], &to)
        .failed(6, &["takes values from the Secret `s` (key `values.yaml`)"]);
}

#[cfg(unix)]
#[test]
fn kustomizations_and_artifacts_of_flux_are_followed() {
    let desk = Desk::new();
    write(&desk, "apps/a.yaml", &pod("a", "'quay.io/a:${TAG}-${FLAVOR:=slim}'"));
    write(
        &desk,
        "flux/k.yaml",
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps}\nspec: {path: ./apps, postBuild: {substitute: {TAG: '7'}}}\n---\n\
         apiVersion: source.toolkit.fluxcd.io/v1\nkind: OCIRepository\nmetadata: {name: o}\nspec: {url: 'oci://ghcr.io/team/manifests', ref: {tag: '1.0'}}\n",
    );
    let to = [".", "--destination", "edge.local"];
    let said = with_programs(&desk, &[], &to).ok();
    assert_eq!(images(&said), ["ghcr.io/team/manifests:1.0", "quay.io/a:7-slim"], "{said}");
    write(
        &desk,
        "flux/k.yaml",
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {name: apps}\nspec: {path: ./gone}\n",
    );
    with_programs(&desk, &[], &to)
        .failed(6, &["its folder `./gone` is not in the sources", "holds a variable"]);
}

fn flux(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: kustomize.toolkit.fluxcd.io/v1\nkind: Kustomization\nmetadata: {{name: {name}}}\nspec: {spec}\n---\n"
    )
}

/// An ApplicationSet with these generators, and a template with this `spec`.
fn application_set(generators: &str, rest: &str, spec: &str) -> String {
    format!(
        "apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {{name: set}}\nspec:\n  generators: {generators}\n{rest}  template:\n    metadata: {{name: x}}\n    spec: {spec}\n"
    )
}

#[cfg(unix)]
#[test]
fn application_sets_are_rendered_from_lists_folders_and_files_of_the_checkout() {
    let desk = Desk::new();
    for name in ["a", "b", "legacy"] {
        write(&desk, &format!("charts/{name}/Chart.yaml"), &format!("name: {name}\nversion: 1.0.0\n"));
    }
    write(&desk, "sites/berlin/config.yaml", "site: {name: berlin}\nchart: a\n");
    write(
        &desk,
        "sites/kiel/config.yaml",
        "[{site: {name: kiel}, chart: b}, {site: {name: ulm}, chart: b}]\n",
    );
    let releases = |generators: &str, rest: &str, spec: &str| {
        write(&desk, "argo/set.yaml", &application_set(generators, rest, spec));
        let said =
            with_programs(&desk, &[("helm", &helm(&desk))], &[".", "--destination", "edge.local"]).ok();
        images(&said)
            .into_iter()
            .map(|image| image.replace("quay.io/", "").replace(":1", ""))
            .collect::<Vec<_>>()
    };
    let folders =
        "[{git: {repoURL: r, directories: [{path: charts/*}, {path: charts/legacy, exclude: true}]}}]";
    let spec = "{source: {repoURL: r, path: '{{path}}', helm: {releaseName: 'of-{{path.basename}}'}}}";
    assert_eq!(releases(folders, "", spec), ["legacy", "of-a", "of-b"]);
    let spec = "{source: {repoURL: r, path: '{{ .path.path }}', helm: {releaseName: 'of-{{ index .path.segments 1 }}'}}}";
    assert_eq!(releases(folders, "  goTemplate: true\n", spec), ["legacy", "of-a", "of-b"]);
    let files = "[{git: {repoURL: r, files: [{path: 'sites/**/config.yaml'}], values: {long: '{{path.basename}}-{{site.name}}'}}}]";
    let spec = "{source: {repoURL: r, path: 'charts/{{chart}}', helm: {releaseName: '{{values.long}}'}}}";
    assert_eq!(releases(files, "", spec), ["berlin-berlin", "kiel-kiel", "kiel-ulm", "legacy"]);
    let matrix = "[{matrix: {generators: [{list: {elements: [{site: ulm}, {site: jena}]}}, {git: {repoURL: r, directories: [{path: 'charts/[ab]'}]}}]}}]";
    let spec = "{source: {repoURL: r, path: '{{path}}', helm: {releaseName: '{{site}}-{{path.basename}}'}}}";
    assert_eq!(releases(matrix, "", spec), ["jena-a", "jena-b", "legacy", "ulm-a", "ulm-b"]);
}

#[cfg(unix)]
#[test]
fn what_an_application_set_leaves_open_is_named() {
    let desk = Desk::new();
    write(&desk, "charts/a/Chart.yaml", "name: a\nversion: 1.0.0\n");
    write(&desk, "bad.json", "{\"a\": [\n");
    let spec = "{source: {repoURL: r, path: '{{path}}'}}";
    let list = "[{list: {elements: [{path: charts/a}]}}]";
    let go = "  goTemplate: true\n";
    for (generators, rest, spec, expected) in [
        ("[{merge: {}}]", "", spec, "the generator `merge`, whose values only the cluster knows"),
        ("[{list: {elements: []}}]", "", spec, "a generator for which nothing is in the sources"),
        (
            "[{git: {directories: [{path: gone/*}]}}]",
            "",
            spec,
            "a generator for which nothing is in the sources",
        ),
        (
            "[{git: {files: [{path: bad.json}]}}]",
            "",
            spec,
            "takes values from `bad.json`, which is not valid",
        ),
        ("[{selector: {}, list: {}}]", "", spec, "has a generator with `selector`, which is not applied"),
        (
            list,
            "",
            "{source: {path: '{{other}}'}}",
            "is made of a template whose `{{ other }}` is not known here",
        ),
        (
            list,
            go,
            "{source: {path: '{{ .path | lower }}'}}",
            "whose `{{ .path | lower }}` is not known here",
        ),
        (list, "  templatePatch: x\n", spec, "changes applications by a template of its own"),
        (
            list,
            "",
            "{source: {repoURL: r, path: '{{path}}/b'}}",
            "its folder `charts/a/b` of r is not in the sources",
        ),
    ] {
        write(&desk, "argo/set.yaml", &application_set(generators, rest, spec));
        with_programs(&desk, &[("helm", &helm(&desk))], &[".", "--destination", "edge.local"])
            .failed(6, &["argo/set.yaml:1: ApplicationSet set: ", expected]);
    }
}

/// What the current folder holds below it, with the content of each file, so that a change can be seen.
fn tree(desk: &Desk) -> Vec<(String, Vec<u8>)> {
    let files = desk.files();
    files.into_iter().map(|file| (file.clone(), fs::read(desk.path(&file)).unwrap_or_default())).collect()
}

#[cfg(unix)]
#[test]
fn changes_of_flux_that_cannot_be_applied_are_named() {
    let desk = Desk::new();
    write(&desk, "apps/a.yaml", &pod("a", "'quay.io/a:${TAG}'"));
    let images = "images: [{name: quay.io/a, newTag: '8'}]";
    let to = [".", "--destination", "edge.local"];
    let broken = "echo 'Error: no matches for target' >&2; exit 1";
    for (spec, program, expected) in [
        (
            format!("{{path: ./apps, {images}, patches: []}}"),
            None,
            "neither kustomize nor kubectl is installed",
        ),
        (
            format!("{{path: ./apps, {images}}}"),
            Some(broken),
            "it cannot be built: kubectl failed: no matches",
        ),
        (
            "{path: ./apps, components: [../gone]}".to_owned(),
            Some(broken),
            "its component `../gone` is not in",
        ),
        (format!("{{path: ./, {images}}}"), Some(broken), "may be another repository than this one"),
    ] {
        write(&desk, "flux/k.yaml", &flux("apps", &spec));
        let programs = program.map(|program| ("kubectl", program));
        let said = with_programs(&desk, programs.as_slice(), &to).failed(
            6,
            &["is read without these changes: ", expected, "flux build kustomization apps --path ./"],
        );
        assert!(!said.err.contains("spec.patches"), "{said}");
        let _ = fs::remove_file(desk.path("bin/kubectl"));
    }
}

/// With the programs themselves, where they are.
#[test]
fn real_programs_apply_what_flux_changes() {
    let path = std::env::var("PATH").unwrap_or_default();
    let is_there = |name: &str| std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    if !is_there("kustomize") && !is_there("kubectl") {
        return;
    }
    let desk = Desk::new();
    write(&desk, "base/pod.yaml", &pod("b", "quay.io/b:1"));
    write(&desk, "base/kustomization.yaml", "resources: [pod.yaml]\n");
    write(
        &desk,
        "apps/kustomization.yaml",
        "resources: [../base, a.yaml]\nimages: [{name: quay.io/b, newName: quay.io/bb, newTag: '1.10'}]\n",
    );
    write(&desk, "apps/a.yaml", &pod("a", "quay.io/a:1"));
    write(&desk, "apps/orphan.yaml", &pod("o", "quay.io/orphan:1"));
    write(&desk, "debug/side.yaml", &pod("side", "quay.io/side:1"));
    write(
        &desk,
        "debug/kustomization.yaml",
        "kind: Component\napiVersion: kustomize.config.k8s.io/v1alpha1\nresources: [side.yaml]\n",
    );
    write(&desk, "plain/p.yaml", &pod("p", "quay.io/p:${TAG}"));
    write(&desk, "plain/notes.yaml", "image: no resource\n");
    write(&desk, "plain/sub/kustomization.yaml", "resources: [q.yaml]\n");
    write(&desk, "plain/sub/q.yaml", &pod("q", "quay.io/q:1"));
    write(
        &desk,
        "flux/all.yaml",
        &[
            // It replaces what a variable of the Kustomization that lies in its folder says.
            flux("flux", "{path: ./flux, postBuild: {substitute: {NEW: '9.10'}}}"),
            flux(
                "apps",
                "{path: ./apps, targetNamespace: n, namePrefix: x-, components: [../debug, ../gone], ignoreMissingComponents: true, \
                 images: [{name: quay.io/a, newTag: '${NEW}'}, {name: quay.io/b, newTag: '2'}]}",
            ),
            flux(
                "plain",
                "{path: plain, postBuild: {substitute: {TAG: v7}}, patches: [{target: {kind: Pod, name: q}, \
                 patch: '[{\"op\": \"replace\", \"path\": \"/spec/containers/0/image\", \"value\": \"quay.io/patched:${TAG:1}\"}]'}]}",
            ),
        ]
        .concat(),
    );
    let before = tree(&desk);
    let said = desk.krs(&["collect", ".", "--format", "json"]).ok();
    let images = said.json()["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| image["image"].clone())
        .collect::<Vec<_>>();
    let expected =
        ["a:9.10", "b:2", "orphan:1", "p:v7", "patched:7", "side:1"].map(|name| format!("quay.io/{name}"));
    assert_eq!(images, expected, "{said}");
    assert_eq!(tree(&desk), before);
    let used = &said.json()["images"][0]["usedBy"][0];
    assert_eq!(
        (&used["source"], &used["resource"]),
        (&"apps (Kustomization apps)".into(), &"Pod n/x-a".into()),
        "{said}"
    );
    // One that changes nothing applies the same folder as it is.
    write(&desk, "flux/other.yaml", &flux("plain-too", "{path: plain/sub}"));
    let said = desk.krs(&["collect", ".", "--format", "json"]).ok();
    assert!(said.out.contains("quay.io/q:1") && said.out.contains("quay.io/patched:7"), "{said}");
}

#[cfg(unix)]
#[test]
fn applications_of_argo_cd_and_fleet_bundles_are_rendered() {
    let desk = Desk::new();
    write(&desk, "charts/shop/Chart.yaml", "name: shop\nversion: 1.0.0\n");
    write(&desk, "charts/shop/values-prod.yaml", "a: 1\n");
    write(&desk, "plain/a.yaml", &pod("a", "quay.io/plain:1"));
    write(
        &desk,
        "argo/apps.yaml",
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: shop}\nspec:\n  destination: {namespace: n}\n  source:\n    repoURL: https://git.example/r\n    path: charts/shop\n    helm: {valueFiles: [values-prod.yaml], parameters: [{name: image.tag, value: '2'}], values: 'b: 1'}\n---\n\
         apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: plain}\nspec: {source: {repoURL: r, path: plain, kustomize: {images: ['a=quay.io/new:2']}}}\n",
    );
    let to = [".", "--destination", "edge.local"];
    let said = with_programs(&desk, &[("helm", &helm(&desk))], &to).ok();
    assert_eq!(images(&said), ["quay.io/new:2", "quay.io/plain:1", "quay.io/shop:1"], "{said}");
    let calls = fs::read_to_string(desk.path("calls")).unwrap();
    assert!(calls.contains("values-prod.yaml --values=-\n{\"b\":1,\"image\":{\"tag\":\"2\"}}"), "{calls}");
    write(
        &desk,
        "argo/apps.yaml",
        "apiVersion: argoproj.io/v1alpha1\nkind: Application\nmetadata: {name: far}\nspec: {sources: [{repoURL: 'https://charts.example', chart: redis, targetRevision: 9.9.9}, {repoURL: g, path: gone}, {repoURL: g, path: plain, kustomize: {patches: [{patch: x}]}}]}\n---\n\
         apiVersion: argoproj.io/v1alpha1\nkind: ApplicationSet\nmetadata: {name: set}\nspec: {generators: [{clusters: {}}], template: {spec: {source: {repoURL: g, path: 'x/{{ name }}'}}}}\n",
    );
    with_programs(&desk, &[("helm", &helm(&desk))], &to).failed(
        6,
        &[
            "helm pull redis --repo https://charts.example --version '9.9.9'",
            "its folder `gone` of g is not in the sources",
            "spec.source.kustomize.patches: changes what is in `plain`, which is read without these changes",
            "ApplicationSet set: spec.generators: has the generator `clusters`, whose values only the cluster knows",
        ],
    );
    let desk = Desk::new();
    write(
        &desk,
        "shop/fleet.yaml",
        "defaultNamespace: n\nhelm:\n  chart: ./chart\n  releaseName: base\n  values: {a: 1}\ntargetCustomizations:\n- name: berlin\n  helm: {releaseName: berlin, values: {b: 2}}\n",
    );
    write(&desk, "shop/chart/Chart.yaml", "name: shop\nversion: 1.0.0\n");
    let said = with_programs(&desk, &[("helm", &helm(&desk))], &to).ok();
    assert_eq!(images(&said), ["quay.io/base:1", "quay.io/berlin:1"], "{said}");
    let calls = fs::read_to_string(desk.path("calls")).unwrap();
    assert!(calls.contains("{\"a\":1}") && calls.contains("{\"a\":1,\"b\":2}"), "{calls}");
}

#[test]
fn a_list_of_another_tool_becomes_a_set() {
    let desk = Desk::new();
    write(
        &desk,
        "k3s-images.txt",
        "\u{feff}# K3s\r\ndocker.io/rancher/mirrored-pause:3.6\r\nrancher/klipper-lb:v0.4\r\n",
    );
    let said = desk.krs(&["collect", "k3s-images.txt", "--destination", "edge.local:5000"]).ok();
    let images = "  # k3s-images.txt\n  - image: docker.io/rancher/klipper-lb:v0.4\n  # k3s-images.txt\n  - image: docker.io/rancher/mirrored-pause:3.6\n";
    assert!(said.out.ends_with(images), "{said}");
    write(
        &desk,
        "site/zarf.yaml",
        "kind: ZarfPackageConfig\ncomponents:\n- name: web\n  images: [quay.io/a/b:1, 'quay.io/a/c:###ZARF_PKG_TMPL_V###']\n",
    );
    let arguments = ["collect", "site", "--destination", "edge.local:5000"];
    let said =
        desk.krs(&arguments).failed(6, &["site/zarf.yaml:4", "###ZARF_PKG_TMPL_V###", "zarf dev inspect"]);
    assert_eq!(said.out, "");
}

#[cfg(unix)]
#[test]
fn a_cluster_becomes_a_set_of_the_digests_that_run() {
    let desk = Desk::new();
    let pods = format!(
        r#"{{"apiVersion": "v1", "kind": "List", "items": [
        {{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "web-1", "namespace": "shop"}},
          "spec": {{"containers": [{{"name": "web", "image": "nginx:1.27"}}]}},
          "status": {{"containerStatuses": [{{"name": "web", "imageID": "docker.io/library/nginx@{DIGEST}"}}]}}}},
        {{"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {{"name": "web", "namespace": "shop"}},
          "spec": {{"template": {{"spec": {{"containers": [{{"name": "web", "image": "nginx:1.27"}}]}}}}}}}},
        {{"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {{"name": "night", "namespace": "shop"}},
          "spec": {{"jobTemplate": {{"spec": {{"template": {{"spec": {{"containers": [{{"name": "a", "image": "quay.io/a/b:1"}}]}}}}}}}}}}}}]}}"#
    );
    write(&desk, "pods.json", &(pods + "\n"));
    let kubectl =
        [("kubectl", "echo \"$@\" > arguments; while read -r line; do echo \"$line\"; done < pods.json")];
    let arguments = ["--cluster=site", "--destination", "edge.local:5000"];
    let said = with_programs(&desk, &kubectl, &arguments).ok();
    let images = format!(
        "  # cluster: Pod shop/web-1\n  # cluster: Deployment shop/web\n  - image: docker.io/library/nginx:1.27@{DIGEST}\n  # cluster: CronJob shop/night\n  - image: quay.io/a/b:1\n"
    );
    assert!(said.out.ends_with(&images), "{said}");
    let arguments = fs::read_to_string(desk.path("arguments")).unwrap();
    assert!(arguments.starts_with("get pods,") && arguments.contains("--context=site"), "{arguments}");
    write(&desk, "sets/a.yaml", &said.out);
    with_programs(&desk, &kubectl, &["--cluster", "sets", "--check"]).ok();
    let arguments = fs::read_to_string(desk.path("arguments")).unwrap();
    assert!(!arguments.contains("context"), "{arguments}");
}

#[cfg(unix)]
#[test]
fn a_cluster_that_cannot_be_read_is_named() {
    let desk = Desk::new();
    let arguments = ["--cluster", "--destination", "edge.local:5000"];
    let missing = with_programs(&desk, &[], &arguments);
    missing.failed(6, &["cluster: cannot be read: kubectl is not installed", "kubectl get pods -A -o json"]);
    let refused = with_programs(&desk, &[("kubectl", "echo 'connection refused' >&2; exit 1")], &arguments);
    refused.failed(6, &["cluster: cannot be read: kubectl failed: connection refused"]);
    desk.krs(&["collect"]).failed(2, &["SOURCE"]);
}
