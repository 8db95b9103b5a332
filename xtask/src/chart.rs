// SPDX-License-Identifier: Apache-2.0
//! The checks of the chart: helm's own, and with `--full` those of other people's programs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::e2e;
use crate::parts::REAL;
use xtask::cache::Cache;
use xtask::run::{self, Result, checkout};
use xtask::tools;

/// Findings of kube-score that are not followed, each with the reason.
const SCORE_ANSWERS: &[(&str, &str)] = &[
    (
        "container-cpu-limit",
        "a limit would throttle copying while the node is idle; the request is what schedulers need",
    ),
    (
        "container-ephemeral-storage-request-and-limit",
        "nothing is written to disk: the root file system is read-only, and what a Job prepares lies in memory",
    ),
    ("container-image-pull-policy", "a site without a link would not start a Pod whose image is there"),
    ("deployment-replicas", "one writer by design; what it does survives any end of it"),
    ("deployment-strategy", "as above: the old one ends before the new one starts"),
    ("networkpolicy-targets-pod", "the Pods of copy Jobs are not in the chart; the importer creates them"),
    ("pod-networkpolicy", "off by default: the addresses of a site's registries are not known to the chart"),
    (
        "container-security-context-user-group-id",
        "left out with securityContext.setIDs: false, for OpenShift",
    ),
];

/// Findings of checkov that are not followed, each with the reason.
const CHECKOV_ANSWERS: &[(&str, &str)] = &[
    ("CKV_K8S_11", "CPU limit: see kube-score"),
    ("CKV_K8S_15", "image pull policy: see kube-score"),
    (
        "CKV_K8S_21",
        "Events about ImageBundles, which belong to no namespace, are in `default`: a Role there writes them",
    ),
    ("CKV_K8S_38", "the token of the ServiceAccount is what the importer talks to the API server with"),
    (
        "CKV_K8S_40",
        "the user is left out with securityContext.setIDs: false, for OpenShift; else it is 65532",
    ),
    ("CKV_K8S_43", "the image's digest is a value: image.digest"),
    ("CKV2_K8S_6", "NetworkPolicy: see kube-score"),
];

/// The chart with each of its sets of values, and the tests that need its programs.
pub(crate) fn check(cache: &Cache, full: bool) -> Result<()> {
    let values = value_files()?;
    for file in &values {
        println!("with {}", file.display());
        run::run(&mut helm(cache, &["lint", "--strict", "--quiet"], file))?;
        run::output(&mut helm(
            cache,
            &["template", "krs", "--namespace", "krs-system", "--include-crds"],
            file,
        ))?;
    }
    pages(cache)?;
    if full {
        others(cache, &values)?;
        public_charts(cache)?;
    }
    // What is rendered, and what GitOps engines make of a set: with helm, kstatus and Lua. Built as for the cluster.
    let mut test = Command::new(env!("CARGO"));
    test.args(["test", "--locked", "--package", "krs-importer", "--features", "e2e"]);
    test.args(["--test", "chart", "--test", "gitops"]).current_dir(checkout());
    run::run(test.env("KRS_TOOLS", cache.tools()).env("PATH", e2e::with_cluster_programs(cache)))
}

/// The commands of the documentation that need helm or kubectl. The flags are those of the part "tests", so that nothing is
/// built again.
fn pages(cache: &Cache) -> Result<()> {
    let mut test = Command::new(env!("CARGO"));
    test.args(["test", "--workspace", "--locked", "--features", REAL]);
    test.args(["--test", "docs", "--", "every_command_of_the_documentation_works"]).current_dir(checkout());
    test.env("KRS_TOOLS", cache.tools()).env("KRS_DOCS_WITH_KUBERNETES", "1");
    run::run(test.env("PATH", e2e::with_cluster_programs(cache)))
}

/// `krs collect` on charts and manifests of public projects, with the cluster's helm and kubectl.
fn public_charts(cache: &Cache) -> Result<()> {
    let mut test = Command::new(env!("CARGO"));
    test.args([
        "test",
        "--locked",
        "--package",
        "krs-cli",
        "--features",
        "krs-cli/real-parts",
        "--test",
        "charts",
    ]);
    test.args(["--", "--ignored", "--nocapture"]).current_dir(checkout());
    run::run(test.env("KRS_TOOLS", cache.tools()).env("PATH", e2e::with_cluster_programs(cache)))
}

fn chart() -> PathBuf {
    checkout().join("importer/chart")
}

fn helm(cache: &Cache, arguments: &[&str], values: &Path) -> Command {
    let mut helm = Command::new(cache.cluster().join("bin/helm"));
    helm.args(arguments).arg(chart()).arg("--values").arg(values);
    helm
}

fn value_files() -> Result<Vec<PathBuf>> {
    let mut values: Vec<PathBuf> = Vec::new();
    if let Ok(folder) = fs::read_dir(chart().join("ci")) {
        values = folder.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
        values.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
        values.sort();
    }
    if values.is_empty() {
        return Err("importer/chart/ci has no values file to check the chart with".into());
    }
    Ok(values)
}

/// helm-unittest on the suites in `importer/chart/tests`, and three linters on what each set of values renders.
fn others(cache: &Cache, values: &[PathBuf]) -> Result<()> {
    let program = |name: &str| Command::new(cache.bin().join(name));
    run::run(program("helm-unittest").arg("--strict").arg(chart()))?;
    let folder = tempfile::tempdir()?;
    let [schemas, rendered, without_test] =
        ["schemas", "rendered", "without-test"].map(|name| folder.path().join(name));
    kubernetes_schemas(&schemas)?;
    // The Pod of `helm test` ends by itself: probes and policies are not for it.
    for (folder, more) in [(&rendered, None), (&without_test, Some("--no-hooks"))] {
        fs::create_dir(folder)?;
        for file in values {
            let name = file.file_name().ok_or("a file has a name")?;
            let mut template = helm(cache, &["template", "krs", "--namespace", "krs-system"], file);
            // Prometheus' kinds have no schema here.
            template
                .args(["--set", "metrics.serviceMonitor.enabled=false,metrics.prometheusRule.enabled=false"]);
            fs::write(folder.join(name), run::output(template.args(more))?)?;
        }
    }
    // The version is the newest that the program has itself; the schemas of the tests' Kubernetes come before.
    let mut validate = program("kubectl-validate");
    validate.arg(&rendered).args(["--version", "1.30", "--local-schemas"]).arg(&schemas);
    run::run(validate.arg("--local-crds").arg(chart().join("files/crds")))?;
    for file in values {
        let mut score = program("kube-score");
        score.args([
            "score",
            "--output-format",
            "ci",
            "--exit-one-on-warning",
            "--kubernetes-version",
            "v1.33",
            "--ignore-container-cpu-limit",
        ]);
        score.args(SCORE_ANSWERS.iter().flat_map(|(test, _)| ["--ignore-test", *test]));
        let name = file.file_name().ok_or("a file has a name")?;
        run::run(score.arg(without_test.join(name)))?;
    }
    let answered = CHECKOV_ANSWERS.iter().map(|(check, _)| *check).collect::<Vec<_>>().join(",");
    let mut checkov = program("checkov");
    checkov.args(["--framework", "kubernetes", "--quiet", "--compact", "--skip-download"]);
    run::run(checkov.args(["--skip-check", &answered, "--directory"]).arg(&without_test))
}

/// The schemas of the Kubernetes that the tests run, in the layout of kubectl-validate: they are part of its module.
fn kubernetes_schemas(folder: &Path) -> Result<()> {
    let mut list = tools::go("go")?;
    list.args(["list", "-m", "-f", "{{.Dir}}", "k8s.io/kubernetes"]);
    let module = run::output(list.current_dir(checkout().join("testing/cluster/kube")))?;
    fs::create_dir_all(folder.join("api"))?;
    let mut count = 0;
    for entry in fs::read_dir(Path::new(module.trim()).join("api/openapi-spec/v3"))? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let Some(name) = name.strip_suffix("_openapi.json") else { continue };
        let target = match name.split("__").collect::<Vec<_>>()[..] {
            ["api", version] => folder.join("api").join(format!("{version}.json")),
            ["apis", group, version] => {
                let group = folder.join("apis").join(group);
                fs::create_dir_all(&group)?;
                group.join(format!("{version}.json"))
            }
            _ => continue,
        };
        fs::copy(&path, target)?;
        count += 1;
    }
    if count < 10 {
        return Err("the module k8s.io/kubernetes has no schemas".into());
    }
    Ok(())
}
