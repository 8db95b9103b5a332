// SPDX-License-Identifier: Apache-2.0
//! `importer/Dockerfile`: the importer's image for those who build with Docker, Podman or Buildah; amd64 and arm64.

use xtask::rootfs::labels::IMPORTER_LABELS;
use xtask::rootfs::{
    COMMON_LICENSES, DEBIAN, FILES, IMPORTER, LINKS, OS_RELEASE, PACKAGES, PROGRAMS, ROOTS, ROOTS_FILE,
    SCRATCH, USER,
};

/// The text of the file.
pub(crate) fn dockerfile(version: &str) -> String {
    let programs: Vec<String> = PROGRAMS.iter().map(|program| format!("/{program}")).collect();
    let programs = programs.join(" ");
    let mut lines = vec![
        "# SPDX-License-Identifier: Apache-2.0".to_owned(),
        "# Written by `cargo xtask image --dockerfile` from xtask/src/rootfs/mod.rs; change it there."
            .to_owned(),
        "# From the top of the checkout:".to_owned(),
        "# docker build -f importer/Dockerfile --build-arg KRS_COMMIT=\"$(git rev-parse HEAD)\" .".to_owned(),
        format!("FROM docker.io/library/rust:1-{DEBIAN} AS build"),
        "WORKDIR /src".to_owned(),
        "COPY . .".to_owned(),
        "# Git's own files are not copied: without this argument the commit is unknown.".to_owned(),
        "ARG KRS_COMMIT".to_owned(),
        "RUN cargo build --release --locked --package krs-importer".to_owned(),
        String::new(),
        format!("FROM docker.io/library/debian:{DEBIAN}-slim AS files"),
        format!("RUN apt-get update && apt-get install --yes --no-install-recommends {}", PACKAGES.join(" ")),
        format!("COPY --from=build /src/target/release/krs-importer /{IMPORTER}"),
        "# Programs, what their loader names, and nothing else.".to_owned(),
        "RUN set -eu; mkdir -p /image; cd /image; \\".to_owned(),
        format!(
            "    for program in {programs} /{IMPORTER}; do install -D \"$program\" \".$program\"; done; \\"
        ),
        format!(
            "    ldd {programs} /{IMPORTER} | grep -o '/lib[^ ]*' | grep -v ':$' | sort -u | while read -r library; do \\"
        ),
        "      install -D \"$library\" \"usr$library\"; done; \\".to_owned(),
    ];
    for (link, target) in LINKS {
        lines.push(format!("    if [ -e {target} ]; then ln -s {target} {link}; fi; \\"));
    }
    for (path, content) in FILES {
        lines.push(format!(
            "    install -D -m 644 /dev/null {path}; printf '{}' >{path}; \\",
            content.replace('\n', "\\n")
        ));
    }
    lines.push(format!("    install -d -m 1777 {}; \\", SCRATCH.join(" ")));
    lines.push(format!("    install -D -m 644 /dev/null {ROOTS_FILE}; cat /{ROOTS}/*.crt >{ROOTS_FILE}"));
    lines.extend([
        "# What scanners need, and licences: the release of Debian, and the packages that these files are from.".to_owned(),
        "RUN set -eu; cd /image; \\".to_owned(),
        format!("    install -D -m 644 /{OS_RELEASE} {OS_RELEASE}; ln -s ../{OS_RELEASE} etc/os-release; \\"),
        format!("    mkdir -p usr/share var/lib/dpkg/status.d; cp -a /{COMMON_LICENSES} {COMMON_LICENSES}; \\"),
        format!("    libraries=$(ldd {programs} /{IMPORTER} | grep -o '/lib[^ ]*' | grep -v ':$' | sort -u); \\"),
        format!("    dpkg-query --search $(realpath {programs} $libraries) /{ROOTS} /{OS_RELEASE} >/packages; \\"),
        "    sed 's/:.*//' /packages | sort -u | while read -r package; do \\".to_owned(),
        "      dpkg-query --status \"$package\" >\"var/lib/dpkg/status.d/$package\"; \\".to_owned(),
        "      install -D -m 644 \"/usr/share/doc/$package/copyright\" \"usr/share/doc/$package/copyright\"; done"
            .to_owned(),
    ]);
    lines.push(String::new());
    lines.push("FROM scratch".to_owned());
    lines.push("COPY --from=files /image/ /".to_owned());
    for (label, value) in
        IMPORTER_LABELS.iter().copied().chain([("org.opencontainers.image.version", version)])
    {
        lines.push(format!("LABEL {label}=\"{value}\""));
    }
    lines.push("ARG KRS_COMMIT".to_owned());
    lines.push("LABEL org.opencontainers.image.revision=\"${KRS_COMMIT:-unknown}\"".to_owned());
    lines.push("ENV PATH=/usr/bin".to_owned());
    lines.push(format!("USER {USER}"));
    lines.push(format!("ENTRYPOINT [\"/{IMPORTER}\"]"));
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use xtask::run::checkout;

    #[test]
    fn the_dockerfile_is_the_one_of_this_definition() {
        let written = fs::read_to_string(checkout().join("importer/Dockerfile")).unwrap_or_default();
        let ours = dockerfile(env!("CARGO_PKG_VERSION"));
        assert_eq!(written, ours, "cargo xtask image --dockerfile writes it again");
    }
}
