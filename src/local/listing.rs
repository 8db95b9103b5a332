// SPDX-License-Identifier: Apache-2.0
//! What a source has: manifests by digest, and by the names that it gives them.

use std::collections::BTreeMap;

use crate::oci::Descriptor;
use crate::oci::digest::Digest;
use crate::oci::reference::{Reference, RepositoryName, Tag};

/// Names of one image that are told apart: the registry without the port of HTTPS, the repository, and the tag.
type Name = (String, RepositoryName, Tag);

/// Manifests and their names.
#[derive(Debug, Default)]
pub(super) struct Listing {
    manifests: BTreeMap<Digest, Descriptor>,
    names: BTreeMap<Name, Vec<Descriptor>>,
    /// By tags alone, whatever repository they are in.
    tags: Vec<(Tag, Descriptor)>,
    /// Manifests that refer to another one.
    referrers: Vec<(Digest, Descriptor)>,
    /// Names as they are written, for people.
    shown: Vec<String>,
}

impl Listing {
    pub(super) fn add(&mut self, descriptor: &Descriptor) {
        self.manifests.entry(descriptor.digest).or_insert_with(|| descriptor.clone());
    }

    pub(super) fn add_referrer(&mut self, subject: Digest, descriptor: &Descriptor) {
        self.referrers.push((subject, descriptor.clone()));
    }

    /// Adds a name that the source gives a manifest. A name without a registry, such as a tag alone, names no image here.
    pub(super) fn add_name(&mut self, name: &str, descriptor: &Descriptor) {
        let shown = crate::redact::printable(name, 200);
        let reference = name.parse::<Reference>().ok();
        let reference = reference.filter(|name| name.digest.is_none_or(|digest| digest == descriptor.digest));
        match reference {
            Some(reference) => {
                if let Some((name, tag)) = key(&reference).zip(reference.tag) {
                    self.tags.push((tag, descriptor.clone()));
                    let named = self.names.entry(name).or_default();
                    if named.iter().all(|known| known.digest != descriptor.digest) {
                        named.push(descriptor.clone());
                    }
                }
                self.shown.push(shown);
            }
            None => {
                self.tags.extend(name.parse().ok().map(|tag| (tag, descriptor.clone())));
                self.shown.push(format!("`{shown}` (not a full name)"));
            }
        }
    }

    pub(super) fn get(&self, digest: &Digest) -> Option<&Descriptor> {
        self.manifests.get(digest)
    }

    pub(super) fn named(&self, reference: &Reference) -> &[Descriptor] {
        key(reference).and_then(|name| self.names.get(&name)).map(Vec::as_slice).unwrap_or_default()
    }

    pub(super) fn referrers(&self, subject: &Digest) -> impl Iterator<Item = &Descriptor> {
        let found = self.referrers.iter().filter(move |(of, _)| of == subject);
        found.map(|(_, descriptor)| descriptor)
    }

    pub(super) fn tagged(&self, tag: &Tag) -> impl Iterator<Item = &Descriptor> {
        let found = self.tags.iter().filter(move |(of, _)| of == tag);
        found.map(|(_, descriptor)| descriptor)
    }

    pub(super) fn shown(&self) -> &[String] {
        &self.shown
    }
}

fn key(reference: &Reference) -> Option<Name> {
    let Reference { registry, repository, tag, .. } = reference;
    Some((registry.without_default_port().to_owned(), repository.clone(), tag.clone()?))
}
