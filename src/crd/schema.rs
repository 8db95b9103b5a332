// SPDX-License-Identifier: Apache-2.0
//! Rules of the schema: expressions for the API server, and the messages that it shares with `krs`.
//!
//! The API server adds up what each expression could cost at most, from the lengths and counts that the schema
//! allows; that is why every text and list has a limit.

use std::time::Duration;

use kube::core::Rule;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

use super::api::{MAX_IMAGES, MAX_PLATFORMS};
use crate::oci::reference::MAX_REFERENCE;

/// The messages for broken rules, of the API server and of `krs`.
pub mod message {
    /// A scheme in `destinationRegistry`.
    pub const DESTINATION_SCHEME: &str =
        "destinationRegistry must not have a scheme: write host[:port][/prefix], without http:// or https://";
    /// `destinationRegistry` is no host, port and path.
    pub const DESTINATION: &str =
        "destinationRegistry must be host[:port][/prefix] in lower case, for example edge.local:5000/mirror";
    /// A scheme in `image`.
    pub const IMAGE_SCHEME: &str = "image must not have a scheme: write it without http:// or https://";
    /// A variable in `image`.
    pub const IMAGE_VARIABLE: &str = "image must not hold a variable: render the file first (kustomize build, helm template, flux envsubst)";
    /// No registry in `image`.
    pub const IMAGE_REGISTRY: &str =
        "image must name its registry, for example docker.io/library/nginx:1.25@sha256:…";
    /// A digest that is not one.
    pub const IMAGE_DIGEST: &str = "the digest of image must be sha256: and 64 lower-case hex digits";
    /// Neither tag nor digest.
    pub const IMAGE_BARE: &str = "image must have a digest (@sha256:…), or at least a tag";
    /// Any other error in `image`.
    pub const IMAGE_NAME: &str =
        "image must be registry/repository[:tag][@sha256:…], repository in lower case";
    /// The same image twice.
    pub const IMAGE_DUPLICATE: &str = "image is listed twice";
    /// Not a Secret's name.
    pub const SECRET_NAME: &str =
        "must be the name of a Secret in the same namespace: lower-case letters, digits, `-` and `.`";
    /// Not a ConfigMap's name.
    pub const CONFIG_MAP_NAME: &str =
        "must be the name of a ConfigMap in the same namespace: lower-case letters, digits, `-` and `.`";
    /// Not a platform.
    pub const PLATFORM: &str = "each platform must be os/architecture[/variant], for example linux/amd64";
    /// A platform twice.
    pub const PLATFORM_DUPLICATE: &str = "platform is listed twice";
    /// Not a repository.
    pub const REPOSITORY: &str = "destinationRepository must be a repository in lower case without registry and tag, for example mirror/nginx";
    /// Not a duration, or out of bounds.
    pub const INTERVAL: &str = "must be a duration from 10s to 8760h, such as 30s, 10m or 1h30m";
    /// Two sources of trusted CA certificates.
    pub const ONE_CA: &str = "set caSecretName or caConfigMapName, not both";
    /// TLS settings beside `plainHTTP`.
    pub const PLAIN_HTTP: &str =
        "plainHTTP uses no TLS: leave out caSecretName, caConfigMapName and insecureSkipVerify";
    /// `parallelism` out of bounds.
    pub const PARALLELISM: &str = "parallelism must be from 1 to 16";
    /// No images, or too many.
    pub const IMAGES: &str = "images must list 1 to 1000 images; divide a longer list into several sets";
}

pub(super) const NO_SCHEME: &str = "!self.contains('://')";
pub(super) const DESTINATION: &str = r"self.contains('://') || self.matches('^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|\\[[0-9a-f:.]+\\])(:[0-9]{1,5})?(/[a-z0-9]+(([.]|_{1,2}|-+)[a-z0-9]+)*)*$')";
pub(super) const NO_VARIABLE: &str = "!self.contains('${') && !self.contains('{{')";
pub(super) const IMAGE_REGISTRY: &str =
    "self.contains('://') || self.startsWith('localhost/') || self.matches('^[^/@]*[.:][^/@]*/')";
pub(super) const IMAGE_DIGEST: &str = "!self.contains('@') || self.matches('^[^@]*@sha256:[0-9a-f]{64}$')";
pub(super) const IMAGE_BARE: &str = "self.contains('@') || self.matches(':[^/:]+$')";
pub(super) const IMAGE_NAME: &str = r"self.contains('://') || self.contains('${') || self.contains('{{') || self.matches('^([a-z0-9]([a-z0-9-]*[a-z0-9])?(\\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*|\\[[0-9a-f:.]+\\])(:[0-9]{1,5})?(/[a-z0-9]+(([.]|_{1,2}|-+)[a-z0-9]+)*)+(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@.*)?$')";
pub(super) const OBJECT_NAME: &str = r"self.matches('^[a-z0-9]([a-z0-9.-]*[a-z0-9])?$')";
pub(super) const PLATFORMS: &str =
    r"self.all(p, p.matches('^[A-Za-z0-9._-]{1,20}/[A-Za-z0-9._-]{1,20}(/[A-Za-z0-9._-]{1,20})?$'))";
pub(super) const REPOSITORY: &str =
    r"self.matches('^[a-z0-9]+(([.]|_{1,2}|-+)[a-z0-9]+)*(/[a-z0-9]+(([.]|_{1,2}|-+)[a-z0-9]+)*)*$')";
pub(super) const INTERVAL: &str = r"self.matches('^([0-9]{1,6}([.][0-9]{1,3})?(ms|s|m|h))+$') && duration(self) >= duration('10s') && duration(self) <= duration('8760h')";
pub(super) const ONE_CA: &str = "!has(self.caSecretName) || !has(self.caConfigMapName)";
pub(super) const PLAIN_HTTP: &str = "!has(self.plainHTTP) || !self.plainHTTP || !(has(self.caSecretName) || has(self.caConfigMapName) || (has(self.insecureSkipVerify) && self.insecureSkipVerify))";

/// A rule with its message, for the derive macro.
pub(super) fn rule(expression: &str, message: &str) -> Rule {
    Rule::new(expression).message(message)
}

/// A list of platforms, each once.
pub(super) fn platforms(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_PLATFORMS,
        "items": { "type": "string", "minLength": 3, "maxLength": 62 },
        "x-kubernetes-list-type": "set",
    })
}

/// A list of references of the spec.
pub(super) fn synchronized_images(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_IMAGES,
        "items": { "type": "string", "maxLength": MAX_REFERENCE },
        "x-kubernetes-list-type": "atomic",
    })
}

/// Adds the status of a set that the importer has not seen yet, which a derive macro cannot express. Without it every GitOps
/// engine takes a new set for ready (T-71).
pub(super) fn unseen(crd: &mut Value) -> Option<()> {
    let status = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/status")?;
    status.as_object_mut()?.insert("default".to_owned(), json!({ "observedGeneration": -1 }));
    Some(())
}

/// Tidies a definition, and adds the limits that a `metav1.Condition` has in Go.
pub(super) fn finish(crd: &mut Value) -> Option<()> {
    let schema = crd.pointer_mut("/spec/versions/0/schema/openAPIV3Schema")?;
    tidy(schema);
    let condition = schema.pointer_mut("/properties/status/properties/conditions/items/properties")?;
    for (field, limit) in [("message", 32768), ("reason", 1024), ("type", 316)] {
        condition.get_mut(field)?.as_object_mut()?.insert("maxLength".to_owned(), json!(limit));
    }
    let status = condition.get_mut("status")?.as_object_mut()?;
    status.insert("enum".to_owned(), json!(["True", "False", "Unknown"]));
    Some(())
}

/// Joins the lines of descriptions, writes integral numbers as integers, and removes `nullable`: the API server treats null
/// as an absent field.
fn tidy(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            if fields.get("nullable") == Some(&Value::Bool(true)) {
                fields.remove("nullable");
            }
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "description" => *text = text.replace('\n', " "),
                    Value::Number(number) => {
                        if let Some(integer) = number.as_f64().filter(|n| n.fract() == 0.0 && n.abs() < 1e9) {
                            #[allow(clippy::cast_possible_truncation)]
                            let integer = integer as i64;
                            *value = json!(integer);
                        }
                    }
                    other => tidy(other),
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(tidy),
        _ => {}
    }
}

/// Reads a duration as Kubernetes writes it, such as `30s`, `10m` or `1h30m`.
///
/// Returns `None` if it is invalid, below 10 s, or above 8760 h (a year).
pub fn interval(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    if text.is_empty() || text.len() > 32 {
        return None;
    }
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at_checked(digits)?;
        let unit = tail.find(|c: char| !c.is_ascii_lowercase()).unwrap_or(tail.len());
        let (unit, tail) = tail.split_at_checked(unit)?;
        let (integer, fraction) = number.split_once('.').map_or((number, None), |(w, f)| (w, Some(f)));
        let integer = (1..=6).contains(&integer.len()).then(|| integer.parse::<u64>().ok()).flatten()?;
        let thousandths = match fraction {
            None => 0,
            Some(f) if (1..=3).contains(&f.len()) => format!("{f:0<3}").parse::<u64>().ok()?,
            Some(_) => return None,
        };
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            _ => return None,
        };
        let part = Duration::from_millis(integer.checked_mul(milliseconds)?)
            + Duration::from_micros(thousandths.checked_mul(milliseconds)?);
        total = total.checked_add(part)?;
        rest = tail;
    }
    (Duration::from_secs(10)..=Duration::from_secs(8760 * 3600)).contains(&total).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn t79_durations_are_read_as_kubernetes_writes_them() {
        for (text, seconds) in [("10s", 10), ("10m", 600), ("1h30m", 5400), ("1.5h", 5400), ("10000ms", 10)] {
            assert_eq!(interval(text), Some(Duration::from_secs(seconds)), "{text}");
        }
        for bad in
            ["", "10", "s", "9s", "8761h", "1d", "-10m", "10 m", "1..5h", "1.2345h", "9999999h", "é", "10mé"]
        {
            assert_eq!(interval(bad), None, "{bad}");
        }
    }
}
