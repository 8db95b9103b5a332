// SPDX-License-Identifier: Apache-2.0
//! Exit codes. They are part of the interface: documented in `krs --help`, and never given another meaning.

use krs_core::error::ErrorKind;

/// Everything that was asked for is done.
pub(crate) const OK: u8 = 0;
/// A failure that is none of the others.
pub(crate) const OTHER: u8 = 1;
/// The call, or a set, is wrong.
pub(crate) const USAGE: u8 = 2;
/// No valid signature of a trusted key.
pub(crate) const TRUST: u8 = 3;
/// Content is damaged, or is not what its digest says.
pub(crate) const CORRUPT: u8 = 4;
/// Older than what was accepted before, past its end, or for other sites.
pub(crate) const ROLLBACK: u8 = 5;
/// Something is missing: a part of the file, or an image in its registry.
pub(crate) const INCOMPLETE: u8 = 6;
/// Authentication required, or the credentials were refused.
pub(crate) const AUTH: u8 = 7;
/// A registry or the network is not available; a later try may succeed.
pub(crate) const UNAVAILABLE: u8 = 8;
/// No space left.
pub(crate) const NO_SPACE: u8 = 9;
/// What was compared differs.
pub(crate) const DIFFERENT: u8 = 10;
/// Ended by Ctrl-C, as shells report it.
pub(crate) const INTERRUPTED: u8 = 130;
/// Ended by SIGTERM, as shells report it.
pub(crate) const TERMINATED: u8 = 143;

/// What ended the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Ctrl-C.
    Interrupt,
    /// SIGTERM, as service managers and CI systems send it.
    #[cfg_attr(not(unix), expect(dead_code, reason = "Windows has no such signal"))]
    Terminate,
}

impl Signal {
    /// The exit code, as shells report it.
    pub(crate) const fn code(self) -> u8 {
        match self {
            Self::Interrupt => INTERRUPTED,
            Self::Terminate => TERMINATED,
        }
    }
}

/// The code of a class of failure, and its name for programs.
pub(crate) const fn of(kind: ErrorKind) -> (u8, &'static str) {
    match kind {
        ErrorKind::Other => (OTHER, "other"),
        ErrorKind::Usage => (USAGE, "usage"),
        ErrorKind::Trust => (TRUST, "trust"),
        ErrorKind::Corrupt => (CORRUPT, "corrupt"),
        ErrorKind::Rollback => (ROLLBACK, "rollback"),
        ErrorKind::Incomplete => (INCOMPLETE, "incomplete"),
        ErrorKind::Auth => (AUTH, "auth"),
        ErrorKind::Unavailable => (UNAVAILABLE, "unavailable"),
        ErrorKind::NoSpace => (NO_SPACE, "noSpace"),
    }
}

/// The codes as `--help` shows them. Code 10 belongs to commands that compare, and means that they found differences.
pub(crate) const HELP: &str = "\
Exit codes:
   0  done
   1  any other failure
   2  the command line, or a set, is invalid
   3  no valid signature of a trusted key
   4  content is damaged, or is not what its digest says
   5  too old, expired, or for other sites
   6  incomplete: a part of the file, or an image in its registry, is missing
   7  authentication required, or the credentials were refused
   8  a registry or the network is not available: run the command again later
   9  no space left
  10  differences were found
 130  ended by Ctrl-C; 143: by SIGTERM

Results go to standard output, messages and progress to standard error.

Credentials come from $REGISTRY_AUTH_FILE, else from podman's and skopeo's auth.json and docker's
config.json, with credential helpers. HTTPS_PROXY, NO_PROXY and NO_COLOR are honoured.";
