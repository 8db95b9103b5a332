// SPDX-License-Identifier: Apache-2.0
//! From the names that Kubernetes accepts to the full references that a set needs.

use crate::oci::reference::{ParseReferenceError, Reference};

/// Endings of file names that some resources give to pictures and disks under the key `image`.
const FILES: [&str; 12] =
    [".png", ".svg", ".jpg", ".jpeg", ".gif", ".ico", ".webp", ".iso", ".qcow2", ".img", ".raw", ".ova"];

/// Makes a name full as a container runtime does: registry `docker.io` and tag `latest` where it states none.
///
/// # Errors
/// It is not the name of an image.
pub(super) fn normalise(name: &str) -> Result<Reference, ParseReferenceError> {
    let name = name.trim();
    let name = ["docker://", "oci://", "docker-pullable://"]
        .iter()
        .find_map(|s| name.strip_prefix(s))
        .unwrap_or(name);
    // An older name of Docker Hub, which `kbld` still writes.
    let name = name.strip_prefix("index.docker.io/").unwrap_or(name);
    let mut full = match name.split_once('/') {
        Some((host, _)) if host.contains(['.', ':']) || host == "localhost" => name.to_owned(),
        _ => format!("docker.io/{name}"),
    };
    if !is_versioned(name) {
        full.push_str(":latest");
    }
    full.parse()
}

/// Whether a name has a tag or a digest.
pub(super) fn is_versioned(name: &str) -> bool {
    name.contains('@') || name.rsplit('/').next().is_some_and(|last| last.contains(':'))
}

/// Whether a name holds a variable or a part of a template.
pub(super) fn has_variable(name: &str) -> bool {
    ["{{", "${", "$("].iter().any(|mark| name.contains(mark))
}

/// Whether a text can be nothing but an image: it names a registry by its domain, and a tag or a digest.
pub(super) fn is_full(text: &str) -> bool {
    text.parse::<Reference>().is_ok_and(|reference| reference.registry.host().contains('.'))
}

/// Whether a text under a key that is called after images can be one.
pub(super) fn may_be_image(text: &str) -> bool {
    let is_file = || FILES.iter().any(|ending| text.to_ascii_lowercase().ends_with(ending));
    let begins_as_path = || text.starts_with(['/', '.']) || text.starts_with("data:");
    if text.is_empty() || begins_as_path() || is_file() {
        return false;
    }
    normalise(text).is_ok() && (text.contains('/') || is_versioned(text))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    const D: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn names_become_full_as_runtimes_read_them() {
        for (name, full) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.25", "docker.io/library/nginx:1.25"),
            ("grafana/grafana:11", "docker.io/grafana/grafana:11"),
            ("quay.io/a/b", "quay.io/a/b:latest"),
            ("localhost/a", "localhost/a:latest"),
            ("host:5000/a", "host:5000/a:latest"),
            ("index.docker.io/library/nginx:1", "docker.io/library/nginx:1"),
            (" docker://quay.io/a/b:1 ", "quay.io/a/b:1"),
        ] {
            assert_eq!(normalise(name).unwrap().to_string(), full, "{name}");
        }
        assert_eq!(
            normalise(&format!("nginx@{D}")).unwrap().to_string(),
            format!("docker.io/library/nginx@{D}")
        );
        for wrong in ["", "A/b:1", "a:b:c", "https://a.b/c:1", "{{ .image }}", "a b"] {
            assert!(normalise(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn texts_that_name_no_image_are_told_apart() {
        for (text, may_be, full) in [
            ("quay.io/a/b:1", true, true),
            ("a/b:1", true, false),
            ("nginx:1", true, false),
            ("quay.io/a/b", true, false),
            ("nginx", false, false),
            ("logo.png", false, false),
            ("./a/logo:1", false, false),
            ("https://a.io/logo:1", false, false),
            ("host:5000/a:1", true, false),
            ("IfNotPresent", false, false),
        ] {
            assert_eq!((may_be_image(text), is_full(text)), (may_be, full), "{text}");
        }
    }
}
