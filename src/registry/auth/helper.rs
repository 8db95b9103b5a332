// SPDX-License-Identifier: Apache-2.0
//! Credential helpers: programs that know credentials (docker-credential-helpers).

use std::io;
use std::process::Stdio;
use std::time::Duration;

use camino::Utf8PathBuf;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::oci::reference::RegistryHost;
use crate::redact::Secret;
use crate::registry::auth::credentials::{Credentials, LookupResult};
use crate::registry::failure::keychain::KeychainError;

/// Most bytes that a helper may print.
const MAX_OUTPUT: u64 = 1 << 20;

/// A helper that may know the credentials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::registry) struct Helper {
    pub(in crate::registry) program: String,
    /// Whether it can be the name of a program.
    pub(in crate::registry) valid: bool,
    /// The file that names it.
    pub(in crate::registry) file: Utf8PathBuf,
    /// How many files before this one had no credentials.
    pub(in crate::registry) index: usize,
    /// Its folder; `PATH` if absent.
    pub(in crate::registry) folder: Option<Utf8PathBuf>,
    pub(in crate::registry) time_limit: Duration,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperOutput {
    username: String,
    secret: Secret,
}

impl Helper {
    /// Runs the helper for the credentials of a registry; `None` if it knows none.
    pub(in crate::registry) async fn run(
        &self,
        registry: &RegistryHost,
    ) -> Result<Option<LookupResult>, KeychainError> {
        let failed = |detail: String| KeychainError::Helper {
            program: self.program.clone(),
            registry: registry.to_string(),
            detail,
        };
        if !self.valid {
            return Err(failed("it is not the name of a program".to_owned()));
        }
        let (success, output) = match tokio::time::timeout(self.time_limit, self.output(registry)).await {
            Err(_) => return Err(failed(format!("no answer within {} s", self.time_limit.as_secs()))),
            Ok(Err(error)) => {
                let (program, path) = (self.program.clone(), self.file.to_string());
                return Err(KeychainError::NoHelper { program, path, detail: error.to_string() });
            }
            Ok(Ok(output)) => output,
        };
        if output.len() as u64 > MAX_OUTPUT {
            return Err(failed("it printed too much".to_owned()));
        }
        if !success {
            // This text is how helpers say that they have no credentials (docker-credential-helpers).
            if String::from_utf8_lossy(&output).contains("credentials not found") {
                return Ok(None);
            }
            return Err(failed("it reported an error".to_owned()));
        }
        let output = serde_json::from_slice::<HelperOutput>(&output)
            .map_err(|_| failed("its output holds no credentials".to_owned()))?;
        let credentials = Some(Credentials::new(output.username, output.secret));
        let origin = Some(format!("{} (named in {})", self.program, self.file));
        Ok(Some(LookupResult { credentials, origin, unusable: None }))
    }

    /// Runs the program: whether it succeeded, and at most one byte more than it may print.
    async fn output(&self, registry: &RegistryHost) -> io::Result<(bool, Vec<u8>)> {
        let program = match &self.folder {
            Some(folder) => folder.join(&self.program),
            None => Utf8PathBuf::from(&self.program),
        };
        let mut child = tokio::process::Command::new(program)
            .arg("get")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()?;
        let server = match registry.as_str() {
            "docker.io" => "https://index.docker.io/v1/",
            other => other,
        };
        if let Some(mut stdin) = child.stdin.take() {
            // A helper that does not read its input may still answer.
            let _ = stdin.write_all(server.as_bytes()).await;
        }
        let mut output = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            stdout.take(MAX_OUTPUT + 1).read_to_end(&mut output).await?;
        }
        if output.len() as u64 > MAX_OUTPUT {
            return Ok((false, output));
        }
        Ok((child.wait().await?.success(), output))
    }
}
