// SPDX-License-Identifier: Apache-2.0
//! Exit codes. They are part of the interface: documented in `krs --help`, and never given another meaning.

use krs_core::error::ErrorKind;

/// Makes the constants, the classes of failures and the help from one table.
macro_rules! exit_codes {
    ($($name:ident = $code:literal $(, $kind:ident $class:literal)? => $help:literal;)*) => {
        $(#[doc = $help] pub(crate) const $name: u8 = $code;)*

        /// The code of a class of failure, and its name for programs.
        pub(crate) const fn of(kind: ErrorKind) -> (u8, &'static str) {
            match kind {
                $($(ErrorKind::$kind => ($name, $class),)?)*
            }
        }

        const ROWS: &[(u8, &str)] = &[$(($name, $help)),*];
    };
}

// Code, class of failure with its name for programs, and the line of `--help`. The last row is named in the line before it.
exit_codes! {
    OK = 0 => "done";
    OTHER = 1, Other "other" => "any other failure";
    USAGE = 2, Usage "usage" => "the command line, or a set, is invalid";
    TRUST = 3, Trust "trust" => "no valid signature of a trusted key";
    CORRUPT = 4, Corrupt "corrupt" => "content is damaged, or is not what its digest says";
    ROLLBACK = 5, Rollback "rollback" => "too old, expired, or for other sites";
    INCOMPLETE = 6, Incomplete "incomplete" => "incomplete: a part of the file, or an image in its registry, is missing";
    AUTH = 7, Auth "auth" => "authentication required, or the credentials were refused";
    UNAVAILABLE = 8, Unavailable "unavailable" => "a registry or the network is not available: run the command again later";
    NO_SPACE = 9, NoSpace "noSpace" => "no space left";
    DIFFERENT = 10 => "differences were found";
    INTERRUPTED = 130 => "ended by Ctrl-C; 143: by SIGTERM";
    TERMINATED = 143 => "ended by SIGTERM";
}

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

/// The exit codes, and what else `--help` says at its end.
pub(crate) fn help() -> String {
    let mut text = "Exit codes:\n".to_owned();
    for (code, line) in ROWS.iter().filter(|(code, _)| *code != TERMINATED) {
        text.push_str(&format!("{code:>4}  {line}\n"));
    }
    text + "
Results go to standard output, messages and progress to standard error.

Credentials come from $REGISTRY_AUTH_FILE, else from podman's and skopeo's auth.json and docker's
config.json, with credential helpers. HTTPS_PROXY, NO_PROXY and NO_COLOR are honoured."
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_code_once() {
        let help = help();
        let numbers = help.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse::<u8>().ok());
        let codes = ROWS.iter().map(|(code, _)| *code);
        assert_eq!(numbers.collect::<Vec<_>>(), codes.collect::<Vec<_>>());
        assert!(
            help.contains("\n   1  any other failure\n") && help.contains("\n 130  ended by Ctrl-C"),
            "{help}"
        );
    }
}
