// SPDX-License-Identifier: Apache-2.0
//! The words, and where they may stay.

/// What a user reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Scope {
    /// Pages of documentation, code blocks apart.
    Docs,
    /// The chart, and the definitions of the resources.
    Chart,
    /// `krs --help`.
    Help,
    /// Texts in the sources, from which errors, logs and conditions are made.
    Messages,
}

pub(crate) const SCOPES: [Scope; 4] = [Scope::Docs, Scope::Chart, Scope::Help, Scope::Messages];

/// Words that mislead.
#[derive(Debug)]
pub(crate) struct Word {
    /// The forms, in lower case. They are found as words by themselves.
    pub(crate) forms: &'static [&'static str],
    /// What to write instead.
    pub(crate) instead: &'static str,
    /// Why.
    pub(crate) reason: &'static str,
}

const fn word(forms: &'static [&'static str], instead: &'static str, reason: &'static str) -> Word {
    Word { forms, instead, reason }
}

pub(crate) const WORDS: &[Word] = &[
    word(
        &["login", "logins", "logged in", "log in"],
        "credentials, authenticated",
        "registries have no sessions; logs and errors of other tools say authentication and credentials",
    ),
    word(&["stick", "sticks"], "USB drive, media", "colloquial; bundles also travel on other media"),
    word(&["medium", "mediums"], "media, drive", "two words for one thing; `medium` is also a size"),
    word(&["line of bundles", "lines of bundles"], "stream", "the glossary's term is `stream`"),
    word(&["passed over"], "skipped", "idiom"),
    word(
        &["gone on with", "goes on", "go on", "going on", "went on"],
        "resumed, continues",
        "operators search for `resume`",
    ),
    word(&["anew"], "again", "archaic"),
    word(&["for ever", "forever", "ever later", "ever more seldom"], "indefinitely, less often", "idiom"),
    word(&["so long"], "a timeout, for this time", "idiom, and says no time"),
    word(&["where it is none", "that is none", "where there is none"], "if absent", "inversion"),
    word(&["barred"], "denied", "the list of hosts is a deny list"),
    word(
        &["whole"],
        "complete, undamaged",
        "`incomplete` and `damaged` are two faults with two exit codes; `whole` is the absence of which?",
    ),
    word(&["lack", "lacks", "lacking"], "does not have, is missing", "see `whole`"),
    word(&["authority", "authorities"], "CA certificate", "`authority` is `host:port` in a URL"),
    word(&["knock", "knocks"], "sends requests", "metaphor"),
    word(&["try again", "tries again"], "retry", "says neither when nor who"),
    word(&["prove", "proves", "proven", "proof", "proofs"], "verify, verified", "two words for one thing"),
    word(
        &["look at", "looks at", "looked at", "a look", "looks into"],
        "reconcile, check, query",
        "says neither what is done nor to what",
    ),
    word(&["at the end you"], "This page shows how to", "pages begin alike"),
    word(&["seldom"], "rarely", "archaic"),
];

/// Texts in which a word is right.
#[derive(Debug)]
pub(crate) struct Exception {
    /// The file, from the root of the checkout.
    pub(crate) file: &'static str,
    /// The text.
    pub(crate) text: &'static str,
    /// Why.
    pub(crate) reason: &'static str,
}

pub(crate) const EXCEPTIONS: &[Exception] = &[
    Exception {
        file: "cli/tests/it/snapshots/it__help__the_help_of_every_command.snap",
        text: "  login        Store credentials for a registry",
        reason: "the command's own name, in the list of commands",
    },
    Exception {
        file: "importer/src/model/state.rs",
        text: "\"proofs\"",
        reason: "a field of the state that version 0.1 stored in clusters",
    },
];
