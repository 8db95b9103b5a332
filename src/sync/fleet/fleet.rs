// SPDX-License-Identifier: Apache-2.0
//! Collects what is known and decides the status.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use jiff::Timestamp;

use super::groups::group;
use super::image_id::{ImageId, ImageIds};
use super::layer_set::LayerSet;
use super::site::Site;
use super::status::{
    AwaitedImages, ConfirmedBundle, FleetStatus, GroupStatus, NextBundle, RefusedBundles, SiteStatus,
    SiteStream, StreamStatus, UnconfirmedBundle, UnconfirmedBundles,
};
use super::word::{RegistryImages, SiteWord, name_id};
use crate::bundle::StreamName;
use crate::oci::digest::Digest;
use crate::sync::catalog::{BundleLayers, BundleLine, Confirmation, ImageLine, LinePosition};

/// Most bundles that are listed as not confirmed, for one site and stream; all are counted.
const MAX_UNCONFIRMED: usize = 20;

/// What is known of the sites.
///
/// *Expected flow*: all receipts ([`Fleet::insert`]), then all lines of the catalog ([`Fleet::insert_bundle`],
/// [`Fleet::insert_confirmation`]), then the layers of the lines that [`Fleet::needed`] names ([`Fleet::insert_layers`]), then
/// [`Fleet::status`].
#[derive(Debug, Default)]
pub struct Fleet {
    /// Only this stream; `None`: all.
    only: Option<StreamName>,
    sites: BTreeMap<String, Site>,
    streams: BTreeMap<StreamName, Stream>,
    /// Bundles of the catalog, by their digests and files.
    lines: HashSet<(Digest, String)>,
    /// Images of receipts, and the last line of the catalog that has each.
    images: HashMap<ImageId, Option<LinePosition>>,
    ids: ImageIds,
    /// Layers of the newest bundles of the streams.
    layers: HashMap<Digest, usize>,
    image_layers: HashMap<ImageId, Vec<u32>>,
    bundle_layers: HashMap<Digest, LayerSet>,
}

/// The bundles of a stream, in the order of the catalog.
#[derive(Debug, Default)]
struct Stream {
    bundles: Vec<BundleLine>,
    /// Layers of the newest one, with their bytes, by their positions in [`Fleet::layers`].
    content: Option<Content>,
}

/// The content of the newest bundle of a stream.
#[derive(Debug)]
struct Content {
    /// Positions in [`Fleet::layers`], and bytes.
    layers: Vec<(usize, u64)>,
    other_bytes: u64,
    /// Names of its images, by [`name_id`].
    names: HashSet<u64>,
}

impl Stream {
    fn newest(&self) -> Option<&BundleLine> {
        self.bundles.iter().max_by_key(|bundle| (bundle.sequence, bundle.sent_at, bundle.position))
    }
}

impl Fleet {
    /// A fleet of which nothing is known; `only`: the stream that is of interest.
    pub fn new(only: Option<StreamName>) -> Self {
        Self { only, ..Self::default() }
    }

    /// Whether there is neither a site nor a bundle.
    pub fn is_empty(&self) -> bool {
        self.sites.is_empty() && self.streams.is_empty()
    }

    /// Takes a receipt. The newest one of a site counts.
    pub fn insert(&mut self, word: SiteWord) {
        let site = self.sites.entry(word.site.to_string()).or_default();
        if !word.is_complete {
            for confirmation in word.confirmations {
                site.confirm(confirmation, word.source.clone());
            }
            return;
        }
        match &site.receipt {
            Some(other) if other.created_at >= word.created_at => site.older += 1,
            other => {
                site.older += usize::from(other.is_some());
                site.receipt = Some(word);
            }
        }
    }

    /// Takes a confirmation of the catalog.
    pub fn insert_confirmation(&mut self, confirmation: Confirmation) {
        let source = format!("catalog:{}", confirmation.site);
        let site = self.sites.entry(confirmation.site.to_string()).or_default();
        site.confirm(confirmation, source);
    }

    /// Takes a bundle of the catalog, after all receipts.
    pub fn insert_bundle(&mut self, bundle: BundleLine, images: &[ImageLine]) {
        if self.images.is_empty() {
            let receipts = self.sites.values().filter_map(|site| site.receipt.as_ref());
            let images = receipts.flat_map(|word| &word.registries).flat_map(|registry| &registry.images);
            self.images = images.map(|image| (*image, None)).collect();
        }
        // Bundles of other streams may have brought images too.
        for image in images {
            if let Some(line) = self.images.get_mut(&self.ids.id(image.digest, &image.platforms)) {
                *line = Some(bundle.position);
            }
        }
        for site in &bundle.audience {
            self.sites.entry(site.clone()).or_default();
        }
        // In catalogs that were joined, a line may stand twice.
        if self.lines.insert((bundle.digest, bundle.file.clone())) {
            self.streams.entry(bundle.stream.clone()).or_default().bundles.push(bundle);
        }
    }

    fn is_of_interest(&self, stream: &StreamName) -> bool {
        self.only.as_ref().is_none_or(|only| only == stream)
    }

    /// The lines of the catalog whose layers are needed, those of the newest bundles first.
    pub fn needed(&self) -> Vec<LinePosition> {
        let streams = self.streams.iter().filter(|(name, _)| self.is_of_interest(name));
        let newest = streams.filter_map(|(_, stream)| stream.newest()).map(|bundle| bundle.position);
        let mut lines = newest.collect::<Vec<_>>();
        let digests = self.sites.values().flat_map(Site::current).map(|(one, _)| one.digest);
        let digests = digests.collect::<HashSet<_>>();
        let bundles = self.streams.values().flat_map(|stream| &stream.bundles);
        let confirmed =
            bundles.filter(|bundle| digests.contains(&bundle.digest)).map(|bundle| bundle.position);
        let others = confirmed.chain(self.images.values().flatten().copied()).collect::<BTreeSet<_>>();
        let others = others.into_iter().filter(|line| !lines.contains(line)).collect::<Vec<_>>();
        lines.extend(others);
        lines
    }

    /// Takes the layers of a line, in the order of [`Fleet::needed`].
    pub fn insert_layers(&mut self, position: LinePosition, content: &BundleLayers) {
        let newest =
            self.streams.iter_mut().filter(|(name, _)| self.only.as_ref().is_none_or(|only| only == *name));
        for (_, stream) in newest {
            if stream.newest().is_some_and(|bundle| bundle.position == position) {
                let mut layers = Vec::with_capacity(content.layers.len());
                for (digest, size) in &content.layers {
                    let free = self.layers.len();
                    layers.push((*self.layers.entry(*digest).or_insert(free), *size));
                }
                let names = content.images.iter().map(|image| name_id(&image.reference.name())).collect();
                stream.content = Some(Content { layers, other_bytes: content.other_bytes, names });
            }
        }
        let known = content.layers.iter().map(|(digest, _)| self.layers.get(digest).copied());
        let known = known.collect::<Vec<_>>();
        for image in &content.images {
            let id = self.ids.id(image.digest, &image.platforms);
            if self.images.contains_key(&id) {
                let layers = image.layers.iter().filter_map(|at| *known.get(*at as usize)?);
                let layers = layers.filter_map(|layer| u32::try_from(layer).ok());
                self.image_layers.entry(id).or_insert_with(|| layers.collect());
            }
        }
        let bundle =
            self.streams.values().flat_map(|stream| &stream.bundles).find(|b| b.position == position);
        if let Some(bundle) = bundle {
            let mut set = LayerSet::empty(self.layers.len());
            known.into_iter().flatten().for_each(|layer| set.insert(layer));
            self.bundle_layers.insert(bundle.digest, set);
        }
    }

    /// Decides the status. `max_overhead`: how many percent larger than what each site would get alone a shared bundle may be.
    pub fn status(&self, now: Timestamp, max_overhead: u32) -> FleetStatus {
        let mut sites =
            self.sites.iter().map(|(name, site)| self.site_status(name, site, now)).collect::<Vec<_>>();
        let interesting = self.streams.iter().filter(|(name, _)| self.is_of_interest(name));
        let streams = interesting
            .filter_map(|(name, stream)| self.stream_status(name, stream, &mut sites, max_overhead))
            .collect();
        if self.only.is_some() {
            sites.retain(|site| !site.streams.is_empty());
        }
        FleetStatus { sites, streams }
    }

    fn site_status(&self, name: &str, site: &Site, now: Timestamp) -> SiteStatus {
        let newest = site.newest();
        let receipt = site.receipt.as_ref();
        let awaited =
            receipt.map(|word| AwaitedImages { count: word.awaited, images: word.awaited_names.clone() });
        let refused =
            receipt.map(|word| RefusedBundles { count: word.refused, bundles: word.refused_bundles.clone() });
        let mut against = receipt.map(|word| word.source.clone()).into_iter().collect::<BTreeSet<_>>();
        against.extend(site.current().filter_map(|(_, source)| source.cloned()));
        let created_at = newest.as_ref().map(|(created_at, ..)| *created_at);
        SiteStatus {
            site: name.to_owned(),
            created_at,
            age_seconds: created_at.map(|created_at| now.duration_since(created_at).as_secs()),
            verified: newest.as_ref().is_some_and(|(_, key, _)| key.is_some()),
            verified_by: newest.as_ref().and_then(|(_, key, _)| key.clone()),
            against: against.into_iter().collect(),
            reads: newest.map(|(.., reads)| reads),
            awaited,
            refused,
            older_receipts: site.older,
            streams: self.site_streams(name, site),
            remarks: self.remarks(site),
        }
    }

    fn site_streams(&self, name: &str, site: &Site) -> Vec<SiteStream> {
        let confirmed = site.current().map(|(one, _)| (&one.stream, one)).collect::<BTreeMap<_, _>>();
        let is_named =
            |stream: &Stream| stream.bundles.iter().any(|bundle| bundle.audience.iter().any(|of| of == name));
        let mut names =
            self.streams.iter().filter(|(_, s)| is_named(s)).map(|(n, _)| n).collect::<BTreeSet<_>>();
        names.extend(confirmed.keys().copied());
        if names.is_empty() {
            // A new site: it gets what is for any site.
            let is_for_any =
                |stream: &Stream| stream.newest().is_some_and(|bundle| bundle.audience.is_empty());
            names.extend(self.streams.iter().filter(|(_, stream)| is_for_any(stream)).map(|(name, _)| name));
        }
        let interesting = names.into_iter().filter(|stream| self.is_of_interest(stream));
        let status = |stream: &StreamName| {
            let one = confirmed.get(stream).copied();
            let known = self.streams.get(stream);
            let bundles = known.map_or(&[][..], |known| &known.bundles);
            let newest = known.and_then(Stream::newest);
            let has = |bundle: &BundleLine| one.is_some_and(|one| one.sequence >= bundle.sequence);
            let is_for = |bundle: &&BundleLine| {
                !has(bundle) && (bundle.audience.is_empty() || bundle.audience.iter().any(|of| of == name))
            };
            let mut unconfirmed = bundles.iter().filter(is_for).collect::<Vec<_>>();
            unconfirmed.sort_by_key(|bundle| std::cmp::Reverse((bundle.sequence, bundle.sent_at)));
            let sent = unconfirmed.iter().take(MAX_UNCONFIRMED).map(|bundle| UnconfirmedBundle {
                sequence: bundle.sequence,
                sent_at: bundle.sent_at,
                file: bundle.file.clone(),
            });
            SiteStream {
                stream: stream.clone(),
                confirmed: one.map(|one| ConfirmedBundle {
                    sequence: one.sequence,
                    digest: one.digest,
                    created_at: one.created_at,
                    verified: one.signed_by.is_some(),
                    in_catalog: bundles.iter().any(|bundle| bundle.digest == one.digest),
                }),
                unconfirmed: UnconfirmedBundles { count: unconfirmed.len(), bundles: sent.collect() },
                current: newest.map(has),
                next: None,
            }
        };
        interesting.map(status).collect()
    }

    fn remarks(&self, site: &Site) -> Vec<String> {
        let mut remarks = Vec::new();
        let images =
            site.receipt.iter().flat_map(|word| &word.registries).flat_map(|registry| &registry.images);
        let unknown = images.filter(|image| !self.image_layers.contains_key(image)).count();
        if unknown > 0 && !self.streams.is_empty() {
            remarks.push(format!(
                "{unknown} of its images are in no bundle of the catalog: their layers are counted as missing"
            ));
        }
        let known = |digest: &Digest| {
            self.streams.values().flat_map(|stream| &stream.bundles).any(|bundle| bundle.digest == *digest)
        };
        for (confirmation, source) in site.current() {
            // The receipt itself says what the site has.
            if source.is_some() && !self.streams.is_empty() && !known(&confirmation.digest) {
                remarks.push(format!(
                    "the catalog does not have the bundle that it confirmed: stream {}, sequence {}; its layers are counted as missing",
                    confirmation.stream, confirmation.sequence
                ));
            }
        }
        remarks
    }

    fn stream_status(
        &self,
        name: &StreamName,
        stream: &Stream,
        sites: &mut [SiteStatus],
        max_overhead: u32,
    ) -> Option<StreamStatus> {
        let newest = stream.newest()?;
        let content = stream.content.as_ref();
        let (mut needing, mut missing, mut current_sites) = (Vec::new(), Vec::new(), 0);
        for (n, site) in sites.iter().enumerate() {
            let Some(of) = site.streams.iter().find(|of| of.stream == *name) else { continue };
            if of.current == Some(true) {
                current_sites += 1;
            } else if let (Some(content), Some(known)) = (content, self.sites.get(&site.site)) {
                let has = self.layers_of(known, content);
                let mut needed = LayerSet::empty(content.layers.len());
                let absent =
                    content.layers.iter().enumerate().filter(|(_, (layer, _))| !has.contains(*layer));
                absent.for_each(|(n, _)| needed.insert(n));
                needing.push(n);
                missing.push(needed);
            }
        }
        let other_bytes = content.map_or(0, |content| content.other_bytes);
        let sizes = content.map_or(&[][..], |content| &content.layers).iter().map(|(_, size)| *size);
        let sizes = sizes.collect::<Vec<_>>();
        let full_bytes = sizes.iter().fold(other_bytes, |sum, size| sum.saturating_add(*size));
        let is_known = |at: &usize| {
            let site = needing.get(*at).and_then(|n| sites.get(*n));
            site.is_some_and(|site| !site.against.is_empty())
        };
        // With one site of which nothing is known the bundle would be a full one for all of them.
        let (known, unknown) = (0..needing.len()).partition::<Vec<_>, _>(is_known);
        let mut groups = Vec::new();
        for part in [known, unknown] {
            let sets = part.iter().filter_map(|at| missing.get(*at)).cloned().collect::<Vec<_>>();
            for mut one in group(&sizes, other_bytes, &sets, max_overhead) {
                one.sites = one.sites.iter().filter_map(|at| part.get(*at).copied()).collect();
                groups.push(one);
            }
        }
        groups.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.sites.cmp(&b.sites)));
        let mut result = Vec::with_capacity(groups.len());
        for (number, group) in (1..).zip(groups) {
            let members = group.sites.iter().filter_map(|at| needing.get(*at).copied()).collect::<Vec<_>>();
            for (at, member) in group.sites.iter().zip(&members) {
                let absent = missing.get(*at).into_iter().flat_map(LayerSet::iter);
                let sizes = absent.filter_map(|layer| sizes.get(layer));
                let bytes = sizes.fold(other_bytes, |sum, size| sum.saturating_add(*size));
                let streams = sites.get_mut(*member).into_iter().flat_map(|site| &mut site.streams);
                streams.filter(|of| of.stream == *name).for_each(|of| {
                    of.next = Some(NextBundle { bytes, group: number });
                });
            }
            let members = members.iter().filter_map(|member| sites.get(*member)).collect::<Vec<_>>();
            let is_full = members.iter().any(|site| site.against.is_empty());
            let against = members.iter().filter(|_| !is_full).flat_map(|site| &site.against).cloned();
            result.push(GroupStatus {
                group: number,
                sites: members.iter().map(|site| site.site.clone()).collect(),
                bytes: group.bytes,
                separate_bytes: group.separate_bytes,
                against: against.collect::<BTreeSet<_>>().into_iter().collect(),
            });
        }
        Some(StreamStatus {
            stream: name.clone(),
            sequence: newest.sequence,
            full_bytes,
            current_sites,
            groups: result,
        })
    }

    /// The layers that a site has, of those in [`Fleet::layers`]: what each registry that has images of the stream has, and
    /// what newer confirmations say.
    fn layers_of(&self, site: &Site, content: &Content) -> LayerSet {
        let mut has = LayerSet::empty(self.layers.len());
        let registries = site.receipt.as_ref().map_or(&[][..], |word| &word.registries);
        let is_destination = |registry: &&RegistryImages| {
            registries.len() == 1 || registry.names.iter().any(|name| content.names.contains(name))
        };
        let sets = registries.iter().filter(is_destination).map(|registry| {
            let mut set = LayerSet::empty(self.layers.len());
            let layers = registry.images.iter().filter_map(|image| self.image_layers.get(image)).flatten();
            layers.for_each(|layer| set.insert(*layer as usize));
            set
        });
        let both = sets.reduce(|mut a, b| {
            a.intersect(&b);
            a
        });
        both.iter().for_each(|set| has.unite(set));
        for (confirmation, source) in site.current() {
            // What a receipt confirms says less than the images that it lists.
            if let Some(set) = source.and_then(|_| self.bundle_layers.get(&confirmation.digest)) {
                has.unite(set);
            }
        }
        has
    }
}
