// SPDX-License-Identifier: Apache-2.0
//! Layers that are stored outside of registries (`urls` of a descriptor; OCI image-spec, "Non-Distributable Layers").
//!
//! The author of the manifest chose the address, so that a third party makes this machine send the request: HTTPS only,
//! without any credentials, to public addresses only, checked where the connection is made and after each redirect, unless
//! the host is allowed. Behind a proxy the address is not visible, so that the host has to be allowed too. (T-95)

use bytes::Buf as _;
use http::header::{LOCATION, RANGE};
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use url::Url;

use crate::error::{self, Classify, ErrorKind};
use crate::oci::digest::{ContentMismatch, Digest, Hasher, check};
use crate::oci::reference::RegistryHost;
use crate::redact::{SafeUrl, printable};
use crate::registry::auth::keychain::Keychain;
use crate::registry::client::Client;
use crate::registry::client::options::ClientOptions;
use crate::registry::content::blob::io::BlobSink;
use crate::registry::failure::error::RegistryError;
use crate::registry::failure::outcome::Failure;
use crate::registry::host::{HTTPS_PORT, authority, is_listed};
use crate::registry::limits::importance::Importance;
use crate::registry::limits::lane::Lane;
use crate::registry::limits::retry::MIN_PROGRESS;
use crate::registry::transport::deny_list::DenyList;
use crate::registry::transport::operation::Operation;
use crate::registry::transport::public_address::not_public;
use crate::registry::transport::redirect::MAX_HOPS;
use crate::registry::transport::rejection::rate_limit_failure;
use crate::registry::transport::response::Response;

/// Longest address of a redirect, in bytes.
const MAX_URL: usize = 16 << 10;

/// Why nothing is downloaded from an address.
#[derive(Debug)]
enum Refusal {
    /// No option can allow it.
    Never(&'static str),
    /// No option can allow the target of its redirect.
    Redirect(String),
    /// Allowing the host would permit it.
    NotAllowed { host: String, reason: String },
    /// The server or the network failed.
    Registry(RegistryError),
}

impl Refusal {
    /// The same for an address that another one redirected to.
    fn after_redirect_to(self, target: &Url) -> Self {
        let shown = printable(&SafeUrl::new(target.clone()).to_string(), 200);
        match self {
            Self::Never(reason) => Self::Redirect(format!("it redirects to {shown}: {reason}")),
            Self::NotAllowed { host, reason } => {
                Self::NotAllowed { host, reason: format!("it redirects to {shown}: {reason}") }
            }
            other => other,
        }
    }
}

/// Downloads layers from addresses outside of registries. Cheap to clone.
#[derive(Debug, Clone)]
pub struct ForeignLayers {
    /// For hosts that are allowed: any address, through a proxy if one is set.
    allowed: Client,
    /// For all others: public addresses only, and no proxy.
    checked: Client,
    hosts: Vec<RegistryHost>,
    proxied: bool,
}

impl ForeignLayers {
    /// Uses the limits of `client`, but none of its credentials. `hosts` may be at any address; a name without a port
    /// is allowed with the port of HTTPS.
    ///
    /// # Errors
    /// A CA certificate that cannot be used.
    pub fn new(client: &Client, hosts: &[RegistryHost]) -> Result<Self, RegistryError> {
        let options = client.options();
        let by_environment = options.proxies && proxy_is_set(|name| std::env::var(name).ok());
        let proxied = options.proxy.is_some() || by_environment;
        Self::with_proxy(client, hosts, proxied)
    }

    pub(in crate::registry) fn with_proxy(
        client: &Client,
        hosts: &[RegistryHost],
        proxied: bool,
    ) -> Result<Self, RegistryError> {
        let own = client.options();
        let options = ClientOptions {
            keychain: Keychain::empty(),
            certs_dirs: Vec::new(),
            ca_certs: Vec::new(),
            identities: Vec::new(),
            plain_http: Vec::new(),
            insecure: Vec::new(),
            realm_hosts: Vec::new(),
            ..own.clone()
        };
        let checked = ClientOptions { deny_list: Some(DenyList::new(not_public)), ..options.clone() };
        Ok(Self {
            allowed: client.with_options(options)?,
            checked: client.with_options(checked)?,
            hosts: hosts.to_vec(),
            proxied,
        })
    }

    /// Downloads the rest of a blob, after the bytes in `hashed`, from the first of `urls` that has it.
    ///
    /// # Errors
    /// [`RegistryError::Foreign`] says what happened at each address, [`RegistryError::Sink`] if `sink` failed.
    pub async fn blob(
        &self,
        urls: &[String],
        digest: &Digest,
        size: u64,
        hashed: &Hasher,
        sink: &mut dyn BlobSink,
    ) -> Result<(), RegistryError> {
        let (mut attempts, mut hosts, mut kinds) = (Vec::new(), Vec::new(), Vec::new());
        for text in urls {
            let mut hasher = if hashed.bytes() < size { hashed.clone() } else { Hasher::new() };
            let shown = text
                .parse::<Url>()
                .map_or_else(|_| printable(text, 100), |url| SafeUrl::new(url).to_string());
            let (reason, kind) = match self.download_from(text, (digest, size), &mut hasher, sink).await {
                Ok(()) => return Ok(()),
                Err(Refusal::Registry(error @ RegistryError::Sink { .. })) => return Err(error),
                Err(Refusal::Registry(error)) => (error::chain(&error), error.kind()),
                Err(Refusal::Never(reason)) => (reason.to_owned(), ErrorKind::Trust),
                Err(Refusal::Redirect(reason)) => (reason, ErrorKind::Trust),
                Err(Refusal::NotAllowed { host, reason }) => {
                    if !hosts.contains(&host) {
                        hosts.push(host);
                    }
                    (reason, ErrorKind::Trust)
                }
            };
            attempts.push(format!("{}: {}", printable(&shown, 200), printable(&reason, 400)));
            kinds.push(kind);
        }
        // Failures that a retry may repair come first, then those that a flag allows.
        let kind = [ErrorKind::Unavailable, ErrorKind::Trust].into_iter().find(|kind| kinds.contains(kind));
        let kind = kind.or_else(|| kinds.first().copied()).unwrap_or(ErrorKind::Incomplete);
        Err(RegistryError::Foreign { digest: *digest, attempts: attempts.join("; "), hosts, kind })
    }

    async fn download_from(
        &self,
        text: &str,
        blob: (&Digest, u64),
        hasher: &mut Hasher,
        sink: &mut dyn BlobSink,
    ) -> Result<(), Refusal> {
        let url = text.parse::<Url>().map_err(|_| Refusal::Never("it is not a URL"))?;
        let mut attempts = self.checked.shared.retries.attempts(Importance::Required);
        loop {
            let before = hasher.bytes();
            let failure = match self.attempt(&url, blob, hasher, sink).await {
                Ok(()) => return Ok(()),
                Err(Outcome::Refused(refusal)) => return Err(refusal),
                Err(Outcome::Failed(failure)) => failure,
            };
            if hasher.bytes() >= before.saturating_add(MIN_PROGRESS) {
                attempts.record_progress();
            }
            attempts.wait_after(failure).await.map_err(|error| self.as_refusal(error))?;
        }
    }

    /// An address that was refused where the connection was made is allowed by a flag.
    fn as_refusal(&self, error: RegistryError) -> Refusal {
        match error {
            RegistryError::DeniedAddress { host, source, .. } => {
                Refusal::NotAllowed { host, reason: source.to_string() }
            }
            other => Refusal::Registry(other),
        }
    }

    async fn attempt(
        &self,
        url: &Url,
        (digest, size): (&Digest, u64),
        hasher: &mut Hasher,
        sink: &mut dyn BlobSink,
    ) -> Result<(), Outcome> {
        let mut headers = HeaderMap::new();
        let offset = hasher.bytes();
        if offset > 0 {
            let range = HeaderValue::from_str(&format!("bytes={offset}-")).ok();
            headers.extend(range.map(|range| (RANGE, range)));
        }
        let (mut response, registry) = self.get(url, digest, &headers).await?;
        let operation = download(&registry, digest);
        let wrong = |hasher: &mut Hasher, source| {
            *hasher = Hasher::new();
            Failure::retryable(RegistryError::Content { what: operation.what.clone(), source })
        };
        let mut skip = match response.status() {
            StatusCode::OK => offset,
            StatusCode::PARTIAL_CONTENT
                if response.content_range(size).is_some_and(|(first, _)| first == offset) =>
            {
                0
            }
            _ => return Err(rejected(&operation, &response, hasher).into()),
        };
        while let Some(mut chunk) = response.chunk(&operation).await? {
            let known = usize::try_from(skip).unwrap_or(usize::MAX).min(chunk.len());
            chunk.advance(known);
            skip -= known as u64;
            let at = hasher.bytes();
            if chunk.len() as u64 > size - at {
                let source = ContentMismatch::Size { digest: *digest, expected: size, got: size + 1 };
                let page = response.intercepted_unread(&operation);
                return Err(page.unwrap_or_else(|| wrong(hasher, source)).into());
            }
            if !chunk.is_empty() {
                hasher.update(&chunk);
                sink.write_at(at, &chunk)
                    .map_err(|source| Failure::from(RegistryError::Sink { digest: *digest, source }))?;
            }
        }
        let got = hasher.bytes();
        let checked = check(hasher.clone(), *digest, size);
        if let Some(page) = checked.as_ref().err().and_then(|_| response.intercepted_unread(&operation)) {
            *hasher = Hasher::new();
            return Err(page.into());
        }
        if got < size {
            let detail = format!("the transfer ended after {got} of {size} bytes");
            return Err(Failure::retryable(operation.unavailable(detail)).into());
        }
        Ok(checked.map_err(|source| wrong(hasher, source))?)
    }

    /// Requests the address, and wherever it redirects to.
    async fn get(
        &self,
        url: &Url,
        digest: &Digest,
        headers: &HeaderMap,
    ) -> Result<(Response, RegistryHost), Outcome> {
        let mut at = url.clone();
        for hop in 0..=MAX_HOPS {
            let of_hop = |refusal: Refusal| if hop > 0 { refusal.after_redirect_to(&at) } else { refusal };
            let (client, host) = self.client_for(&at).map_err(of_hop)?;
            let response = client
                .shared
                .transport
                .send(&download(&host, digest), &Method::GET, &at, headers.clone(), None)
                .await?;
            let redirect = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(location) = response.header(LOCATION).filter(|_| redirect) else {
                return Ok((response, host));
            };
            let target = (location.len() <= MAX_URL).then(|| at.join(location).ok()).flatten();
            at = target.ok_or(Refusal::Never("it redirects to what is not a URL"))?;
        }
        Err(Refusal::Never("it redirects more often than is followed").into())
    }

    /// The client that may request the address.
    fn client_for(&self, url: &Url) -> Result<(&Client, RegistryHost), Refusal> {
        if url.scheme() != "https" {
            return Err(Refusal::Never("only https is used"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(Refusal::Never("the URL carries credentials"));
        }
        let host =
            authority(url).parse::<RegistryHost>().map_err(|_| Refusal::Never("its host is not valid"))?;
        if is_listed(&self.hosts, &host, HTTPS_PORT) {
            return Ok((&self.allowed, host));
        }
        if self.proxied {
            let reason = "a proxy is set, behind which the address of the host cannot be checked".to_owned();
            return Err(Refusal::NotAllowed { host: host.to_string(), reason });
        }
        Ok((&self.checked, host))
    }
}

/// The outcome of a failed attempt.
enum Outcome {
    Refused(Refusal),
    Failed(Failure),
}

impl From<Refusal> for Outcome {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<Failure> for Outcome {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn download<'a>(host: &'a RegistryHost, digest: &Digest) -> Operation<'a> {
    let what = format!("foreign layer {digest}");
    Operation { registry: host, what, lane: Lane::Requests, importance: Importance::Required }
}

/// The error for a status without content. No credentials are involved.
fn rejected(operation: &Operation<'_>, response: &Response, hasher: &mut Hasher) -> Failure {
    let (registry, what) = (operation.registry.clone(), operation.what.clone());
    let status = response.status();
    if let Some(pause) = response.pause {
        return rate_limit_failure(pause, operation, &response.url, String::new());
    }
    match status.as_u16() {
        404 | 410 => RegistryError::NotFound { what, detail: format!(": HTTP status {status}") }.into(),
        408 | 500..=599 => Failure::retryable(operation.unavailable(format!("HTTP status {status}"))),
        206 | 416 => {
            // The rest is not available alone.
            *hasher = Hasher::new();
            Failure::retryable(operation.invalid_response("it does not deliver the range that was asked for"))
        }
        status => RegistryError::Refused { registry, what, status, detail: String::new() }.into(),
    }
}

/// Whether requests may leave by a proxy (the variables that `curl` and Go programs heed).
fn proxy_is_set(variable: impl Fn(&str) -> Option<String>) -> bool {
    let value =
        |names: [&str; 2]| names.iter().filter_map(|name| variable(name)).find(|value| !value.is_empty());
    let direct = value(["NO_PROXY", "no_proxy"]).is_some_and(|hosts| hosts.trim() == "*");
    let proxy = value(["HTTPS_PROXY", "https_proxy"]).or_else(|| value(["ALL_PROXY", "all_proxy"]));
    proxy.is_some() && !direct
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::registry::transport::options::ProxyOptions;

    #[test]
    fn t95_behind_a_proxy_only_hosts_that_were_named_are_asked() {
        let client = Client::new(ClientOptions::default()).unwrap();
        let named = ["layers.example".parse::<RegistryHost>().unwrap()];
        for (proxied, host, allowed) in
            [(true, "layers.example", true), (true, "other.example", false), (false, "other.example", true)]
        {
            let layers = ForeignLayers::with_proxy(&client, &named, proxied).unwrap();
            let url = format!("https://{host}/x").parse().unwrap();
            match layers.client_for(&url) {
                Ok(_) => assert!(allowed, "{host}"),
                Err(Refusal::NotAllowed { host: refused_host, reason }) => {
                    assert!(
                        !allowed && refused_host == host && reason.contains("proxy"),
                        "{refused_host}: {reason}"
                    );
                }
                Err(other) => panic!("{host}: {other:?}"),
            }
        }
    }

    #[test]
    fn t95_a_proxy_that_the_options_name_is_one_too() {
        let proxy = ProxyOptions { url: "http://proxy.example:3128".to_owned(), no_proxy: Vec::new() };
        let options = ClientOptions { proxies: false, proxy: Some(proxy), ..ClientOptions::default() };
        let layers = ForeignLayers::new(&Client::new(options).unwrap(), &[]).unwrap();
        let url = "https://layers.example/x".parse().unwrap();
        assert!(matches!(layers.client_for(&url), Err(Refusal::NotAllowed { .. })));
    }

    #[test]
    fn t95_a_proxy_is_known_by_the_usual_variables() {
        let set = |pairs: &[(&str, &str)]| {
            proxy_is_set(|name| {
                pairs.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(set(&[("https_proxy", "http://p:3128")]) && set(&[("ALL_PROXY", "socks5://p")]));
        assert!(set(&[("HTTPS_PROXY", "http://p:3128"), ("NO_PROXY", "localhost,.corp")]));
        assert!(!set(&[]) && !set(&[("HTTPS_PROXY", "")]) && !set(&[("http_proxy", "http://p:3128")]));
        assert!(!set(&[("HTTPS_PROXY", "http://p:3128"), ("no_proxy", "*")]));
    }
}
