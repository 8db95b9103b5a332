// SPDX-License-Identifier: Apache-2.0
//! The chart's schema and the program agree on every value: what one takes, the other takes too. (T-141)

use krs_importer::model::config::Config;
use krs_importer::model::policy::{AllowList, Destinations};
use regex::Regex;
use serde_json::{Value, json};

use crate::schema;

/// A value of the chart: its path, what somebody writes, and whether it is taken.
pub(crate) const ROWS: &[(&str, &str, bool)] = &[
    ("intake.scanInterval", "5s", true),
    ("intake.scanInterval", "1m30s", true),
    ("intake.scanInterval", "0m30s", true),
    ("intake.scanInterval", "0h0m05s", true),
    ("intake.scanInterval", "0s", false),
    ("intake.scanInterval", "0m0s", false),
    ("intake.scanInterval", "5", false),
    ("intake.scanInterval", "500ms", false),
    ("intake.scanInterval", "5s5m", false),
    ("intake.scanInterval", "99999999999999999999s", false),
    ("intake.keep", "720h", true),
    ("intake.keep", "999999h59m59s", true),
    ("intake.keep", "2592000s", true),
    ("intake.keep", "000001h", true),
    ("intake.keep", "999999h99999999m999999999s", true),
    ("intake.keep", "0h", false),
    ("online.plainHTTP", "source.local:5000", true),
    ("online.plainHTTP", "[fd00::1]:5000", true),
    ("online.plainHTTP", "*.x", false),
    ("online.plainHTTP", "source.local/team", false),
    ("online.plainHTTP", "source.local:0", false),
    ("online.plainHTTP", "source.local:65536", false),
    ("online.plainHTTP", "[::::]:5000", false),
    ("online.plainHTTP", "-x.local", false),
    ("online.plainHTTP", "x..local", false),
    ("online.allowedSources", "*.example.com", true),
    ("online.allowedSources", "docker.io/library", true),
    ("online.allowedSources", "docker.io/a//b", false),
    ("online.allowedSources", "*.*.com", false),
    ("online.allowedSources", "https://docker.io", false),
    ("allowedDestinations", "edge.local:5000/mirror", true),
    ("allowedDestinations", "[::1]", true),
    ("allowedDestinations", "[1:2:3:4:5:6:7:8]:443/a__b/c-d.e_f", true),
    ("allowedDestinations", "edge.local:99999", false),
    ("allowedDestinations", "edge.local/a..b", false),
    ("allowedDestinations", "Edge.local", false),
    ("contentVerifyInterval", "720h", true),
    ("contentVerifyInterval", "", true),
    ("contentVerifyInterval", "0h", false),
    ("log", "info", true),
    ("log", "krs_importer=debug,kube=warn", true),
    ("log", "INFO", true),
    ("log", "3", true),
    ("log", "krs_importer", true),
    ("log", "Krs-Importer::run=,kube=Off,", true),
    ("log", "[HTTP]=trace", true),
    ("log", "info,kube_client[HTTP{http.method=\"GET\"}]=debug", true),
    ("log", "krs_importer=loud", false),
    ("log", "[HTTP=trace", false),
    ("log", "=info", false),
];

/// Whether the value stands in a list.
pub(crate) fn in_list(path: &str) -> bool {
    !path.starts_with("intake.") && !["contentVerifyInterval", "log"].contains(&path)
}

fn schema_takes(path: &str, value: &str) -> bool {
    let schema = schema();
    let mut field = &schema;
    for name in path.split('.') {
        field = &field["properties"][name];
    }
    let field = if in_list(path) { &field["items"] } else { field };
    let field = field["oneOf"].as_array().map_or(field, |ways| {
        // A destination may also be an object that names the namespaces.
        assert_eq!(ways[1]["properties"]["registry"]["pattern"], ways[0]["pattern"], "{path}");
        &ways[0]
    });
    let pattern = field["pattern"].as_str().unwrap_or_else(|| panic!("{path} has no pattern"));
    Regex::new(pattern).unwrap().is_match(value)
}

fn program_takes(path: &str, value: &str) -> bool {
    let mut config = json!({
        "namespace": "krs-system",
        "allowedDestinations": ["edge.local"],
        "registry": {"host": "krs.krs-system.svc:5443"},
        "jobs": {"image": "krs-importer:1"},
    });
    if path == "log" {
        return tracing_subscriber::EnvFilter::try_new(value).is_ok();
    }
    let written = if in_list(path) { json!([value]) } else { json!(value) };
    match path.split_once('.') {
        Some((outer, inner)) => config[outer] = json!({inner: written}),
        None => config[path] = written,
    }
    let Ok(config) = Config::parse(&config.to_string()) else { return false };
    Destinations::parse(&config.allowed_destinations).is_ok()
        && AllowList::parse(&config.online.allowed_sources).is_ok()
}

#[test]
fn t141_the_schema_takes_no_value_that_the_program_exits_on() {
    for (path, value, taken) in ROWS {
        assert_eq!(schema_takes(path, value), *taken, "the schema: {path}: {value}");
        assert_eq!(program_takes(path, value), *taken, "the program: {path}: {value}");
    }
}

/// Numbers as helm hands them over, where Kubernetes takes numbers and texts.
#[test]
fn t141_quantities_may_be_numbers() {
    let jobs = json!({"image": "i", "resources": {"limits": {"cpu": 2, "memory": "1Gi"}},
        "tolerations": [{"key": "k", "operator": "Exists", "tolerationSeconds": 5}]});
    let config: Value =
        json!({"namespace": "n", "allowedDestinations": ["e"], "registry": {"host": "h"}, "jobs": jobs});
    let config = Config::parse(&config.to_string()).unwrap();
    assert_eq!(config.jobs.resources.unwrap().limits.unwrap()["cpu"].0, "2");
}
