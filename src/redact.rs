// SPDX-License-Identifier: Apache-2.0
//! Secret values: their `Debug` and `Display` print `***`, and they cannot be serialised.

use std::fmt;

use serde::{Deserialize, Deserializer};
use url::Url;

/// A password, token or key. It can be compared and used, never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one caller that has to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether the value is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// A URL as it may be shown: without user information, and without the values of its query, because
/// pre-signed links to object storage carry their permission there.
#[derive(Clone, PartialEq, Eq)]
pub struct SafeUrl(Url);

impl SafeUrl {
    /// Wraps `url`.
    pub const fn new(url: Url) -> Self {
        Self(url)
    }

    /// The URL itself, for the caller that requests it.
    pub const fn expose(&self) -> &Url {
        &self.0
    }
}

impl From<Url> for SafeUrl {
    fn from(url: Url) -> Self {
        Self(url)
    }
}

impl fmt::Display for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = self.0.clone();
        // Both calls fail only for URLs that cannot have user information, so that there is nothing to hide.
        let _ = shown.set_username("");
        let _ = shown.set_password(None);
        shown.set_query(None);
        shown.set_fragment(None);
        f.write_str(shown.as_str())?;
        if self.0.query().is_some() {
            f.write_str("?***")?;
        }
        Ok(())
    }
}

impl fmt::Debug for SafeUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Makes text from outside safe for a terminal, a log line or a status field: control characters (new lines and
/// escape sequences among them) and the characters that reorder text become `\u{…}`, and what is longer than
/// `most` characters is cut. (T-84)
pub fn printable(text: &str, most: usize) -> String {
    let mut out = String::with_capacity(text.len().min(most));
    for (n, c) in text.chars().enumerate() {
        if n == most {
            out.push('…');
            break;
        }
        let reorders =
            matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        if c.is_control() || reorders {
            out.extend(c.escape_unicode());
        } else {
            out.push(c);
        }
    }
    out
}

/// As [`printable`], and never longer than `most` characters and an ellipsis, however many of them had to be escaped.
pub fn bounded(text: &str, most: usize) -> String {
    printable(&printable(text, most), most)
}

/// An address as it may be shown: a URL, what Git accepts instead of one (`user:password@host:path`), or a URL with a
/// prefix (`git::https://…`). User information, query and fragment are hidden; if it is not certain where they end,
/// everything is. Other than [`SafeUrl`], it need not be one that parses.
pub fn address(text: &str) -> String {
    let (scheme, rest) = text.split_at(text.find("://").map_or(0, |at| at + 3));
    let (address, secret) = rest.split_at(rest.find(['?', '#']).unwrap_or(rest.len()));
    // Either a password that is not encoded, or a query with an `@`.
    if user_end(secret).is_some() {
        return format!("{scheme}***");
    }
    let (user, address) = address.split_at(user_end(address).unwrap_or(0));
    let user = if user.is_empty() || user == "git@" { user } else { "***@" };
    let mark = secret.get(..1).unwrap_or_default();
    let hidden = if mark.is_empty() { "" } else { "***" };
    format!("{scheme}{user}{address}{mark}{hidden}")
}

/// Where the user information of an address ends. The `@` of an image's digest ends none.
fn user_end(text: &str) -> Option<usize> {
    let is_digest = |rest: &str| rest.starts_with("sha256:") || rest.starts_with("sha512:");
    let mut ends = text.match_indices('@').map(|(at, _)| at + 1);
    ends.rfind(|end| !text.get(*end..).is_some_and(is_digest))
}

/// Ends of names whose values are hidden where other programs print `NAME=VALUE`.
const SECRET_NAMES: [&str; 7] = ["password", "passwd", "passphrase", "secret", "token", "apikey", "api_key"];

/// A word `NAME=VALUE` without its value, if its name is that of a secret.
fn without_secret_value(word: String) -> String {
    let Some((name, value)) = word.split_once('=') else { return word };
    let end = name.to_ascii_lowercase().replace('-', "_");
    let is_secret = !value.is_empty() && SECRET_NAMES.iter().any(|secret| end.ends_with(secret));
    if is_secret { format!("{name}=***") } else { word }
}

/// Hides the secret parts of the addresses in a text, as [`address`] does, and the values of `password=…` and the like.
pub fn masked(text: &str) -> String {
    let word = |word: &str| {
        let has_password = user_end(word).is_some_and(|end| word.get(..end).is_some_and(|u| u.contains(':')));
        if word.contains("://") || has_password { address(word) } else { word.to_owned() }
    };
    text.split_inclusive(char::is_whitespace)
        .map(|part| {
            let end = part.trim_end().len();
            without_secret_value(word(part.get(..end).unwrap_or_default()))
                + part.get(end..).unwrap_or_default()
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::new("hunter2");
        assert_eq!(format!("{secret} {secret:?}"), "*** ***");
    }

    #[test]
    fn a_url_is_shown_without_user_password_and_query() {
        let url = Url::parse("https://me:pw@host.example/v2/x?X-Amz-Signature=abc").map(SafeUrl::new);
        assert_eq!(url.map(|u| u.to_string()), Ok("https://host.example/v2/x?***".to_owned()));
    }

    #[test]
    fn addresses_are_shown_without_secrets() {
        for (text, shown) in [
            ("https://user:SECRET@example.com/r?token=TOK", "https://***@example.com/r?***"),
            ("git::https://SECRET@example.com/r//x#TOK", "git::https://***@example.com/r//x#***"),
            ("user:SECRET@example.com:o/r", "***@example.com:o/r"),
            ("git@github.com:o/r", "git@github.com:o/r"),
            ("github.com/o/r?token=TOK", "github.com/o/r?***"),
            ("https://user:SEC/RET@example.com/r", "https://***@example.com/r"),
            ("https://user:SEC?RET@example.com/r", "https://***"),
            ("https://user:SEC RET@example.com/r", "https://***@example.com/r"),
            ("oci://ghcr.io/o/r:1@sha256:12", "oci://ghcr.io/o/r:1@sha256:12"),
            ("../base", "../base"),
        ] {
            assert_eq!(address(text), shown);
            assert_eq!(address(shown), shown);
        }
        assert_eq!(
            masked("in https://u:SECRET@h/x?TOK, a:SECRET@h `x/app:1@sha256:12`\n what? me@here"),
            "in https://***@h/x?*** ***@h `x/app:1@sha256:12`\n what? me@here"
        );
    }

    #[test]
    fn t309_values_of_secrets_in_messages_of_other_programs_are_hidden() {
        assert_eq!(
            masked("with password=hunter2, db.Token=abc --api-key=x token= a=b secret: required\n"),
            "with password=*** db.Token=*** --api-key=*** token= a=b secret: required\n"
        );
    }

    #[test]
    fn t84_control_characters_do_not_reach_a_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\nc", 99), "a\\u{1b}[31mb\\u{a}c");
        assert_eq!(printable("abcdef", 3), "abc…");
        let escaped = bounded(&"\u{1b}".repeat(10), 12);
        assert_eq!(escaped, "\\u{1b}\\u{1b}…");
        assert_eq!(printable(&escaped, 12), escaped, "it is accepted where it is read");
    }
}
