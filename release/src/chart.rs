// SPDX-License-Identifier: Apache-2.0
//! The chart as `helm package` makes it, and as the OCI artifact that `helm push` makes of that
//! (<https://helm.sh/docs/topics/registries/>).

use std::fs;

use serde_json::{Value, json};

use crate::VERSION;
use crate::payload::gzip;
use xtask::files::Files;
use xtask::oci::Archive;
use xtask::run::{Result, checkout};
use xtask::source::{Commit, tracked_files};

const CHART: &str = "krs-importer";
/// Its folder in the checkout.
const FOLDER: &str = "importer/chart";
/// Its name in the OCI archive.
const REPOSITORY: &str = "localhost/charts/krs-importer";
const CONFIG: &str = "application/vnd.cncf.helm.config.v1+json";
const CONTENT: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

/// As `helm package` names it.
pub(crate) fn file_name() -> String {
    format!("{CHART}-{VERSION}.tgz")
}

pub(crate) fn archive_name() -> String {
    format!("{CHART}-chart-{VERSION}.oci.tar")
}

/// The package of the chart.
pub(crate) fn package(commit: &Commit) -> Result<Vec<u8>> {
    let folder = checkout().join(FOLDER);
    let ignored = ignored_folders(&fs::read_to_string(folder.join(".helmignore"))?)?;
    let mut files = Files::default();
    for path in tracked_files(FOLDER)? {
        let top = path.split('/').next().unwrap_or_default();
        if path != ".helmignore" && !ignored.iter().any(|folder| folder == top) {
            files.file(&format!("{CHART}/{path}"), 0o644, fs::read(folder.join(&path))?);
        }
    }
    gzip(&files.tar(commit.seconds)?)
}

/// The archive with the package as an artifact.
pub(crate) fn archive(package: &[u8], commit: &Commit) -> Result<Vec<u8>> {
    let text = fs::read_to_string(checkout().join(FOLDER).join("Chart.yaml"))?;
    let metadata: Value = serde_saphyr::from_str(&text)?;
    if metadata["version"] != VERSION || metadata["name"] != CHART {
        return Err(format!("Chart.yaml is not of {CHART} {VERSION}").into());
    }
    let mut archive = Archive::default();
    let config = archive.blob(CONFIG, serde_json::to_vec(&metadata)?);
    let content = archive.blob(CONTENT, package.to_vec());
    // `helm push` copies those of the chart, too.
    let mut annotations = metadata["annotations"].as_object().cloned().unwrap_or_default();
    let own = json!({
        "org.opencontainers.image.created": commit.time,
        "org.opencontainers.image.description": metadata["description"],
        "org.opencontainers.image.revision": commit.revision,
        "org.opencontainers.image.title": CHART,
        "org.opencontainers.image.version": VERSION,
    });
    annotations.extend(own.as_object().cloned().unwrap_or_default());
    let manifest = archive.manifest(&config, &[content], Some(annotations.into()))?;
    archive.name(&manifest, REPOSITORY, VERSION);
    archive.bytes()
}

/// The folders at the top that `.helmignore` names; other patterns are not supported.
fn ignored_folders(text: &str) -> Result<Vec<String>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
    let folder = |line: &str| {
        let name = line.trim_start_matches('/').strip_suffix('/');
        let name = name.filter(|name| !name.contains(['/', '*', '?', '[', '!']));
        name.map(str::to_owned)
            .ok_or_else(|| format!(".helmignore: `{line}` is not a folder at the top").into())
    };
    lines.map(folder).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test")]

    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_package_has_the_files_that_helm_needs_and_no_tests() {
        // Sources from an archive have no commit, and no release is made of them.
        let Some(commit) = Commit::of_checkout() else { return };
        let package = super::package(&commit).unwrap();
        assert_eq!(package, super::package(&commit).unwrap());
        let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(package.as_slice()));
        let paths =
            tar.entries().unwrap().map(|entry| entry.unwrap().path().unwrap().to_string_lossy().into_owned());
        let paths = paths.collect::<BTreeSet<_>>();
        for file in ["Chart.yaml", "values.yaml", "values.schema.json", "templates/deployment.yaml"] {
            assert!(paths.contains(&format!("krs-importer/{file}")), "{paths:?}");
        }
        // `templates/tests` is the chart's own test, which users run.
        assert!(paths.contains("krs-importer/templates/tests/probe.yaml"), "{paths:?}");
        assert!(
            !paths
                .iter()
                .any(|path| path.starts_with("krs-importer/ci") || path.starts_with("krs-importer/tests"))
        );
        assert_eq!(archive(&package, &commit).unwrap(), archive(&package, &commit).unwrap());
    }

    #[test]
    fn patterns_that_are_no_folders_are_refused() {
        assert_eq!(ignored_folders("# a\n\nci/\n/tests/\n").unwrap(), ["ci", "tests"]);
        for wrong in ["*.md", "a/b/", "!ci/", "file"] {
            assert!(ignored_folders(wrong).is_err(), "{wrong}");
        }
    }
}
