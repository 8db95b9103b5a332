// SPDX-License-Identifier: Apache-2.0
//! Which daemon the environment chooses: `DOCKER_HOST`, else the context of `DOCKER_CONTEXT`, else the one of `docker context
//! use`, in the order of the Docker command line
//! (<https://docs.docker.com/engine/manage-resources/contexts/>).

use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use super::error::DaemonError;
use crate::oci::digest::Digest;
use crate::redact::printable;

/// Largest file of Docker's configuration that is read, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// The context that is the socket of the system.
const DEFAULT: &str = "default";

/// What of the environment chooses a daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct DockerEnvironment {
    /// `DOCKER_HOST`.
    pub host: Option<String>,
    /// `DOCKER_CONTEXT`.
    pub context: Option<String>,
    /// `DOCKER_CONFIG`, else `~/.docker`.
    pub config: Option<PathBuf>,
}

/// An address of a daemon, and what names it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::local) struct DockerHost {
    pub(super) address: String,
    /// "DOCKER_HOST", or which context.
    pub(super) origin: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    current_context: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Context {
    #[serde(default)]
    endpoints: Endpoints,
}

#[derive(Default, Deserialize)]
struct Endpoints {
    docker: Option<Endpoint>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Endpoint {
    #[serde(default)]
    host: String,
}

impl DockerEnvironment {
    /// The address of the daemon; `None`: the socket of the system.
    ///
    /// # Errors
    /// [`DaemonError::Context`]: a context is named that cannot be read.
    pub(in crate::local) fn docker_host(&self) -> Result<Option<DockerHost>, DaemonError> {
        if let Some(host) = self.host.as_ref().filter(|host| !host.is_empty()) {
            return Ok(Some(DockerHost { address: host.clone(), origin: "DOCKER_HOST".to_owned() }));
        }
        let named = self.context.clone().filter(|name| !name.is_empty());
        let (name, source) = match (named, &self.config) {
            (Some(name), _) => (name, "DOCKER_CONTEXT".to_owned()),
            (None, None) => return Ok(None),
            (None, Some(folder)) => {
                let file = folder.join("config.json");
                let unreadable =
                    |detail| context_error(&file.to_string_lossy(), "docker context use", detail);
                let config = read::<Config>(&file).map_err(unreadable)?;
                let Some(name) = config.and_then(|config| config.current_context) else { return Ok(None) };
                (name, file.to_string_lossy().into_owned())
            }
        };
        if name.is_empty() || name == DEFAULT {
            return Ok(None);
        }
        let unreadable = |detail| context_error(&name, &source, detail);
        let folder = self.config.as_ref().ok_or_else(|| unreadable("no folder ~/.docker".to_owned()))?;
        let id = Digest::of(name.as_bytes()).hex();
        let file = folder.join("contexts").join("meta").join(id).join("meta.json");
        let context = read::<Context>(&file).map_err(unreadable)?;
        let context = context.ok_or_else(|| unreadable(format!("there is no file {}", file.display())))?;
        let address = context.endpoints.docker.map(|endpoint| endpoint.host).unwrap_or_default();
        let origin = format!("the Docker context `{}` ({})", printable(&name, 100), printable(&source, 200));
        Ok(Some(DockerHost { address, origin }))
    }
}

fn context_error(name: &str, source: &str, detail: String) -> DaemonError {
    DaemonError::Context { name: printable(name, 200), source_name: printable(source, 200), detail }
}

/// A file of Docker's configuration; `None`: there is none.
fn read<T: serde::de::DeserializeOwned>(file: &Path) -> Result<Option<T>, String> {
    let bytes = match crate::files::read_file(file, MAX_FILE) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", file.display())),
    };
    serde_json::from_slice(&bytes)
        .map(Some)
        .map_err(|error| format!("{} is not valid: {error}", file.display()))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use super::*;

    #[test]
    fn a_context_is_chosen_as_the_docker_command_line_does() {
        let folder = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = folder.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        // As `docker context create far --docker host=ssh://me@far` writes it.
        write(
            "contexts/meta/512eea46ceb3921dff4363c7069d89d4964d1d9fccaa0f411851a7aa60a5c868/meta.json",
            r#"{"Name":"far","Metadata":{},"Endpoints":{"docker":{"Host":"ssh://me@far","SkipTLSVerify":false}}}"#,
        );
        let environment = |host: &str, context: &str| DockerEnvironment {
            host: Some(host.to_owned()),
            context: Some(context.to_owned()),
            config: Some(folder.path().to_owned()),
        };
        let address = |host: &str, context: &str| {
            environment(host, context).docker_host().map(|host| host.map(|host| host.address))
        };
        assert_eq!(address("", "").unwrap(), None);
        assert_eq!(address("", "far").unwrap().as_deref(), Some("ssh://me@far"));
        assert_eq!(address("unix:///a", "far").unwrap().as_deref(), Some("unix:///a"));
        assert!(address("", "gone").unwrap_err().to_string().contains("there is no file"));
        write("config.json", r#"{"auths": {}, "currentContext": "far"}"#);
        assert_eq!(address("", "").unwrap().as_deref(), Some("ssh://me@far"));
        assert_eq!(address("", "default").unwrap(), None);
        let origin = environment("", "").docker_host().unwrap().unwrap().origin;
        assert!(
            origin.starts_with("the Docker context `far` (") && origin.ends_with("config.json)"),
            "{origin}"
        );
        write("config.json", "{");
        assert!(address("", "").unwrap_err().to_string().contains("is not valid"));
        assert_eq!(DockerEnvironment::default().docker_host().unwrap(), None);
    }
}
