// SPDX-License-Identifier: Apache-2.0
//! Zarf package definitions (`zarf.yaml`), v1alpha1 and v1beta1: <https://docs.zarf.dev/ref/components/>.
//!
//! Zarf carries the images that a component lists, and finds none in charts and manifests. Those are therefore named as
//! not followed, but no images are missing because of them.

use super::super::yaml::Node;
use super::found::{Found, shown};

/// Begins a variable: <https://docs.zarf.dev/ref/values/>.
const VARIABLE: &str = "###ZARF_";

pub(super) fn read(found: &mut Found<'_, '_>) {
    let node = &found.resource.node;
    for (n, component) in node.items_at(&["components"]).iter().enumerate() {
        let name = component.text_at(&["name"]).map_or_else(|| n.to_string(), shown);
        let at = format!("components[{name}]");
        images(component, &at, found);
        archives(component, &at, found);
        import(component, &at, found);
        for (field, what) in
            [("charts", "chart"), ("manifests", "group of manifests"), ("repos", "Git repository")]
        {
            for (n, item) in component.items_at(&[field]).iter().enumerate() {
                let name = item.text_at(&["name"]).or_else(|| item.text()).unwrap_or_default();
                let name = shown(&crate::redact::address(name));
                let reason = format!(
                    "the {what} `{name}` was not followed: Zarf carries the images that `images` lists"
                );
                found.note(&format!("{at}.{field}[{n}]"), item.line, reason);
            }
        }
    }
}

fn images(component: &Node, at: &str, found: &mut Found<'_, '_>) {
    for (n, item) in component.items_at(&["images"]).iter().enumerate() {
        let field = format!("{at}.images[{n}]");
        match item.text().or_else(|| item.text_at(&["name"])) {
            Some(image) if image.contains(VARIABLE) => {
                let reason =
                    format!("`{}` holds a variable of Zarf, so the image is not known", shown(image));
                let help = "write the value into the file, or print the definition with its values \
                            (zarf dev inspect definition) and pipe it: … | krs collect -";
                found.problem(&field, item.line, reason, help);
            }
            Some(image) => {
                if item.text_at(&["source"]).is_some_and(|source| source.contains("daemon")) {
                    let reason = format!(
                        "`{}` is taken from a Docker daemon, and may be in no registry",
                        shown(image)
                    );
                    found.problem(
                        &field,
                        item.line,
                        reason,
                        "push it to a registry, or add it with krs bundle --from",
                    );
                }
                found.image(&field, item.line, image);
            }
            None => found.problem(&field, item.line, "names no image", "write the name of the image"),
        }
    }
}

fn archives(component: &Node, at: &str, found: &mut Found<'_, '_>) {
    for (n, item) in component.items_at(&["imageArchives"]).iter().enumerate() {
        let path = shown(item.text_at(&["path"]).unwrap_or_default());
        let images = item.items_at(&["images"]).iter().filter_map(|image| image.text());
        let images = images.map(|image| format!("`{}`", shown(image))).collect::<Vec<_>>().join(", ");
        let reason = format!("refers to the archive {path} with the images {images}, which was not followed");
        let help = "push them to a registry, or add them with krs bundle --from";
        found.problem(&format!("{at}.imageArchives[{n}]"), item.line, reason, help);
    }
}

fn import(component: &Node, at: &str, found: &mut Found<'_, '_>) {
    let Some(import) = component.get("import") else { return };
    if let Some(path) = import.text_at(&["path"]) {
        let reason = format!("imports a component of {}, which was not followed", shown(path));
        found.problem(
            &format!("{at}.import.path"),
            import.line,
            reason,
            "name that zarf.yaml as a source, too",
        );
    }
    if let Some(url) = import.text_at(&["url"]) {
        let url = shown(&crate::redact::address(url));
        let reason = format!("imports a component of {url}, which was not followed");
        let help = "print the images of the package (zarf package inspect images), and name that list as a source, too";
        found.problem(&format!("{at}.import.url"), import.line, reason, help);
    }
}
