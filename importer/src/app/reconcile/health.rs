// SPDX-License-Identifier: Apache-2.0
//! What the outcome of requests says about a registry, apart from what it says about images. Pure.
//!
//! Who is concerned follows from it: that nothing answers concerns everybody who uses the host; what it answers depends on
//! the credentials and CA certificates that were used, and concerns only whoever uses the same.

use std::time::Duration;

use krs_core::oci::reference::RegistryHost;
use krs_core::registry::RegistryError;

/// The health of a registry, as far as some requests tell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Health {
    /// Nothing was sent to it.
    Unknown,
    /// Nothing answered.
    NoAnswer,
    /// It answered that it fails (5xx, a rate limit without a time), or something else answered in its place.
    ServerError,
    /// It answered. What is wrong, if anything, concerns what was asked for, or the credentials.
    Answered,
    /// It answered that it is not to be asked for this time (429 or 503 with `Retry-After`).
    RateLimited(Duration),
}

impl Health {
    /// What a failed request to `expected` says.
    pub(super) fn of(error: &RegistryError, expected: &RegistryHost) -> Self {
        use RegistryError as E;
        match error {
            // A token server that does not answer is not the registry.
            E::Unavailable { status: None, registry, .. } if registry == expected => Self::NoAnswer,
            E::RateLimited { requested: Some(time), .. } => Self::RateLimited(*time),
            E::Unavailable { .. } | E::Intercepted { .. } | E::RateLimited { .. } => Self::ServerError,
            E::DeniedAddress { .. }
            | E::Keychain(_)
            | E::Certificate { .. }
            | E::Foreign { .. }
            | E::Sink { .. }
            | E::Source { .. } => Self::Unknown,
            // A certificate that is not trusted is an answer of the host too.
            E::Tls { .. }
            | E::PlainHttp { .. }
            | E::Unauthorized { .. }
            | E::Forbidden { .. }
            | E::NotFound { .. }
            | E::Content { .. }
            | E::OtherDigest { .. }
            | E::TooLarge { .. }
            | E::Protocol { .. }
            | E::Refused { .. }
            | E::Denied { .. }
            | E::Full { .. }
            | E::Redirect { .. }
            | E::Realm { .. } => Self::Answered,
        }
    }

    /// What several requests say together: one answer is enough, and a time to wait counts before all others.
    pub(super) fn of_all(all: impl IntoIterator<Item = Self>) -> Self {
        all.into_iter().max().unwrap_or(Self::Unknown)
    }
}

/// What counts for a circuit breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Counts {
    /// A failure.
    Failed,
    /// The end of all failures.
    Answered,
    /// No request before this time has passed; neither a failure nor the end of them.
    Wait(Duration),
    /// It says nothing about the host.
    Nothing,
}

/// What the outcome of a check counts for the host, and for the credentials and CA certificates that it was made with.
/// `reached` is what the first request says, `images` what those about images say (absent: there were none).
pub(super) const fn judge(reached: Health, images: Option<Health>) -> (Counts, Counts) {
    let own = match (reached, images) {
        (Health::NoAnswer | Health::Unknown, _) => Counts::Nothing,
        (Health::RateLimited(time), _) | (_, Some(Health::RateLimited(time))) => Counts::Wait(time),
        (Health::ServerError, _) | (_, Some(Health::ServerError | Health::NoAnswer)) => Counts::Failed,
        (Health::Answered, _) => Counts::Answered,
    };
    let host = match reached {
        Health::NoAnswer => Counts::Failed,
        Health::Unknown => Counts::Nothing,
        Health::ServerError | Health::Answered | Health::RateLimited(_) => Counts::Answered,
    };
    (host, own)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t186_only_a_host_without_answer_counts_for_all_and_retry_after_is_a_time_of_its_own() {
        use Counts as C;
        use Health as H;
        let minute = Duration::from_secs(60);
        let table = [
            // What reaching it says, what the images say: what counts for the host, and for the credentials.
            (H::NoAnswer, None, C::Failed, C::Nothing),
            (H::Unknown, None, C::Nothing, C::Nothing),
            // 502 of a proxy in front of it; TLS failures, 401, 403.
            (H::ServerError, None, C::Answered, C::Failed),
            (H::Answered, None, C::Answered, C::Answered),
            (H::RateLimited(minute), None, C::Answered, C::Wait(minute)),
            (H::Answered, Some(H::Answered), C::Answered, C::Answered),
            (H::Answered, Some(H::ServerError), C::Answered, C::Failed),
            (H::Answered, Some(H::NoAnswer), C::Answered, C::Failed),
            (H::Answered, Some(H::RateLimited(minute)), C::Answered, C::Wait(minute)),
            (H::Answered, Some(H::Unknown), C::Answered, C::Answered),
        ];
        for (reached, images, host, own) in table {
            assert_eq!(judge(reached, images), (host, own), "{reached:?} {images:?}");
        }
    }

    #[test]
    fn t186_what_an_error_says_about_the_registry() {
        let expected = "edge.local:5000".parse::<RegistryHost>().unwrap();
        let unavailable = |registry: &str, status| RegistryError::Unavailable {
            registry: registry.parse().unwrap(),
            what: String::new(),
            detail: String::new(),
            status,
            hint: None,
            source: None,
        };
        let limited = |time| RegistryError::RateLimited {
            registry: expected.clone(),
            what: String::new(),
            host: String::new(),
            detail: String::new(),
            requested: time,
            left: Duration::ZERO,
            optional: false,
        };
        let refused = |status| RegistryError::Refused {
            registry: expected.clone(),
            what: String::new(),
            status,
            detail: String::new(),
        };
        let tls = RegistryError::Tls {
            host: "edge.local:5000".to_owned(),
            detail: String::new(),
            hint: None,
            source: None,
        };
        let minute = Duration::from_secs(60);
        let table = [
            (unavailable("edge.local:5000", None), Health::NoAnswer),
            (unavailable("auth.local", None), Health::ServerError),
            (unavailable("edge.local:5000", Some(503)), Health::ServerError),
            (limited(Some(minute)), Health::RateLimited(minute)),
            (limited(None), Health::ServerError),
            (refused(400), Health::Answered),
            (tls, Health::Answered),
            (RegistryError::NotFound { what: String::new(), detail: String::new() }, Health::Answered),
        ];
        for (error, health) in table {
            assert_eq!(Health::of(&error, &expected), health, "{error:?}");
        }
    }

    #[test]
    fn one_answer_is_enough_and_a_time_to_wait_counts_before_it() {
        let minute = Duration::from_secs(60);
        assert_eq!(
            Health::of_all([Health::NoAnswer, Health::Answered, Health::ServerError]),
            Health::Answered
        );
        assert_eq!(Health::of_all([Health::NoAnswer, Health::ServerError]), Health::ServerError);
        let limited = [Health::Answered, Health::RateLimited(minute), Health::RateLimited(minute * 2)];
        assert_eq!(Health::of_all(limited), Health::RateLimited(minute * 2));
        assert_eq!(Health::of_all([]), Health::Unknown);
    }
}
