// SPDX-License-Identifier: Apache-2.0
//! Lists that a registry sends in pages (`Link`, RFC 8288).

use http::header::LINK;
use url::Url;

use crate::registry::auth::context::RequestContext;
use crate::registry::failure::outcome::Failure;
use crate::registry::failure::redirect_refusal::RedirectRefusal;
use crate::registry::transport::response::Response;

/// The target of `rel="next"` in a `Link` header (RFC 8288).
fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (target, after) = rest.split_once('<')?.1.split_once('>')?;
        // The parameters end at a comma that is not quoted.
        let mut quoted = false;
        let end = after.find(|c| {
            quoted ^= c == '"';
            c == ',' && !quoted
        });
        let (parameters, following) = after.split_at(end.unwrap_or(after.len()));
        let is_next = parameters.split(';').any(|parameter| {
            let Some((name, value)) = parameter.split_once('=') else { return false };
            let mut relations = value.trim().trim_matches('"').split_ascii_whitespace();
            name.trim().eq_ignore_ascii_case("rel") && relations.any(|one| one.eq_ignore_ascii_case("next"))
        });
        if is_next {
            return Some(target);
        }
        rest = following;
    }
}

/// The next page of a list, which must be at the same registry. A registry behind a proxy may use another name for itself;
/// then the page is requested at the address of the list.
pub(in crate::registry) fn next_page(
    context: &RequestContext<'_>,
    response: &Response,
) -> Result<Option<Url>, Failure> {
    let links = response.headers().get_all(LINK).iter().filter_map(|link| link.to_str().ok());
    let Some(target) = links.filter_map(next_link).next() else { return Ok(None) };
    let refusal = || Failure::from(context.operation.redirect_refused(target, RedirectRefusal::List));
    let url = response.url.join(target).map_err(|_| refusal())?;
    if context.is_of_registry(&url) {
        return Ok(Some(url));
    }
    if url.path() != response.url.path() {
        return Err(refusal());
    }
    let mut own = context.base_url.clone();
    own.set_path(url.path());
    own.set_query(url.query());
    Ok(Some(own))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_page_is_found_however_the_link_is_written() {
        for (header, next) in [
            ("</v2/a/tags/list?n=2&last=b>; rel=\"next\"", Some("/v2/a/tags/list?n=2&last=b")),
            ("</p>;rel=next", Some("/p")),
            ("</p> ; title=\"a, b\" ; REL=\"Next\"", Some("/p")),
            ("</first>; rel=\"first\", </p?x=1,2>; rel=\"prev next\"", Some("/p?x=1,2")),
            ("</p>; rel=\"prev\"", None),
            ("</p>; title=\"rel=next\"", None),
            ("</p", None),
            ("", None),
        ] {
            assert_eq!(next_link(header), next, "{header}");
        }
    }
}
