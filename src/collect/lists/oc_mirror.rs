// SPDX-License-Identifier: Apache-2.0
//! ImageSetConfiguration of oc-mirror, v1alpha2 and v2alpha1:
//! <https://docs.redhat.com/en/documentation/openshift_container_platform/4.19/html/disconnected_environments/about-installing-oc-mirror-v2>.
//!
//! `additionalImages` name images. Releases, operators and charts are only found by programs that read their catalogs.

use std::collections::BTreeSet;

use super::super::yaml::Node;
use super::found::{Found, shown};

pub(super) fn read(found: &mut Found<'_, '_>) {
    let resource = found.resource;
    if resource.kind != "ImageSetConfiguration" {
        let reason =
            format!("is of the kind `{}`, which names images to delete, not to carry", shown(&resource.kind));
        return found.note("kind", resource.node.line, reason);
    }
    let Some(mirror) = resource.node.at(&["mirror"]) else {
        return found.problem(
            "mirror",
            resource.node.line,
            "names nothing to mirror",
            "add the field `mirror`",
        );
    };
    additional_images(mirror, found);
    platform(mirror, found);
    operators(mirror, found);
    helm(mirror, found);
    for (n, item) in mirror.items_at(&["samples"]).iter().enumerate() {
        let name = item.text_at(&["name"]).or_else(|| item.text()).unwrap_or_default();
        let reason = format!("refers to the samples `{}`, which were not followed", shown(name));
        found.problem(
            &format!("mirror.samples[{n}]"),
            item.line,
            reason,
            "list their images under additionalImages",
        );
    }
}

fn additional_images(mirror: &Node, found: &mut Found<'_, '_>) {
    let blocked = mirror.items_at(&["blockedImages"]).iter();
    let blocked =
        blocked.filter_map(|item| item.text_at(&["name"]).or_else(|| item.text())).collect::<BTreeSet<_>>();
    for (n, item) in mirror.items_at(&["additionalImages"]).iter().enumerate() {
        let field = format!("mirror.additionalImages[{n}].name");
        match item.text_at(&["name"]).or_else(|| item.text()) {
            Some(name) if blocked.contains(name) => {
                found.note(&field, item.line, format!("`{}` is one of the blockedImages", shown(name)));
            }
            Some(name) => found.image(&field, item.get("name").map_or(item.line, |name| name.line), name),
            None => found.problem(&field, item.line, "names no image", "write the image under `name`"),
        }
    }
    if !blocked.is_empty() {
        let reason = "patterns of blockedImages are not applied; only equal names are left out";
        found.note("mirror.blockedImages", mirror.get("blockedImages").map_or(0, |node| node.line), reason);
    }
}

fn platform(mirror: &Node, found: &mut Found<'_, '_>) {
    let Some(platform) = mirror.get("platform") else { return };
    let help = "list the images of the release (oc adm release info --pullspecs), and name that list as a source, too";
    for (n, channel) in platform.items_at(&["channels"]).iter().enumerate() {
        let versions = ["minVersion", "maxVersion"].into_iter().filter_map(|key| channel.text_at(&[key]));
        let versions =
            versions.map(shown).collect::<BTreeSet<_>>().into_iter().collect::<Vec<_>>().join(" to ");
        let name = shown(channel.text_at(&["name"]).unwrap_or_default());
        let reason =
            format!("refers to releases of the channel `{name}` ({versions}), which were not followed");
        found.problem(
            &format!("mirror.platform.channels[{n}]"),
            channel.line,
            reason.replace(" ()", ""),
            help,
        );
    }
    if let Some(release) = platform.text_at(&["release"]) {
        let reason = format!("refers to the release `{}`, whose images were not followed", shown(release));
        found.problem("mirror.platform.release", platform.line, reason, help);
    }
    if platform.text_at(&["graph"]) == Some("true") {
        let reason = "asks for an image with the update graph, which oc-mirror builds itself";
        found.problem(
            "mirror.platform.graph",
            platform.line,
            reason,
            "build it with oc-mirror, and push it to a registry",
        );
    }
}

fn operators(mirror: &Node, found: &mut Found<'_, '_>) {
    for (n, operator) in mirror.items_at(&["operators"]).iter().enumerate() {
        let catalog = shown(operator.text_at(&["catalog"]).unwrap_or_default());
        let packages =
            operator.items_at(&["packages"]).iter().filter_map(|package| package.text_at(&["name"]));
        let packages = packages.map(|name| format!("`{}`", shown(name))).collect::<Vec<_>>();
        let what = if packages.is_empty() {
            "all operators".to_owned()
        } else {
            format!("the operators {}", packages.join(", "))
        };
        let reason = format!("refers to {what} of the catalog `{catalog}`, which were not followed");
        let help = "list the relatedImages of their bundles, for example with opm render, and name that list as a source, too";
        found.problem(&format!("mirror.operators[{n}]"), operator.line, reason, help);
    }
}

fn helm(mirror: &Node, found: &mut Found<'_, '_>) {
    for (r, repository) in mirror.items_at(&["helm", "repositories"]).iter().enumerate() {
        let url = shown(&crate::redact::address(repository.text_at(&["url"]).unwrap_or_default()));
        for (n, chart) in repository.items_at(&["charts"]).iter().enumerate() {
            let text = |key: &str| shown(chart.text_at(&[key]).unwrap_or_default());
            let reason = format!(
                "refers to the chart `{}` {} of {url}, which was not followed",
                text("name"),
                text("version")
            );
            let help = "fetch the chart (helm pull), and name it as a source, too";
            found.problem(&format!("mirror.helm.repositories[{r}].charts[{n}]"), chart.line, reason, help);
        }
    }
    for (n, chart) in mirror.items_at(&["helm", "local"]).iter().enumerate() {
        let path = shown(chart.text_at(&["path"]).unwrap_or_default());
        let reason = format!("refers to the chart {path}, which was not followed");
        found.problem(
            &format!("mirror.helm.local[{n}]"),
            chart.line,
            reason,
            "name the chart as a source, too",
        );
    }
}
