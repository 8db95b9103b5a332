// SPDX-License-Identifier: Apache-2.0
//! Lists with one image a line: `k3s-images.txt`, `rke2-images.linux-amd64.txt`, `rancher-images.txt` with
//! `rancher-images-sources.txt` and `rancher-images-digests-linux.txt`
//! (<https://ranchermanager.docs.rancher.com/getting-started/installation-and-upgrade/other-installation-methods/air-gapped-helm-cli-install/publish-images>),
//! `longhorn-images.txt`, and what `k0s airgap list-images` (<https://docs.k0sproject.io/stable/cli/k0s_airgap_list-images>),
//! `kubeadm config images list` and `kubeadm config images pull`
//! (<https://kubernetes.io/docs/reference/setup-tools/kubeadm/kubeadm-config/>) print.

use super::super::model::{Collection, ImageUse, Origin, Problem};
use super::super::reference::{is_versioned, normalise};
use super::super::yaml::{Node, Value};
use super::found::{Found, MAX_IMAGES, MAX_PROBLEMS, shown};
use crate::oci::digest::Digest;

/// What `kubeadm config images pull` writes before each image.
const PULLED: &str = "[config/images] Pulled ";

/// Reads a text if most of its lines are images.
pub(in super::super) fn read_plain(source: &str, text: &str) -> Option<Collection> {
    if !is_list(text) {
        return None;
    }
    let mut collection = Collection::default();
    let mut hidden_problems = 0;
    for (n, line) in lines(text) {
        let origin = Origin { line: Some(n), ..Origin::file(source) };
        match image(line) {
            Some(image) if collection.images.len() < MAX_IMAGES => {
                collection.images.push(ImageUse { image, origin });
            }
            Some(_) => {
                let reason = format!("lists more than {MAX_IMAGES} images; the others were not read");
                collection.problems.push(Problem {
                    origin,
                    reason,
                    help: Some("divide the list".to_owned()),
                });
                break;
            }
            None if collection.problems.len() < MAX_PROBLEMS => {
                let reason = format!("`{}` is not the name of an image", shown(line));
                let help = Some("correct the line, or put a # in front of it".to_owned());
                collection.problems.push(Problem { origin, reason, help });
            }
            None => hidden_problems += 1,
        }
    }
    if hidden_problems > 0 {
        let reason = format!("has {hidden_problems} more lines that are not the name of an image");
        collection.problems.push(Problem { origin: Origin::file(source), reason, help: None });
    }
    Some(collection)
}

/// Whether at least half of the lines are images, and one of them can be nothing else.
fn is_list(text: &str) -> bool {
    let (mut images, mut others, mut is_certain) = (0_usize, 0_usize, false);
    for (_, line) in lines(text) {
        match image(line) {
            Some(image) => {
                images += 1;
                is_certain |= image.contains('/') && is_versioned(&image);
            }
            None => others += 1,
        }
    }
    is_certain && images >= others
}

/// The lines with content, and their numbers from 1. A comment needs a space before its `#`, as in YAML.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    text.lines().enumerate().filter_map(|(n, line)| {
        let line = line.split_once(" #").map_or(line, |(line, _)| line).trim();
        (!line.is_empty() && !line.starts_with('#')).then_some((n + 1, line))
    })
}

/// The image of a line. Rancher's lists have the digest, or what uses the image, in a second column.
fn image(line: &str) -> Option<String> {
    let line = line.strip_prefix(PULLED).unwrap_or(line);
    let mut columns = line.split_whitespace();
    let name = columns.next()?;
    let second = columns.next();
    // Two columns of anything are no list; `NAME TAG` of a table is not read as an image and a note.
    if columns.next().is_some() || !(name.contains('/') || is_versioned(name)) || normalise(name).is_err() {
        return None;
    }
    match second {
        Some(_) if !is_versioned(name) => None,
        Some(digest) if digest.parse::<Digest>().is_ok() && !name.contains('@') => {
            Some(format!("{name}@{digest}"))
        }
        _ => Some(name.to_owned()),
    }
}

/// Whether a YAML document is a list of names of images: `- quay.io/a/b:1`.
pub(super) fn is_sequence_of_images(document: &Node) -> bool {
    let items = document.items();
    let is_image = |item: &Node| item.text().is_some_and(|text| text.contains('/') && image(text).is_some());
    !items.is_empty()
        && items.iter().all(|item| matches!(item.value, Value::Scalar(..)))
        && items.iter().filter(|item| is_image(item)).count() * 2 >= items.len()
}

/// Reads a document for which [`is_sequence_of_images`] holds.
pub(super) fn read_sequence(found: &mut Found<'_, '_>) {
    for (n, item) in found.resource.node.items().iter().enumerate() {
        let (field, text) = (format!("[{n}]"), item.text().unwrap_or_default());
        match image(text) {
            Some(image) => found.image(&field, item.line, image),
            None => {
                let reason = format!("`{}` is not the name of an image", shown(text));
                found.problem(&field, item.line, reason, "correct it, or remove it from the list");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    #[test]
    fn only_texts_whose_lines_are_mostly_images_are_lists() {
        for (text, expected) in [
            ("quay.io/a/b:1\n", true),
            ("a/b:1\nwrong line here\n", true),
            ("a/b:1\nwrong line here\nanother one\n", false),
            // None of these can be nothing but an image.
            ("nginx:1\nredis:7\n", false),
            ("quay.io/a/b\nquay.io/a/c\n", false),
            ("- quay.io/a/b:1\n", false),
            ("image: quay.io/a/b:1\n", false),
            ("{\"image\": \"quay.io/a/b:1\"}\n", false),
            ("https://quay.io/a/b:1\n", false),
            ("root:x:0:0:root:/root:/bin/sh\n", false),
            ("localhost:8080\n", false),
            ("github.com/a/b v1.0.0 h1:abc=\n", false),
            ("# quay.io/a/b:1\n", false),
            ("", false),
        ] {
            assert_eq!(read_plain("f", text).is_some(), expected, "{text}");
        }
    }

    #[test]
    fn a_list_is_bounded_in_images_and_problems() {
        let collection = read_plain("f", &"a/b:1\n".repeat(MAX_IMAGES + 5)).unwrap();
        assert_eq!((collection.images.len(), collection.problems.len()), (MAX_IMAGES, 1));
        assert_eq!(collection.problems[0].origin.line, Some(MAX_IMAGES + 1));
        let collection = read_plain("f", &"a/b:1\nno image here\n".repeat(MAX_PROBLEMS + 5)).unwrap();
        assert_eq!(
            (collection.images.len(), collection.problems.len()),
            (MAX_PROBLEMS + 5, MAX_PROBLEMS + 1)
        );
        let last = collection.problems.last().unwrap();
        assert_eq!(last.reason, "has 5 more lines that are not the name of an image");
    }
}
