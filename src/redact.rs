// SPDX-License-Identifier: Apache-2.0
//! Values that must not be shown: their `Debug` and `Display` print `***`, and nothing serialises them.

use std::fmt;

use url::Url;

/// A password, token or key. It can be compared and used, never printed.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The value itself, for the one place that has to send it.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Whether there is nothing to hide.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
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

    /// The URL itself, for the place that requests it.
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
        // Both calls fail only for URLs that cannot carry user information, which then have none to hide.
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
    fn t84_control_characters_do_not_reach_a_terminal() {
        assert_eq!(printable("a\u{1b}[31mb\nc", 99), "a\\u{1b}[31mb\\u{a}c");
        assert_eq!(printable("abcdef", 3), "abc…");
        let escaped = bounded(&"\u{1b}".repeat(10), 12);
        assert_eq!(escaped, "\\u{1b}\\u{1b}…");
        assert_eq!(printable(&escaped, 12), escaped, "it is accepted where it is read");
    }
}
