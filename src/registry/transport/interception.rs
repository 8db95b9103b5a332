// SPDX-License-Identifier: Apache-2.0
//! Responses that do not come from the registry: web pages of login portals and proxies, and content that a proxy has
//! encoded. They are reported as such, and not as damaged content.

use url::Url;

use crate::oci::reference::RegistryHost;
use crate::redact::printable;
use crate::registry::failure::error::RegistryError;
use crate::registry::host::authority;
use crate::registry::transport::operation::Operation;

/// Most bytes that are read of an unexpected body.
pub(in crate::registry) const MAX_PAGE: usize = 64 << 10;
/// Most characters of a title that are shown.
const MAX_TITLE: usize = 80;

/// Describes a response that does not come from the registry.
pub(in crate::registry) fn describe_interception(
    content_type: &str,
    content_encoding: &str,
    body: &[u8],
) -> Option<String> {
    if let Some(page) = web_page(content_type, body) {
        return Some(page);
    }
    let encoding = content_coding(content_encoding)?;
    Some(format!("Content-Encoding: {}, which was not asked for", printable(encoding, MAX_TITLE)))
}

/// The coding that `Content-Encoding` states, if any.
pub(in crate::registry) fn content_coding(content_encoding: &str) -> Option<&str> {
    let encoding = content_encoding.trim();
    (!encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity")).then_some(encoding)
}

pub(in crate::registry) fn is_page_type(content_type: &str) -> bool {
    let content_type = content_type.split(';').next().unwrap_or_default().trim();
    ["text/html", "application/xhtml+xml"].iter().any(|page| content_type.eq_ignore_ascii_case(page))
}

/// Describes a web page. The body decides if there is one, because some servers label an empty body as `text/html`.
pub(in crate::registry) fn web_page(content_type: &str, body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body.get(..MAX_PAGE).unwrap_or(body));
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

/// The error of a request that something between the client and the registry answered.
pub(in crate::registry) fn interception_error(
    operation: &Operation<'_>,
    url: &Url,
    description: String,
) -> RegistryError {
    let (registry, what, host) = (operation.registry.clone(), operation.what.clone(), authority(url));
    let own = host.parse::<RegistryHost>().is_ok_and(|host| host == registry);
    let address = format!("{}://{host}/{}", url.scheme(), if own { "v2/" } else { "" });
    RegistryError::Intercepted { registry, what, host: (!own).then_some(host), address, description }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn web_pages_and_encodings_are_told_from_content() {
        let page = b" \n<!DOCTYPE html><html><head><TITLE lang=en>\n Sign  in </title>";
        for content_type in ["text/html; charset=utf-8", "application/json", ""] {
            let found = describe_interception(content_type, "", page);
            assert_eq!(found.as_deref(), Some("a web page (text/html, title `Sign in`)"));
        }
        assert_eq!(
            describe_interception("text/html", "", b"<p>x").as_deref(),
            Some("a web page (text/html)")
        );
        assert_eq!(
            describe_interception("application/json", "gzip", b"\x1f\x8b").as_deref(),
            Some("Content-Encoding: gzip, which was not asked for")
        );
        for (content_type, encoding, body) in [
            ("text/html", "", &b""[..]),
            ("text/html", "", b"{\"errors\":[]}"),
            ("application/json", "identity", b"{}"),
            ("application/octet-stream", "", b"<x>"),
        ] {
            assert_eq!(describe_interception(content_type, encoding, body), None, "{content_type}");
        }
    }

    #[test]
    fn t84_a_title_is_shown_without_control_characters_and_cut() {
        let page = format!("<html><title>\u{1b}[31m{}\u{e4}</title>", "x".repeat(500));
        let shown = describe_interception("text/html", "", page.as_bytes()).unwrap_or_default();
        assert!(!shown.contains(char::is_control) && shown.len() < 200, "{shown}");
        assert!(describe_interception("text/html", "", b"<html><title>\xff\xfe no end").is_some());
    }
}
