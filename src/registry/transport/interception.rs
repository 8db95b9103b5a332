// SPDX-License-Identifier: Apache-2.0
//! Answers that do not come from the registry: web pages of login portals and proxies, and content that something in
//! between has encoded. They are named as what they are, not as damage.

use bytes::{Bytes, BytesMut};
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use url::Url;

use crate::oci::reference::RegistryHost;
use crate::redact::printable;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;
use crate::registry::host::authority;
use crate::registry::transport::exchange::{Answer, Purpose};

/// Most bytes of an unexpected body that are read.
const MAX_BODY: usize = 64 << 10;
/// Most characters of a title that are shown.
const MAX_TITLE: usize = 80;

/// What an answer is instead of a registry's, for a message.
fn interception(content_type: &str, content_encoding: &str, body: &[u8]) -> Option<String> {
    if let Some(page) = web_page(content_type, body) {
        return Some(page);
    }
    let encoding = encoding(content_encoding)?;
    Some(format!("Content-Encoding: {}, which was not asked for", printable(encoding, MAX_TITLE)))
}

/// The encoding that `Content-Encoding` states, where it states one.
fn encoding(content_encoding: &str) -> Option<&str> {
    let encoding = content_encoding.trim();
    (!encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity")).then_some(encoding)
}

fn is_page_type(content_type: &str) -> bool {
    let content_type = content_type.split(';').next().unwrap_or_default().trim();
    ["text/html", "application/xhtml+xml"].iter().any(|page| content_type.eq_ignore_ascii_case(page))
}

/// Describes a web page. The body decides where there is one: some servers call an empty body `text/html`.
fn web_page(content_type: &str, body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body.get(..MAX_BODY).unwrap_or(body));
    // Lower case of ASCII alone, so that offsets stay.
    let lower = text.to_ascii_lowercase();
    let start = lower.trim_start_matches(|c: char| c.is_whitespace() || c == '\u{feff}');
    let is_page = ["<!doctype html", "<html"].iter().any(|tag| start.starts_with(tag))
        || (is_page_type(content_type) && start.starts_with('<'));
    if !is_page {
        return None;
    }
    let title = lower.find("<title").and_then(|at| {
        let begin = at + lower.get(at..)?.find('>')? + 1;
        let end = begin + lower.get(begin..)?.find("</title")?;
        Some(text.get(begin..end)?.split_whitespace().collect::<Vec<_>>().join(" "))
    });
    let title = title.filter(|title| !title.is_empty());
    let title = title.map_or_else(String::new, |title| format!(", title `{}`", printable(&title, MAX_TITLE)));
    Some(format!("a web page (text/html{title})"))
}

impl Answer {
    fn text_header(&self, name: http::HeaderName) -> &str {
        self.header(name).unwrap_or_default()
    }

    /// Whether the answer says that it is a web page.
    pub(in crate::registry) fn is_typed_as_page(&self) -> bool {
        is_page_type(self.text_header(CONTENT_TYPE))
    }

    /// Whether the answer says that its content is encoded, which was not asked for.
    pub(in crate::registry) fn is_encoded(&self) -> bool {
        encoding(self.text_header(CONTENT_ENCODING)).is_some()
    }

    /// What the body is, where it is a web page; for a message about a failure.
    pub(in crate::registry) fn page(&self, body: &[u8]) -> Option<String> {
        web_page(self.text_header(CONTENT_TYPE), body)
    }

    /// The failure where the answer does not come from the registry: `body` is what was read of it and is not what was
    /// asked for.
    pub(in crate::registry) fn intercepted(&self, purpose: &Purpose<'_>, body: &[u8]) -> Option<Failure> {
        let (content_type, encoding) = (self.text_header(CONTENT_TYPE), self.text_header(CONTENT_ENCODING));
        let found = interception(content_type, encoding, body)?;
        Some(intercepted(purpose, &self.url, found).into())
    }

    /// The same where the body is gone: its type has to do.
    pub(in crate::registry) fn intercepted_unread(&self, purpose: &Purpose<'_>) -> Option<Failure> {
        self.intercepted(purpose, if self.is_typed_as_page() { b"<" } else { b"" })
    }

    /// The beginning of a body that is not what was asked for, as far as it comes.
    pub(in crate::registry) async fn beginning(&mut self, purpose: &Purpose<'_>) -> Bytes {
        let mut body = BytesMut::new();
        while body.len() < MAX_BODY
            && let Ok(Some(chunk)) = self.chunk(purpose).await
        {
            let room = MAX_BODY - body.len();
            body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        }
        body.freeze()
    }
}

fn intercepted(purpose: &Purpose<'_>, url: &Url, found: String) -> RegistryError {
    let (registry, what, host) = (purpose.registry.clone(), purpose.what.clone(), authority(url));
    let own = host.parse::<RegistryHost>().is_ok_and(|host| host == registry);
    let address = format!("{}://{host}/{}", url.scheme(), if own { "v2/" } else { "" });
    RegistryError::Intercepted { registry, what, host: (!own).then_some(host), address, found }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_pages_and_encodings_are_told_from_content() {
        let page = b" \n<!DOCTYPE html><html><head><TITLE lang=en>\n Sign  in </title>";
        for content_type in ["text/html; charset=utf-8", "application/json", ""] {
            let found = interception(content_type, "", page);
            assert_eq!(found.as_deref(), Some("a web page (text/html, title `Sign in`)"));
        }
        assert_eq!(interception("text/html", "", b"<p>x").as_deref(), Some("a web page (text/html)"));
        assert_eq!(
            interception("application/json", "gzip", b"\x1f\x8b").as_deref(),
            Some("Content-Encoding: gzip, which was not asked for")
        );
        for (content_type, encoding, body) in [
            ("text/html", "", &b""[..]),
            ("text/html", "", b"{\"errors\":[]}"),
            ("application/json", "identity", b"{}"),
            ("application/octet-stream", "", b"<x>"),
        ] {
            assert_eq!(interception(content_type, encoding, body), None, "{content_type}");
        }
    }

    #[test]
    fn t84_a_title_is_shown_without_control_characters_and_cut() {
        let page = format!("<html><title>\u{1b}[31m{}\u{e4}</title>", "x".repeat(500));
        let shown = interception("text/html", "", page.as_bytes()).unwrap_or_default();
        assert!(!shown.contains(char::is_control) && shown.len() < 200, "{shown}");
        assert!(interception("text/html", "", b"<html><title>\xff\xfe no end").is_some());
    }
}
