// SPDX-License-Identifier: Apache-2.0
//! The parts of [`crate::fuzz`] that are private to this module.

use camino::Utf8Path;
use http::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};

use crate::registry::auth::auth_file::AuthFile;
use crate::registry::auth::challenge::{Challenge, offers};

pub(crate) fn challenge(bytes: &[u8]) -> bool {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n').take(100) {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    let offers = offers(&headers);
    for offer in &offers {
        let Challenge::Bearer { realm, service, scopes } = offer else { continue };
        assert!(realm.has_host(), "{realm}");
        assert!(service.as_ref().is_none_or(|service| !service.is_empty()));
        assert!(scopes.len() <= 8 && scopes.iter().all(|scope| scope.starts_with("repository:")));
    }
    !offers.is_empty()
}

pub(crate) fn docker_config(bytes: &[u8]) -> bool {
    match AuthFile::parse(Utf8Path::new("config.json"), bytes) {
        Ok(file) => {
            let repository = "team/app".parse().ok();
            for registry in ["docker.io", "registry.example.com:5000", "localhost"] {
                let below = file.credentials_below(registry).map_or(0, |below| below.len());
                let found = matches!(file.credentials(registry, None), Ok(Some(_)));
                assert!(!found || below > 0, "credentials of the registry are among those below it");
                let _ = file.credentials(registry, repository.as_ref());
            }
            true
        }
        Err(error) => {
            let text = error.to_string();
            assert!(text.len() <= 1 << 10 && !text.contains('\u{1b}'), "{text:?}");
            false
        }
    }
}
