// SPDX-License-Identifier: Apache-2.0
use camino::Utf8PathBuf;
use clap::Args;

use super::{RegistryArgs, flag};

/// Store credentials for a registry, after the registry accepted them
///
/// Writes the file that krs reads first: --authfile, else $REGISTRY_AUTH_FILE, else auth.json of the containers tools, which
/// podman and skopeo read, too. Only its owner can read the file. Where the registry refuses the credentials, or is not
/// available, nothing is written.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs login registry.example.com --username robot
  printf '%s' \"$REGISTRY_PASSWORD\" | krs login registry.example.com --username robot --password-stdin
  krs login registry.example.com/shop --username shop --password-stdin < token.txt")]
pub(crate) struct LoginArgs {
    /// The registry, or a path in it that the credentials are for
    #[arg(value_name = "HOST[:PORT][/PATH]")]
    pub(crate) registry: String,
    /// Name of the user
    #[arg(short, long, value_name = "NAME", env = "KRS_USERNAME")]
    pub(crate) username: String,
    /// Read the password, or an access token, from standard input: arguments and variables are visible to others [default:
    /// ask for it at the terminal]
    #[arg(long, env = "KRS_PASSWORD_STDIN", value_parser = flag())]
    pub(crate) password_stdin: bool,
    /// Store the credentials without a request to the registry
    #[arg(long, env = "KRS_LOGIN_NO_VERIFY", value_parser = flag())]
    pub(crate) no_verify: bool,
    #[command(flatten)]
    pub(crate) registries: RegistryArgs,
}

/// Remove the stored credentials for a registry
///
/// Removes them from the file that krs login writes, and says where others are left.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  krs logout registry.example.com
  krs logout registry.example.com/shop --authfile auth.json")]
pub(crate) struct LogoutArgs {
    /// The registry, or a path in it that the credentials are for
    #[arg(value_name = "HOST[:PORT][/PATH]")]
    pub(crate) registry: String,
    /// Change this file only
    #[arg(long, value_name = "FILE", env = "KRS_AUTHFILE")]
    pub(crate) authfile: Option<Utf8PathBuf>,
}
