// SPDX-License-Identifier: Apache-2.0
//! Where a source is, as it is written: `oci:DIR`, `docker-archive:FILE`, `docker-daemon:`.

use std::fmt;
use std::str::FromStr;

use camino::{Utf8Path, Utf8PathBuf};
use thiserror::Error;

/// What a source is said to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// `oci:`: a folder or a tar.
    Oci,
    /// `oci-archive:`: a tar.
    OciArchive,
    /// `docker-archive:`: a tar.
    DockerArchive,
    /// `docker-daemon:`: the socket of `DOCKER_HOST`, or the path of another one.
    DockerDaemon,
}

impl Form {
    const ALL: [Self; 4] = [Self::Oci, Self::OciArchive, Self::DockerArchive, Self::DockerDaemon];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Oci => "oci",
            Self::OciArchive => "oci-archive",
            Self::DockerArchive => "docker-archive",
            Self::DockerDaemon => "docker-daemon",
        }
    }
}

/// A place that images are read from besides registries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Location {
    form: Form,
    path: Utf8PathBuf,
}

/// Why a text is no location.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum ParseLocationError {
    /// No known form stands before the path.
    #[error(
        "`{0}` does not say what it is: expected oci:DIR, oci:FILE, oci-archive:FILE, docker-archive:FILE or docker-daemon:"
    )]
    Form(String),
    /// Nothing follows the form.
    #[error("`{0}:` names no file")]
    NoPath(&'static str),
    /// An image of a daemon, as skopeo has it, or a path that is not absolute.
    #[error(
        "`{0}` names no daemon: expected docker-daemon: alone, or docker-daemon:/PATH/OF/SOCKET. krs takes the images that the sets name"
    )]
    Daemon(String),
    /// A registry.
    #[error("`{0}` is a registry: krs reads images from their registries without --from")]
    Registry(String),
}

impl Location {
    pub(super) const fn form(&self) -> Form {
        self.form
    }

    pub(super) fn path(&self) -> &Utf8Path {
        &self.path
    }
}

impl FromStr for Location {
    type Err = ParseLocationError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || crate::redact::printable(text, 120);
        if text.starts_with("docker://") {
            return Err(ParseLocationError::Registry(shown()));
        }
        let (name, path) = text.split_once(':').ok_or_else(|| ParseLocationError::Form(shown()))?;
        let form = Form::ALL.into_iter().find(|form| form.name() == name);
        let form = form.ok_or_else(|| ParseLocationError::Form(shown()))?;
        match form {
            Form::DockerDaemon if !path.is_empty() && !path.starts_with('/') => {
                return Err(ParseLocationError::Daemon(shown()));
            }
            Form::DockerDaemon => {}
            _ if path.is_empty() => return Err(ParseLocationError::NoPath(form.name())),
            _ => {}
        }
        Ok(Self { form, path: path.into() })
    }
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = crate::redact::printable(self.path.as_str(), usize::MAX);
        write!(f, "{}:{path}", self.form.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_location_is_a_form_and_a_path() {
        for text in [
            "oci:images",
            "oci:/tmp/a:b",
            "oci-archive:a.tar",
            "docker-archive:./a.tar",
            "docker-daemon:",
            "docker-daemon:/run/podman/podman.sock",
        ] {
            assert_eq!(text.parse::<Location>().map(|location| location.to_string()), Ok(text.to_owned()));
        }
        let error = |text: &str| text.parse::<Location>().err();
        assert!(matches!(error("images.tar"), Some(ParseLocationError::Form(_))));
        assert!(matches!(error("dir:images"), Some(ParseLocationError::Form(_))));
        assert!(matches!(error("docker://quay.io/a:1"), Some(ParseLocationError::Registry(_))));
        assert_eq!(error("oci:"), Some(ParseLocationError::NoPath("oci")));
        assert!(matches!(error("docker-daemon:web:1.0"), Some(ParseLocationError::Daemon(_))));
    }
}
