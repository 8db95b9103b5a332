// SPDX-License-Identifier: Apache-2.0
//! The rules of a spec that the API server applies, for use without an API server.

use std::collections::HashSet;
use std::fmt;

use crate::crd::{
    DestinationTls, EdgeImage, EdgeImageSetSpec, MAX_IMAGES, MAX_PLATFORMS, Naming, interval, message,
};
use crate::oci::platform::Platform;
use crate::oci::reference::{Destination, ParseReferenceError, Reference, RegistryHost, RepositoryName, Tag};
use crate::set::model::SetImage;
use crate::set::yaml::characters::unseen;

/// A field of a spec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum SpecField {
    DestinationRegistry,
    DestinationClientSecretName,
    DestinationTls,
    CaSecretName,
    CaConfigMapName,
    Platform(usize),
    Parallelism,
    ResyncInterval,
    VerifyInterval,
    Images,
    Image(usize),
    SourceClientSecretName(usize),
    ImagePlatform(usize, usize),
    DestinationRepository(usize),
}

impl fmt::Display for SpecField {
    /// The field as Kubernetes names it: `spec.images[3].image`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DestinationRegistry => f.write_str("spec.destinationRegistry"),
            Self::DestinationClientSecretName => f.write_str("spec.destinationClientSecretName"),
            Self::DestinationTls => f.write_str("spec.destinationTLS"),
            Self::CaSecretName => f.write_str("spec.destinationTLS.caSecretName"),
            Self::CaConfigMapName => f.write_str("spec.destinationTLS.caConfigMapName"),
            Self::Platform(n) => write!(f, "spec.platforms[{n}]"),
            Self::Parallelism => f.write_str("spec.parallelism"),
            Self::ResyncInterval => f.write_str("spec.resyncInterval"),
            Self::VerifyInterval => f.write_str("spec.verifyInterval"),
            Self::Images => f.write_str("spec.images"),
            Self::Image(i) => write!(f, "spec.images[{i}].image"),
            Self::SourceClientSecretName(i) => write!(f, "spec.images[{i}].sourceClientSecretName"),
            Self::ImagePlatform(i, n) => write!(f, "spec.images[{i}].platforms[{n}]"),
            Self::DestinationRepository(i) => write!(f, "spec.images[{i}].destinationRepository"),
        }
    }
}

/// A rule that a spec breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The field that breaks it.
    pub field: SpecField,
    /// What is wrong.
    pub message: String,
}

/// Checks a spec against every rule of the API server, and parses its images. `line` and `column` of an
/// image are 0.
///
/// `${VAR}` is accepted in `destinationRegistry`, which a GitOps engine may fill in later; nothing that is
/// derived here depends on it.
///
/// # Errors
/// All problems, in the order of the fields.
pub fn check_spec(spec: &EdgeImageSetSpec) -> Result<Vec<SetImage>, Vec<Problem>> {
    let mut problems = Problems(Vec::new());
    let destination = problems.destination(&spec.destination_registry);
    problems.name(SpecField::DestinationClientSecretName, spec.destination_client_secret_name.as_deref());
    if let Some(tls) = &spec.destination_tls {
        problems.tls(tls);
    }
    let platforms = problems.platforms(&spec.platforms, SpecField::Platform);
    if !(1..=16).contains(&spec.parallelism) {
        problems.add(SpecField::Parallelism, message::PARALLELISM);
    }
    for (field, text) in [
        (SpecField::ResyncInterval, &spec.resync_interval),
        (SpecField::VerifyInterval, &spec.verify_interval),
    ] {
        if interval(text).is_none() {
            problems.add(field, message::INTERVAL);
        }
    }
    if spec.images.is_empty() || spec.images.len() > MAX_IMAGES {
        problems.add(SpecField::Images, message::IMAGES);
        return Err(problems.0);
    }
    let mut names = HashSet::new();
    let mut images = Vec::with_capacity(spec.images.len());
    for (i, image) in spec.images.iter().enumerate() {
        if !names.insert(image.image.as_str()) {
            problems.add(SpecField::Image(i), message::IMAGE_DUPLICATE);
        }
        images.extend(problems.image(i, image, spec.naming, destination.as_ref(), &platforms));
    }
    if problems.0.is_empty() { Ok(images) } else { Err(problems.0) }
}

struct Problems(Vec<Problem>);

impl Problems {
    fn add(&mut self, field: SpecField, message: impl Into<String>) {
        self.0.push(Problem { field, message: message.into() });
    }

    /// Reports an invisible character, which no other rule covers. Returns whether there is one.
    fn unseen(&mut self, field: SpecField, text: &str) -> bool {
        unseen(text).map(|message| self.add(field, message)).is_some()
    }

    fn destination(&mut self, text: &str) -> Option<Destination> {
        let field = SpecField::DestinationRegistry;
        if self.unseen(field, text) {
            return None;
        }
        let filled = fill_in(text);
        match filled.parse::<Destination>() {
            Ok(destination) if text.len() <= 255 => (filled == text).then_some(destination),
            Err(ParseReferenceError::Scheme(_)) => {
                self.add(field, message::DESTINATION_SCHEME);
                None
            }
            _ => {
                self.add(field, message::DESTINATION);
                None
            }
        }
    }

    fn tls(&mut self, tls: &DestinationTls) {
        self.name(SpecField::CaSecretName, tls.ca_secret_name.as_deref());
        if let Some(name) = tls.ca_config_map_name.as_deref().filter(|name| !is_object_name(name))
            && !self.unseen(SpecField::CaConfigMapName, name)
        {
            self.add(SpecField::CaConfigMapName, message::CONFIG_MAP_NAME);
        }
        let (secret, config_map) = (tls.ca_secret_name.is_some(), tls.ca_config_map_name.is_some());
        if secret && config_map {
            self.add(SpecField::DestinationTls, message::ONE_CA);
        }
        if tls.plain_http && (secret || config_map || tls.insecure_skip_verify) {
            self.add(SpecField::DestinationTls, message::PLAIN_HTTP);
        }
    }

    fn name(&mut self, field: SpecField, name: Option<&str>) {
        if let Some(name) = name.filter(|name| !is_object_name(name))
            && !self.unseen(field, name)
        {
            self.add(field, message::SECRET_NAME);
        }
    }

    fn platforms(&mut self, texts: &[String], field: impl Fn(usize) -> SpecField) -> Vec<Platform> {
        let mut platforms: Vec<Platform> = Vec::with_capacity(texts.len().min(MAX_PLATFORMS));
        if texts.len() > MAX_PLATFORMS {
            self.add(field(MAX_PLATFORMS), format!("at most {MAX_PLATFORMS} platforms can be chosen"));
            return platforms;
        }
        for (n, text) in texts.iter().enumerate() {
            match text.parse() {
                Ok(platform) if platforms.contains(&platform) => {
                    self.add(field(n), message::PLATFORM_DUPLICATE);
                }
                Ok(platform) => platforms.push(platform),
                Err(_) if self.unseen(field(n), text) => {}
                Err(_) => self.add(field(n), message::PLATFORM),
            }
        }
        platforms.sort();
        platforms
    }

    fn image(
        &mut self,
        i: usize,
        image: &EdgeImage,
        naming: Naming,
        destination: Option<&Destination>,
        platforms: &[Platform],
    ) -> Option<SetImage> {
        self.name(SpecField::SourceClientSecretName(i), image.source_client_secret_name.as_deref());
        let own = self.platforms(&image.platforms, |n| SpecField::ImagePlatform(i, n));
        let given = image.destination_repository.as_deref().map(str::parse::<RepositoryName>);
        if let (Some(Err(_)), Some(text)) = (&given, &image.destination_repository)
            && !self.unseen(SpecField::DestinationRepository(i), text)
        {
            self.add(SpecField::DestinationRepository(i), message::REPOSITORY);
        }
        let reference = match image.image.parse::<Reference>() {
            Ok(reference) => reference,
            Err(error) => {
                if !self.unseen(SpecField::Image(i), &image.image) {
                    self.add(SpecField::Image(i), reference_message(&error));
                }
                return None;
            }
        };
        let repository = match given {
            Some(given) => given.ok()?,
            None => match repository_at_edge(&reference, naming) {
                Ok(repository) => repository,
                Err(error) => {
                    self.add(SpecField::Image(i), format!("{error}; set destinationRepository"));
                    return None;
                }
            },
        };
        if destination.is_some_and(|destination| destination.repository(&repository).is_err()) {
            self.add(
                SpecField::Image(i),
                "the repository at the edge would have more than 255 characters; set a shorter destinationRepository",
            );
        }
        let tag = match (&reference.tag, &reference.digest) {
            (Some(tag), _) => tag.clone(),
            (None, digest) => Tag::of_digest(digest.as_ref()?),
        };
        let platforms = if image.platforms.is_empty() { platforms.to_vec() } else { own };
        Some(SetImage {
            written: image.image.clone(),
            reference,
            platforms,
            repository,
            tag,
            line: 0,
            column: 0,
        })
    }
}

/// The API server's message for the same error, or else the more exact one of the parser.
fn reference_message(error: &ParseReferenceError) -> String {
    match error {
        ParseReferenceError::Scheme(_) => message::IMAGE_SCHEME.to_owned(),
        ParseReferenceError::Variable(_) => message::IMAGE_VARIABLE.to_owned(),
        ParseReferenceError::NoRegistry(_) => message::IMAGE_REGISTRY.to_owned(),
        ParseReferenceError::Digest(_) => message::IMAGE_DIGEST.to_owned(),
        ParseReferenceError::Bare(_) => message::IMAGE_BARE.to_owned(),
        other => other.to_string(),
    }
}

/// The repository by `naming`. A port follows `_`, which host names do not have, because `:` is not allowed in a
/// repository.
fn repository_at_edge(reference: &Reference, naming: Naming) -> Result<RepositoryName, ParseReferenceError> {
    match naming {
        Naming::PathOnly => Ok(reference.repository.clone()),
        Naming::HostInPath => {
            host_in_path(&reference.registry).parse::<RepositoryName>()?.join(&reference.repository)
        }
    }
}

fn host_in_path(registry: &RegistryHost) -> String {
    registry.as_str().replace(['[', ']'], "").replace(':', "_")
}

/// Replaces each `${…}` by `1`: it may stand for a host, a port or a part of a path.
fn fill_in(text: &str) -> String {
    let mut filled = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("${") {
        let Some((_, tail)) = after.split_once('}') else { break };
        filled.push_str(before);
        filled.push('1');
        rest = tail;
    }
    filled + rest
}

/// Whether `name` is a DNS subdomain (RFC 1123), as the names of Secrets and of most objects are.
pub(in crate::set) fn is_object_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= 253
        && name.bytes().all(|b| plain(b) || b == b'-' || b == b'.')
        && name.bytes().next().is_some_and(plain)
        && name.bytes().last().is_some_and(plain)
}
