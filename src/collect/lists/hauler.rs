// SPDX-License-Identifier: Apache-2.0
//! Hauler manifests (`hauler store sync`): <https://docs.hauler.dev/docs/hauler-usage/store/sync>.
//!
//! Of `content.hauler.cattle.io` v1 and v1alpha1, `Images` are read; `Charts` and `Files`, and the kinds of
//! `collection.hauler.cattle.io` (`ThickCharts`, `ImageTxts`), refer to content elsewhere.

use super::found::{Found, shown};

/// The registry of the images that name none.
const REGISTRY: &str = "hauler.dev/registry";

pub(super) fn read(found: &mut Found<'_, '_>) {
    match found.resource.kind.as_str() {
        "Images" => images(found),
        "Charts" | "ThickCharts" => charts(found),
        "Files" => files(found),
        "ImageTxts" => image_texts(found),
        kind => {
            let reason = format!("is a Hauler manifest of the kind `{}`, which is not read", shown(kind));
            found.problem("kind", 0, reason, "list its images in a manifest of the kind Images");
        }
    }
}

fn images(found: &mut Found<'_, '_>) {
    let node = &found.resource.node;
    let registry =
        node.text_at(&["metadata", "annotations", REGISTRY]).map(|text| text.trim_end_matches('/'));
    for (n, item) in node.items_at(&["spec", "images"]).iter().enumerate() {
        let field = format!("spec.images[{n}].name");
        let Some(name) = item.text_at(&["name"]) else {
            found.problem(&field, item.line, "names no image", "write the image under `name`");
            continue;
        };
        if item.text_at(&["local"]) == Some("true") {
            let reason =
                format!("`{}` is taken from a Docker daemon, and may be in no registry", shown(name));
            found.problem(
                &field,
                item.line,
                reason,
                "push it to a registry, or add it with krs bundle --from",
            );
        }
        let image = match registry {
            Some(registry) if !has_registry(name) => format!("{registry}/{name}"),
            _ => name.to_owned(),
        };
        let line = item.get("name").map_or(item.line, |name| name.line);
        found.image(&field, line, image);
        if let Some(rewrite) = item.text_at(&["rewrite"]) {
            let reason =
                format!("is renamed to `{}` by Hauler; a set uses the name of its source", shown(rewrite));
            found.note(&format!("spec.images[{n}].rewrite"), item.line, reason);
        }
    }
}

/// Whether the first part of a name is a host, by the rule of the Distribution project.
fn has_registry(name: &str) -> bool {
    name.split_once('/').is_some_and(|(host, _)| host.contains(['.', ':']) || host == "localhost")
}

fn charts(found: &mut Found<'_, '_>) {
    for (n, item) in found.resource.node.items_at(&["spec", "charts"]).iter().enumerate() {
        let text = |key: &str| item.text_at(&[key]).unwrap_or_default();
        let version =
            item.text_at(&["version"]).map(|version| format!(" {}", shown(version))).unwrap_or_default();
        let repository = item.text_at(&["repoURL"]).map(|url| format!(" of {}", crate::redact::address(url)));
        let chart = format!("`{}`{version}{}", shown(text("name")), repository.unwrap_or_default());
        let reason = format!("refers to the chart {chart}, which was not followed");
        let help = "fetch the chart (helm pull), and name it as a source, too";
        found.problem(&format!("spec.charts[{n}]"), item.line, reason, help);
    }
}

fn files(found: &mut Found<'_, '_>) {
    for (n, item) in found.resource.node.items_at(&["spec", "files"]).iter().enumerate() {
        let path = crate::redact::address(item.text_at(&["path"]).unwrap_or_default());
        let reason = format!("refers to the file {}, which was not followed", shown(&path));
        if may_name_images(&path) {
            found.problem(
                &format!("spec.files[{n}]"),
                item.line,
                reason,
                "fetch the file, and name it as a source, too",
            );
        } else {
            found.note(&format!("spec.files[{n}]"), item.line, reason);
        }
    }
}

/// Whether a file can name images. Packages and programs do not.
fn may_name_images(path: &str) -> bool {
    [".yaml", ".yml", ".json", ".txt", ".tgz", ".tar", ".tar.gz", ".tar.zst"]
        .iter()
        .any(|end| path.ends_with(end))
}

fn image_texts(found: &mut Found<'_, '_>) {
    for (n, item) in found.resource.node.items_at(&["spec", "images"]).iter().enumerate() {
        let reference = item.text_at(&["ref"]).or_else(|| item.text()).unwrap_or_default();
        let reason = format!(
            "refers to the list {}, which was not followed",
            shown(&crate::redact::address(reference))
        );
        found.problem(
            &format!("spec.images[{n}]"),
            item.line,
            reason,
            "fetch the list, and name it as a source, too",
        );
    }
}
