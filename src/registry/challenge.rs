// SPDX-License-Identifier: Apache-2.0
//! How a registry asks for a login (`WWW-Authenticate`).

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use http_auth::{ChallengeParser, ChallengeRef};
use url::Url;

/// Longest header that is read, in bytes.
const MAX_HEADER: usize = 8 << 10;

/// What a registry wants with each request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Challenge {
    /// User name and password.
    Basic,
    /// A token of a token server.
    Bearer {
        /// Where to get it.
        realm: Url,
        /// What the registry calls itself there.
        service: Option<String>,
    },
}

/// The challenge to meet: a token where one is asked for, because then the password stays with the token server.
pub(super) fn pick(headers: &HeaderMap) -> Option<Challenge> {
    let mut basic = None;
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let Some(text) = value.to_str().ok().filter(|text| text.len() <= MAX_HEADER) else { continue };
        for challenge in ChallengeParser::new(text).map_while(Result::ok) {
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                if let Some(bearer) = bearer(&challenge) {
                    return Some(bearer);
                }
            } else if challenge.scheme.eq_ignore_ascii_case("basic") {
                basic = Some(Challenge::Basic);
            }
        }
    }
    basic
}

fn bearer(challenge: &ChallengeRef<'_>) -> Option<Challenge> {
    let parameter = |name: &str| {
        let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_unescaped())
    };
    let realm = parameter("realm")?.parse::<Url>().ok().filter(Url::has_host)?;
    Some(Challenge::Bearer { realm, service: parameter("service").filter(|service| !service.is_empty()) })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn picked(values: &[&str]) -> Option<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        pick(&headers)
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let bearer =
            r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="a:b:pull""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.docker.io/token".parse().unwrap(),
            service: Some("registry.docker.io".to_owned()),
        };
        assert_eq!(picked(&[bearer]), Some(expected.clone()));
        assert_eq!(picked(&["Basic realm=\"x\"", bearer]), Some(expected.clone()));
        assert_eq!(picked(&[&format!("Basic realm=\"x\", {bearer}")]), Some(expected));
        assert_eq!(picked(&["basic realm=\"x\""]), Some(Challenge::Basic));
    }

    #[test]
    fn what_cannot_be_met_is_passed_over() {
        for bad in
            ["", "Negotiate", "Bearer", "Bearer realm=\"x\"", "Bearer realm=\"data:,x\"", "\"\"\"", "=,=,"]
        {
            assert_eq!(picked(&[bad]), None, "{bad}");
        }
        assert_eq!(picked(&[&format!("Bearer realm=\"https://a/{}\"", "x".repeat(9000))]), None);
    }
}
