// SPDX-License-Identifier: Apache-2.0
//! How a registry requests authentication (`WWW-Authenticate`).

use http::HeaderMap;
use http::header::WWW_AUTHENTICATE;
use http_auth::{ChallengeParser, ChallengeRef};
use url::Url;

/// Longest header that is read, in bytes.
const MAX_HEADER: usize = 8 << 10;

/// Most scopes of a challenge that are requested, and longest one, in bytes.
const MAX_SCOPES: usize = 8;
const MAX_SCOPE: usize = 1024;

/// The authentication that a registry requires.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(in crate::registry) enum Challenge {
    /// User name and password.
    Basic,
    /// A token of a token server.
    Bearer {
        /// Where to get it.
        realm: Url,
        /// The name of the registry at the token server (`service`).
        service: Option<String>,
        /// Access to repositories that the registry wants for this request. Some registries use other names there than in
        /// their paths.
        scopes: Vec<String>,
    },
}

impl Challenge {
    /// The same challenge without its scopes, for another request.
    pub(in crate::registry) fn without_scopes(self) -> Self {
        match self {
            Self::Basic => Self::Basic,
            Self::Bearer { realm, service, .. } => Self::Bearer { realm, service, scopes: Vec::new() },
        }
    }
}

/// The supported challenges, the best first: a token if possible, because then only the token server gets the
/// password. They may be in one header or in several.
pub(in crate::registry) fn offers(headers: &HeaderMap) -> Vec<Challenge> {
    let (mut offers, mut basic) = (Vec::new(), false);
    for value in headers.get_all(WWW_AUTHENTICATE) {
        let Some(text) = value.to_str().ok().filter(|text| text.len() <= MAX_HEADER) else { continue };
        for challenge in ChallengeParser::new(text).map_while(Result::ok) {
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                offers.extend(parse_bearer(&challenge));
            }
            basic |= challenge.scheme.eq_ignore_ascii_case("basic");
        }
    }
    offers.extend(basic.then_some(Challenge::Basic));
    offers
}

/// Only reading and writing repositories: nothing else is ever needed, so no token should allow it.
fn is_repository_access(scope: &str) -> bool {
    let Some((name, actions)) = scope.strip_prefix("repository:").and_then(|rest| rest.rsplit_once(':'))
    else {
        return false;
    };
    !name.is_empty()
        && scope.len() <= MAX_SCOPE
        && actions.split(',').all(|action| matches!(action, "pull" | "push"))
}

fn parse_bearer(challenge: &ChallengeRef<'_>) -> Option<Challenge> {
    let parameter = |name: &str| {
        let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_unescaped())
    };
    let realm = parameter("realm")?.parse::<Url>().ok().filter(Url::has_host)?;
    let scopes = parameter("scope").unwrap_or_default();
    let scopes = scopes.split_ascii_whitespace().filter(|scope| is_repository_access(scope));
    let scopes = scopes.take(MAX_SCOPES).map(str::to_owned).collect();
    Some(Challenge::Bearer {
        realm,
        service: parameter("service").filter(|service| !service.is_empty()),
        scopes,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn offered(values: &[&str]) -> Vec<Challenge> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        offers(&headers)
    }

    #[test]
    fn a_token_is_preferred_to_a_password() {
        let bearer = r#"Bearer realm="https://auth.docker.io/token",service="registry.docker.io",scope="repository:b:pull registry:catalog:* repository:b:delete""#;
        let expected = Challenge::Bearer {
            realm: "https://auth.docker.io/token".parse().unwrap(),
            service: Some("registry.docker.io".to_owned()),
            scopes: vec!["repository:b:pull".to_owned()],
        };
        assert_eq!(offered(&[bearer]), std::slice::from_ref(&expected));
        let both = [expected, Challenge::Basic];
        assert_eq!(offered(&["Basic realm=\"x\"", bearer]), both);
        assert_eq!(offered(&[&format!("Basic realm=\"x\", {bearer}")]), both);
        assert_eq!(offered(&[&format!("{bearer}, Basic realm=\"x\"")]), both);
        assert_eq!(offered(&["Negotiate", "NTLM", bearer, "Basic realm=\"x\""]), both);
        assert_eq!(offered(&[&format!("Negotiate, {bearer}, Basic realm=\"x\"")]), both);
        assert_eq!(offered(&["basic realm=\"x\""]), [Challenge::Basic]);
        assert_eq!(offered(&["Basic"]), [Challenge::Basic]);
    }

    #[test]
    fn unsupported_challenges_are_skipped() {
        for bad in
            ["", "Negotiate", "Bearer", "Bearer realm=\"x\"", "Bearer realm=\"data:,x\"", "\"\"\"", "=,=,"]
        {
            assert_eq!(offered(&[bad]), [], "{bad}");
        }
        assert_eq!(offered(&[&format!("Bearer realm=\"https://a/{}\"", "x".repeat(9000))]), []);
    }
}
