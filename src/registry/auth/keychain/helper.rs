// SPDX-License-Identifier: Apache-2.0
//! Credential helpers: programs that are asked for a login (docker-credential-helpers).

use std::io;
use std::process::Stdio;

use camino::Utf8PathBuf;
use serde::Deserialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{Found, Keychain, KeychainError, MAX_BYTES};
use crate::oci::reference::RegistryHost;
use crate::registry::auth::auth_file::{Secretly, login};

/// A helper to ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::registry) struct Helper {
    pub(in crate::registry) program: String,
    /// Whether it can be the name of a program.
    pub(super) valid: bool,
    pub(super) file: Utf8PathBuf,
    /// Files before this one had no login; this many of them.
    pub(super) index: usize,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: Secretly,
}

impl Keychain {
    /// Asks a helper for the login to a registry; `None` where it knows none.
    pub(in crate::registry) async fn ask(
        &self,
        helper: &Helper,
        registry: &RegistryHost,
    ) -> Result<Option<Found>, KeychainError> {
        let failed = |detail: String| KeychainError::Helper {
            program: helper.program.clone(),
            registry: registry.to_string(),
            detail,
        };
        if !helper.valid {
            return Err(failed("it is not the name of a program".to_owned()));
        }
        let answered = tokio::time::timeout(self.helper_time, self.run(helper, registry)).await;
        let output = match answered {
            Err(_) => return Err(failed(format!("no answer within {} s", self.helper_time.as_secs()))),
            Ok(Err(error)) => {
                let (program, path) = (helper.program.clone(), helper.file.to_string());
                return Err(KeychainError::NoHelper { program, path, detail: error.to_string() });
            }
            Ok(Ok(output)) => output,
        };
        let (success, output) = output;
        if output.len() as u64 > MAX_BYTES {
            return Err(failed("it printed too much".to_owned()));
        }
        if !success {
            // This text is how helpers say that they know no login (docker-credential-helpers).
            if String::from_utf8_lossy(&output).contains("credentials not found") {
                return Ok(None);
            }
            return Err(failed("it reported an error".to_owned()));
        }
        let answer = serde_json::from_slice::<HelperAnswer>(&output)
            .map_err(|_| failed("what it printed is not a login".to_owned()))?;
        let login = login(answer.username, answer.secret.0);
        let origin = format!("{} (named in {})", helper.program, helper.file);
        Ok(Some(Found { login: Some(login), origin: Some(origin), unusable: None }))
    }

    /// Runs a helper: whether it succeeded, and at most one byte more than it may print.
    async fn run(&self, helper: &Helper, registry: &RegistryHost) -> io::Result<(bool, Vec<u8>)> {
        let program = match &self.helper_folder {
            Some(folder) => folder.join(&helper.program),
            None => Utf8PathBuf::from(&helper.program),
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
            stdout.take(MAX_BYTES + 1).read_to_end(&mut output).await?;
        }
        if output.len() as u64 > MAX_BYTES {
            return Ok((false, output));
        }
        Ok((child.wait().await?.success(), output))
    }
}
