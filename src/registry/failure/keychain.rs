// SPDX-License-Identifier: Apache-2.0
//! Why credentials cannot be read.

use thiserror::Error;

use crate::error::{Classify, ErrorKind};

/// Why credentials cannot be read. Never holds what is in a file or what a helper printed. (T-76, T-92)
#[derive(Debug, Clone, Error)]
#[allow(missing_docs, reason = "the messages explain the fields")]
pub enum KeychainError {
    /// A file cannot be read, is too large, or is not of the expected shape.
    #[error("the credentials in {path} cannot be read: {detail}")]
    File {
        path: String,
        /// What is wrong, without any content.
        detail: String,
    },
    /// A credential helper that a file names is missing, or does not run on this system.
    #[error("the credential helper {program}, which {path} names, cannot be run: {detail}")]
    NoHelper {
        program: String,
        /// The file that names it.
        path: String,
        /// The error of the system.
        detail: String,
    },
    /// A credential helper failed.
    #[error("the credential helper {program} for {registry} failed: {detail}")]
    Helper {
        program: String,
        /// Registry whose credentials were requested.
        registry: String,
        /// What is wrong, without any output.
        detail: String,
    },
}

impl Classify for KeychainError {
    fn kind(&self) -> ErrorKind {
        ErrorKind::Auth
    }

    fn help(&self) -> Option<String> {
        Some(match self {
            Self::File { .. } => {
                "expected is what krs login, skopeo login or docker login write: {\"auths\": {\"HOST\": {\"auth\": …}}}"
                    .to_owned()
            }
            Self::NoHelper { program, path, .. } => {
                format!(
                    "install {program}, or remove its name from {path} and store credentials with krs login"
                )
            }
            Self::Helper { program, registry, .. } => {
                format!("test it: echo {registry} | {program} get")
            }
        })
    }
}
