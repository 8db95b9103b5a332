// SPDX-License-Identifier: Apache-2.0
use std::sync::Arc;
use std::time::Duration;

use krs_core::oci::reference::RegistryHost;
use krs_core::progress::Progress;
use krs_core::registry::{Client, ClientOptions, Keychain, RetryPolicy};

use crate::args::RegistryArgs;
use crate::diagnostic::Failure;

/// A client with the credentials of this user, whose retries are shown.
///
/// # Errors
/// Credentials or certificates that cannot be read, or a variable that names no proxy.
pub(super) fn client(args: &RegistryArgs, progress: &Arc<dyn Progress>) -> Result<Client, Failure> {
    client_with(args, Keychain::from_environment(args.authfile.as_deref())?, progress)
}

/// The same with these credentials.
///
/// # Errors
/// Certificates that cannot be read, or a variable that names no proxy.
pub(super) fn client_with(
    args: &RegistryArgs,
    keychain: Keychain,
    progress: &Arc<dyn Progress>,
) -> Result<Client, Failure> {
    let variable = |name: &str| std::env::var(name).ok();
    if let Some(name) = unusable_proxy(variable, !args.plain_http.is_empty()) {
        let message = format!("{name} is not the address of a proxy that krs can use");
        return Err(Failure::usage(message)
            .help("set it to http://HOST:PORT or http://USER:PASSWORD@HOST:PORT, or unset it"));
    }
    let watcher = Arc::clone(progress);
    let defaults = ClientOptions::default();
    let options = ClientOptions {
        keychain,
        ca_files: args.ca_file.clone(),
        plain_http: args.plain_http.clone(),
        insecure: args.insecure_registry.clone(),
        realm_hosts: args.token_server.clone(),
        http_redirects: args.allow_http_redirect.clone(),
        connections_per_host: connections(args.jobs.get(), defaults.connections_per_host),
        bandwidth: args.bandwidth_limit,
        stall_timeout: Duration::from_secs(args.stall_timeout),
        retry: RetryPolicy {
            attempts: args.retries + 1,
            budget: args.retry_budget,
            max_wait: args.max_wait,
            ..RetryPolicy::default()
        },
        notify: Some(Arc::new(move |text: &str| watcher.message(text))),
        ..defaults
    };
    Ok(Client::new(options)?)
}

/// The variable that decides about requests and names no proxy. `ALL_PROXY` decides where there is no other one.
fn unusable_proxy(variable: impl Fn(&str) -> Option<String>, plain_http: bool) -> Option<&'static str> {
    let first = |names: [&'static str; 2]| {
        names.into_iter().find_map(|name| {
            variable(name).filter(|value| !value.trim().is_empty()).map(|value| (name, value))
        })
    };
    let all = || first(["ALL_PROXY", "all_proxy"]);
    let https = first(["HTTPS_PROXY", "https_proxy"]).or_else(all);
    let http = plain_http.then(|| first(["HTTP_PROXY", "http_proxy"]).or_else(all)).flatten();
    [https, http].into_iter().flatten().find(|(_, value)| !is_proxy(value.trim())).map(|(name, _)| name)
}

/// Whether a variable names a proxy: one that does not would be ignored, and the registry reached directly.
fn is_proxy(value: &str) -> bool {
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    let host = rest.rsplit('@').next().unwrap_or_default().trim_end_matches('/').to_ascii_lowercase();
    ["http", "https"].contains(&scheme.to_ascii_lowercase().as_str()) && host.parse::<RegistryHost>().is_ok()
}

/// Jobs that are usual (the default of `--jobs`).
const USUAL_JOBS: usize = 6;

/// Connections to one registry. Who asks for fewer transfers than usual spares the registry, or a link, and does not
/// expect more connections than that for documents either.
fn connections(jobs: usize, usual: usize) -> usize {
    if jobs < USUAL_JOBS { jobs } else { jobs.max(usual) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_proxy_has_a_host_and_perhaps_a_port_and_credentials() {
        for value in
            ["http://proxy:3128", "HTTP://u:p@Proxy.corp:3128/", "10.0.0.1:8080", "proxy", "http://[::1]:8"]
        {
            assert!(is_proxy(value), "{value}");
        }
        for value in ["::nonsense", "socks5://proxy:1080", "http://", "http://proxy:port", "http:/proxy:3128"]
        {
            assert!(!is_proxy(value), "{value}");
        }
    }

    #[test]
    fn a_variable_that_decides_about_requests_names_a_proxy() {
        let [good, socks] = ["http://proxy:3128", "socks5://proxy:1080"];
        let unusable = |set: &[(&str, &str)], plain_http| {
            let variable = |name: &str| {
                set.iter().find(|(other, _)| *other == name).map(|(_, value)| (*value).to_owned())
            };
            unusable_proxy(variable, plain_http)
        };
        assert_eq!(unusable(&[], true), None);
        assert_eq!(unusable(&[("https_proxy", socks)], false), Some("https_proxy"));
        assert_eq!(unusable(&[("ALL_PROXY", socks)], false), Some("ALL_PROXY"));
        assert_eq!(unusable(&[("all_proxy", "::nonsense"), ("HTTPS_PROXY", " ")], false), Some("all_proxy"));
        // Other programs of the machine may use it.
        assert_eq!(unusable(&[("HTTPS_PROXY", good), ("ALL_PROXY", socks)], false), None);
        assert_eq!(unusable(&[("HTTPS_PROXY", good), ("ALL_PROXY", socks)], true), Some("ALL_PROXY"));
        assert_eq!(unusable(&[("HTTPS_PROXY", good), ("HTTP_PROXY", socks)], false), None);
        assert_eq!(unusable(&[("HTTPS_PROXY", good), ("HTTP_PROXY", socks)], true), Some("HTTP_PROXY"));
    }

    #[test]
    fn connections_follow_jobs_both_ways() {
        assert_eq!([1, 5, 6, 8, 20].map(|jobs| connections(jobs, 8)), [1, 5, 8, 8, 20]);
    }
}
