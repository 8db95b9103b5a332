// SPDX-License-Identifier: Apache-2.0
//! What a site adds to the Pods of copy Jobs, checked when the configuration is read: the API server would refuse each Job
//! of a wrong value, in the namespaces of others and long after the chart was installed.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::{
    HostAlias, LocalObjectReference, PodDNSConfig, ResourceRequirements, Toleration,
};
use k8s_openapi::apimachinery::pkg::api::resource::Quantity;
use krs_core::registry::ProxyOptions;
use serde::Deserialize;

/// Most labels, annotations, variables, aliases or excepted hosts of one kind.
const MAX_ENTRIES: usize = 64;
/// Most characters of a variable's value.
const MAX_VALUE: usize = 4096;
/// Prefixes of labels and annotations that the importer or Kubernetes writes.
const RESERVED_PREFIXES: [&str; 3] = ["kuberegistrysync.io/", "batch.kubernetes.io/", "kubernetes.io/"];
/// Labels that the importer finds its Jobs by, or Kubernetes a Job's Pods.
const RESERVED: [&str; 4] =
    ["app.kubernetes.io/managed-by", "app.kubernetes.io/component", "controller-uid", "job-name"];

/// Labels that keep the usual service meshes away from Pods: a sidecar would never end, and the Job with it.
pub const NO_SIDECAR_LABELS: [(&str, &str); 2] =
    [("kuma.io/sidecar-injection", "disabled"), ("sidecar.istio.io/inject", "false")];
/// As [`NO_SIDECAR_LABELS`], for meshes that read annotations.
pub const NO_SIDECAR_ANNOTATIONS: [(&str, &str); 2] =
    [("consul.hashicorp.com/connect-inject", "false"), ("linkerd.io/inject", "disabled")];

/// A variable of the environment. It has a value only, and no reference to a Secret: the environment of a process is no
/// place for credentials.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    /// Name of the variable.
    pub name: String,
    /// Value of the variable, as it is.
    #[serde(default)]
    pub value: String,
}

/// A proxy on the way to source registries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Proxy {
    /// `http://host:port` or `https://host:port`, without credentials; empty: none.
    pub url: String,
    /// Hosts, domains and networks that are reached without it.
    pub no_proxy: Vec<String>,
}

impl Proxy {
    /// For the importer's own requests to source registries.
    pub(crate) fn options(&self) -> Option<ProxyOptions> {
        let some = !self.url.is_empty();
        some.then(|| ProxyOptions { url: self.url.clone(), no_proxy: self.no_proxy.clone() })
    }

    /// The variables that name the proxy; `direct` are reached without it, whatever the site says.
    pub(crate) fn variables(&self, direct: &[&str]) -> Vec<Variable> {
        if self.url.is_empty() {
            return Vec::new();
        }
        let hosts =
            self.no_proxy.iter().map(String::as_str).chain(direct.iter().copied()).collect::<Vec<_>>();
        let variable = |name: &str, value: &str| Variable { name: name.to_owned(), value: value.to_owned() };
        vec![
            variable("HTTPS_PROXY", &self.url),
            variable("HTTP_PROXY", &self.url),
            variable("NO_PROXY", &hosts.join(",")),
        ]
    }

    pub(super) fn check(&self) -> Result<(), String> {
        if self.url.is_empty() {
            return Ok(());
        }
        if has_credentials(&self.url) {
            return Err("online.proxy.url holds credentials. The environment of a Pod can be read by everybody \
                who may read Pods in its namespace: let the proxy allow the addresses of this cluster's nodes, or \
                name a proxy of your own here that adds the credentials"
                .to_owned());
        }
        let host = ["http://", "https://"].iter().find_map(|scheme| self.url.strip_prefix(scheme));
        let is_host =
            |host: &str| host.trim_end_matches('/').parse::<krs_core::oci::reference::RegistryHost>().is_ok();
        if !host.is_some_and(is_host) {
            let shown = krs_core::redact::printable(&self.url, 120);
            return Err(format!("online.proxy.url: `{shown}` is no proxy: expected http://host:port"));
        }
        let is_entry = |entry: &String| {
            !entry.is_empty()
                && entry.len() <= 255
                && entry.chars().all(|c| c.is_ascii_alphanumeric() || ".-:/[]*".contains(c))
        };
        bounded("online.proxy.noProxy", self.no_proxy.len())?;
        match self.no_proxy.iter().find(|entry| !is_entry(entry)) {
            Some(entry) => {
                let shown = krs_core::redact::printable(entry, 120);
                Err(format!("online.proxy.noProxy: `{shown}` is no host, domain or network"))
            }
            None => Ok(()),
        }
    }
}

/// Whether a text is an address with a user in it: `scheme://user@host`.
fn has_credentials(text: &str) -> bool {
    let after = text.split("://").skip(1);
    after.into_iter().any(|rest| rest.split(['/', '?', '#']).next().is_some_and(|host| host.contains('@')))
}

fn bounded(field: &str, count: usize) -> Result<(), String> {
    if count > MAX_ENTRIES {
        return Err(format!("{field} has {count} entries, at most {MAX_ENTRIES} are allowed"));
    }
    Ok(())
}

/// The copy Jobs.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct JobConfig {
    /// Image with `krs-importer` and `skopeo`: the importer's own, best by digest.
    pub image: String,
    /// When the image is pulled.
    #[serde(default)]
    pub image_pull_policy: Option<String>,
    /// Secrets for pulling the image, in the namespace of the set.
    #[serde(default)]
    pub image_pull_secrets: Vec<LocalObjectReference>,
    /// Resources of the container.
    #[serde(default)]
    pub resources: Option<ResourceRequirements>,
    /// Nodes that Jobs may run on.
    #[serde(default)]
    pub node_selector: BTreeMap<String, String>,
    /// Taints that Jobs tolerate.
    #[serde(default)]
    pub tolerations: Vec<Toleration>,
    /// Priority of the Jobs' Pods.
    #[serde(default)]
    pub priority_class_name: Option<String>,
    /// What the runners log, as `--log` says it; absent: `info`.
    #[serde(default)]
    pub log: Option<String>,
    /// Labels of the Jobs, beside those that the importer needs.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// Annotations of the Jobs.
    #[serde(default)]
    pub annotations: BTreeMap<String, String>,
    /// Labels of their Pods.
    #[serde(default)]
    pub pod_labels: BTreeMap<String, String>,
    /// Annotations of their Pods.
    #[serde(default)]
    pub pod_annotations: BTreeMap<String, String>,
    /// Variables of the environment of their container.
    #[serde(default)]
    pub extra_env: Vec<Variable>,
    /// Most space on a node for layers that a Job makes of patches; absent: as the node has it.
    #[serde(default)]
    pub scratch_size: Option<Quantity>,
    /// Names of hosts for a site without DNS.
    #[serde(default)]
    pub host_aliases: Vec<HostAlias>,
    /// How names are resolved, beside what the cluster says.
    #[serde(default)]
    pub dns_config: Option<PodDNSConfig>,
    /// Whether the Pods name the user and groups that they run with; not where the platform assigns them.
    #[serde(default = "set_ids", rename = "setIDs")]
    pub set_ids: bool,
    /// Most copy Jobs of all sets at once.
    #[serde(default = "max_jobs")]
    pub max: usize,
}

const fn max_jobs() -> usize {
    8
}

const fn set_ids() -> bool {
    true
}

impl JobConfig {
    /// Most bytes for layers that a Job makes of patches; `None`: what is free on the node. Kubernetes would not see the space,
    /// because the files have no names.
    pub(crate) fn scratch_limit(&self) -> Option<u64> {
        self.scratch_size.as_ref().and_then(|Quantity(size)| bytes(size))
    }
}

/// The bytes of a size such as `20Gi`; `None` if it is none.
fn bytes(size: &str) -> Option<u64> {
    let number = size.trim_end_matches(|c: char| "KMGTik".contains(c));
    let factor = match size.strip_prefix(number)? {
        "" => 1,
        "k" => 1000,
        "M" => 1000_u64.pow(2),
        "G" => 1000_u64.pow(3),
        "T" => 1000_u64.pow(4),
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        "Ti" => 1 << 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(factor).filter(|bytes| *bytes > 0)
}

/// Refuses what the API server or the importer itself could not work with.
pub(super) fn check(jobs: &JobConfig) -> Result<(), String> {
    for (field, pairs, are_labels) in [
        ("jobs.labels", &jobs.labels, true),
        ("jobs.podLabels", &jobs.pod_labels, true),
        ("jobs.annotations", &jobs.annotations, false),
        ("jobs.podAnnotations", &jobs.pod_annotations, false),
    ] {
        bounded(field, pairs.len())?;
        for (key, value) in pairs {
            let shown = krs_core::redact::printable(key, 120);
            if RESERVED.contains(&key.as_str())
                || RESERVED_PREFIXES.iter().any(|prefix| key.starts_with(prefix))
            {
                return Err(format!("{field}: `{shown}` is written by the importer or by Kubernetes"));
            }
            if !is_key(key) {
                return Err(format!("{field}: `{shown}` is no key of a label or an annotation"));
            }
            let is_acceptable = if are_labels { is_label_value(value) } else { value.len() <= MAX_VALUE };
            if !is_acceptable {
                return Err(format!("{field}: the value of `{shown}` is not acceptable"));
            }
        }
    }
    bounded("jobs.extraEnv", jobs.extra_env.len())?;
    for variable in &jobs.extra_env {
        check_variable("jobs.extraEnv", variable)?;
    }
    if let Some(Quantity(size)) = &jobs.scratch_size
        && bytes(size).is_none()
    {
        let shown = krs_core::redact::printable(size, 60);
        return Err(format!("jobs.scratchSize: `{shown}` is no size, for example 20Gi"));
    }
    bounded("jobs.hostAliases", jobs.host_aliases.len())?;
    for alias in &jobs.host_aliases {
        if alias.ip.parse::<std::net::IpAddr>().is_err() {
            let shown = krs_core::redact::printable(&alias.ip, 120);
            return Err(format!("jobs.hostAliases: `{shown}` is no address"));
        }
    }
    Ok(())
}

fn check_variable(field: &str, variable: &Variable) -> Result<(), String> {
    let name = &variable.name;
    let shown = krs_core::redact::printable(name, 120);
    let starts = name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_');
    if !starts || name.len() > 128 || !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        return Err(format!("{field}: `{shown}` is no name of a variable"));
    }
    if name.to_ascii_lowercase().ends_with("_proxy") {
        return Err(format!("{field}: `{shown}`: a proxy is set by online.proxy"));
    }
    if variable.value.len() > MAX_VALUE {
        return Err(format!("{field}: the value of `{shown}` is longer than {MAX_VALUE} bytes"));
    }
    if has_credentials(&variable.value) {
        return Err(format!(
            "{field}: the value of `{shown}` is an address with credentials, which everybody could read who may read Pods"
        ));
    }
    Ok(())
}

/// A name of at most 63 characters, after an optional DNS name and a slash.
fn is_key(key: &str) -> bool {
    let (prefix, name) = key.split_once('/').map_or((None, key), |(prefix, name)| (Some(prefix), name));
    let is_prefix = |prefix: &str| {
        prefix.len() <= 253
            && prefix.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            })
    };
    prefix.is_none_or(is_prefix) && !name.is_empty() && is_label_value(name)
}

fn is_label_value(value: &str) -> bool {
    let inner = value.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c));
    let ends = |c: char| c.is_ascii_alphanumeric();
    value.len() <= 63 && inner && (value.is_empty() || (value.starts_with(ends) && value.ends_with(ends)))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::model::config::Config;

    const LEAST: &str = "namespace: n\nallowedDestinations: [edge.local]\nregistry: {host: h}\n";

    fn parse(jobs: &str, online: &str) -> Result<Config, String> {
        let jobs = format!("jobs: {{image: i{}{jobs}}}\n", if jobs.is_empty() { "" } else { ", " });
        Config::parse(&format!("{LEAST}{jobs}online: {{{online}}}\n"))
    }

    #[test]
    fn the_size_of_scratch_space_is_a_number_of_bytes() {
        let limit = |size: &str| parse(&format!("scratchSize: {size}"), "").map(|c| c.jobs.scratch_limit());
        let sizes = [("'7'", 7), ("2k", 2000), ("20Gi", 20 << 30), ("3T", 3_000_000_000_000)];
        for (size, bytes) in sizes {
            assert_eq!(limit(size), Ok(Some(bytes)), "{size}");
        }
        for size in ["0", "Gi", "1.5Gi", "20GB", "99999999Ti"] {
            assert!(limit(&format!("'{size}'")).unwrap_err().contains("is no size"), "{size}");
        }
        assert_eq!(parse("", "").unwrap().jobs.scratch_limit(), None);
    }

    #[test]
    fn what_is_added_to_jobs_is_checked_before_one_is_made() {
        let long = "x".repeat(64);
        for (jobs, message) in [
            ("labels: {app.kubernetes.io/component: x}", "written by the importer"),
            ("podLabels: {kuberegistrysync.io/set-uid: x}", "written by the importer"),
            ("podAnnotations: {batch.kubernetes.io/x: x}", "written by the importer"),
            ("podLabels: {job-name: x}", "written by the importer"),
            ("labels: {'a b': x}", "no key"),
            ("labels: {A.b/c: x}", "no key"),
            ("labels: {a/b/c: x}", "no key"),
            ("labels: {a: 'b c'}", "not acceptable"),
            (&format!("labels: {{a: {long}}}"), "not acceptable"),
            (&format!("annotations: {{{long}: x}}"), "no key"),
            ("extraEnv: [{name: 1a}]", "no name"),
            ("extraEnv: [{name: a, valueFrom: {}}]", "valueFrom"),
            ("extraEnv: [{name: https_proxy, value: 'http://p'}]", "online.proxy"),
            ("hostAliases: [{ip: edge.local, hostnames: [x]}]", "no address"),
        ] {
            let error = parse(jobs, "").unwrap_err();
            assert!(error.contains(message), "{jobs}: {error}");
        }
        let many = (0..65).map(|n| format!("{{name: a{n}}}")).collect::<Vec<_>>().join(", ");
        assert!(parse(&format!("extraEnv: [{many}]"), "").unwrap_err().contains("at most 64"));
        for jobs in [
            "labels: {a.example/b_c: ''}",
            "annotations: {example.com/text: 'any text, with spaces'}",
            "extraEnv: [{name: SSL_CERT_FILE, value: /ca.pem}, {name: _X}]",
        ] {
            parse(jobs, "").unwrap_or_else(|error| panic!("{jobs}: {error}"));
        }
    }

    #[test]
    fn t189_no_credentials_are_put_into_the_environment_of_a_pod() {
        for url in ["http://u:p@proxy:3128", "http://u@proxy:3128", "https://u:p@[fd00::1]:3128/"] {
            let error = parse("", &format!("proxy: {{url: '{url}'}}")).unwrap_err();
            assert!(error.contains("credentials") && !error.contains("u:p"), "{error}");
            let error = parse(&format!("extraEnv: [{{name: X, value: 'a,{url}'}}]"), "").unwrap_err();
            assert!(error.contains("credentials") && !error.contains("u:p"), "{error}");
        }
        for url in
            ["proxy:3128", "socks5://proxy", "http://", "http://a b", "http://proxy:99999", "http://p/x"]
        {
            assert!(
                parse("", &format!("proxy: {{url: '{url}'}}")).unwrap_err().contains("no proxy"),
                "{url}"
            );
        }
        for url in ["", "http://proxy:3128", "https://proxy.example/", "http://[fd00::1]:3128"] {
            parse("", &format!("proxy: {{url: '{url}'}}")).unwrap_or_else(|error| panic!("{url}: {error}"));
        }
        let error = parse("", "proxy: {url: 'http://p', noProxy: ['a,b']}").unwrap_err();
        assert!(error.contains("noProxy"), "{error}");
        // An address of an image by digest is none with credentials.
        parse("extraEnv: [{name: X, value: 'https://edge.local/a@sha256:00'}]", "").unwrap();
    }
}
