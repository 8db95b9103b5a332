// SPDX-License-Identifier: Apache-2.0
//! What `--against` names: bundles, receipts, and what the catalog knows. It decides what a delta leaves out.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;

use camino::Utf8Path;
use jiff::Timestamp;
use krs_core::bundle::Bundle;
use krs_core::oci::reference::{Reference, RegistryHost};
use krs_core::set::{LoadedSet, MergedImage, MergedImages};
use krs_core::sync::catalog::{Confirmation, SentBundle};
use krs_core::sync::plan::{Base, ImageLayers, PlanError};
use krs_core::sync::receipt::{Origin, ShortReceipt, SiteName, SiteReceipt};
use krs_core::sync::resolve::Resolved;

use super::catalog_index::CatalogIndex;
use super::catalog_name::CatalogName;
use super::files;
use super::receipts::{self, ReadReceipt};
use super::sequence::Earlier;
use crate::args::PlanArgs;
use crate::console::Console;
use crate::diagnostic::Failure;
use crate::report::count;

/// What the sites have.
#[derive(Default)]
pub(super) struct Against {
    /// Of bundles, receipts of registries, and bundles of the catalog.
    bases: Vec<Base>,
    sites: BTreeMap<SiteName, Site>,
    images: ImageLayers,
    /// The bundles themselves.
    pub(super) bundles: Vec<Arc<Bundle>>,
    /// Bundles whose sequences count.
    pub(super) earlier: Vec<Earlier>,
}

/// What is known of one site.
#[derive(Default)]
struct Site {
    receipt: Option<SiteReceipt>,
    /// Confirmed bundles that the catalog has, one of each stream.
    bundles: Vec<SentBundle>,
    /// The highest format version of bundles that it reads.
    reads: Option<u32>,
}

/// What is still to be looked up in the catalog.
#[derive(Default)]
struct Wanted {
    names: Vec<CatalogName>,
    /// Sites that `catalog:SITE` names.
    sites: HashSet<SiteName>,
    shorts: Vec<ShortReceipt>,
}

impl Against {
    /// Reads everything that the call names. `audience`: the sites that the bundle is meant for; empty: any.
    ///
    /// # Errors
    /// One that cannot be read, is refused, or is of a site that the bundle is not meant for.
    pub(super) fn read(args: &PlanArgs, audience: &[String], console: &Console) -> Result<Self, Failure> {
        let keys = receipts::site_keys(&args.site_keys)?;
        let (mut against, mut wanted) = (Self::default(), Wanted::default());
        for value in &args.against {
            if let Some(name) = CatalogName::parse(value.as_str()) {
                wanted.take(name?);
            } else if !receipts::is_text(value) && files::is_bundle(value) {
                let bundle = files::open_anyones(value, &[])?;
                let base = Base::of_bundle(&bundle, &bundle.images()?).map_err(PlanError::from)?;
                against.earlier.push(Earlier::base(&bundle));
                against.bases.push(base);
                against.bundles.push(Arc::new(bundle));
            } else {
                for receipt in receipts::read(value, &keys)? {
                    let remarks = receipt.remarks(&keys, Timestamp::now());
                    remarks.iter().for_each(|remark| console.warning(remark));
                    against.take(receipt, &mut wanted, console)?;
                }
            }
        }
        let sites = against.sites.keys().chain(&wanted.sites);
        check_audience(sites.chain(wanted.shorts.iter().map(|short| &short.content().site)), audience)?;
        let roots = against.sites.values().filter_map(|site| site.receipt.as_ref());
        against.images = ImageLayers::of(roots.flat_map(SiteReceipt::roots).map(|(_, _, root)| root));
        match (&args.catalog, wanted.needs_catalog()) {
            (Some(catalog), Some(_)) => against.look_up(&wanted, catalog, console)?,
            // The bundle may be the first that the catalog records.
            (Some(catalog), None) if !against.sites.is_empty() && catalog.exists() => {
                against.look_up(&wanted, catalog, console)?;
            }
            (None, Some(what)) => {
                return Err(Failure::usage(format!("--against {what} needs a catalog"))
                    .help("name it with --catalog FILE"));
            }
            (_, None) => {}
        }
        warn_of_others(&against.sites, audience, console);
        Ok(against)
    }

    fn take(&mut self, receipt: ReadReceipt, wanted: &mut Wanted, console: &Console) -> Result<(), Failure> {
        match receipt {
            ReadReceipt::Registry(receipt) => self.bases.push(Base::of_receipt(&receipt)?),
            ReadReceipt::Short(receipt, _) => wanted.shorts.push(receipt),
            ReadReceipt::Site(receipt, _) => {
                let site = self.sites.entry(receipt.site.clone()).or_default();
                if let Some(other) = &site.receipt {
                    let newest = other.created_at.max(receipt.created_at);
                    let name = &receipt.site;
                    console.warning(&format!("several receipts of site {name}: the one of {newest} is used"));
                    if other.created_at >= receipt.created_at {
                        return Ok(());
                    }
                }
                site.reads = Some(receipt.reads.bundle);
                site.receipt = Some(receipt);
            }
        }
        Ok(())
    }

    /// Takes what a catalog has of the bundles and sites that the call names, and the layers of the images of receipts.
    fn look_up(&mut self, wanted: &Wanted, path: &Utf8Path, console: &Console) -> Result<(), Failure> {
        let mut catalog = CatalogIndex::read(path, &wanted.sites, &mut self.images, console)?;
        for short in &wanted.shorts {
            catalog.insert(Confirmation::of_short(short, &Origin::NotSigned, Timestamp::now()));
        }
        if let Some(site) = wanted.sites.iter().find(|site| !catalog.has_confirmation_of(site)) {
            return Err(CatalogName::Site(site.clone()).not_in(path));
        }
        for name in &wanted.names {
            let bundle = catalog.named(name)?;
            self.bases.push(Base::of_sent(&bundle));
            self.earlier.push(Earlier::of_sent(&bundle));
        }
        for confirmation in catalog.confirmations() {
            let bundle = catalog.with_digest(&confirmation.digest)?;
            if bundle.is_none() {
                console.warning(&format!(
                    "{path} does not have the bundle that site {} confirmed: stream {}, sequence {}, {}; what it brought travels again",
                    confirmation.site, confirmation.stream, confirmation.sequence, confirmation.digest
                ));
            }
            self.earlier.extend(bundle.as_ref().map(Earlier::of_sent));
            let site = self.sites.entry(confirmation.site.clone()).or_default();
            site.reads = Some(site.reads.map_or(confirmation.reads, |reads| reads.max(confirmation.reads)));
            // A newer receipt says all: a site that was restored no longer has what it confirmed before.
            let made = site.receipt.as_ref().map(|receipt| receipt.created_at);
            site.bundles.extend(bundle.filter(|_| made.is_none_or(|made| made < confirmation.created_at)));
        }
        Ok(())
    }

    /// Images of the sites whose layers are not known yet and that the source registries of the sets may be asked for. No
    /// other repository is asked: receipts are untrusted.
    pub(super) fn unknown(&self, sets: &[LoadedSet]) -> MergedImages {
        let names = sets.iter().flat_map(|set| &set.set.images).map(|image| image.reference.name());
        let names = names.collect::<HashSet<_>>();
        let mut images = BTreeMap::new();
        let receipts = self.sites.values().filter_map(|site| site.receipt.as_ref());
        for (_, _, root) in receipts.flat_map(SiteReceipt::roots) {
            if self.images.get(root).is_none() && names.contains(&root.reference.name()) {
                let reference = Reference { digest: Some(root.digest), ..root.reference.clone() };
                let image = MergedImage { reference, platforms: root.platforms.clone(), uses: Vec::new() };
                images.insert((root.digest, root.platforms.clone()), image);
            }
        }
        MergedImages { images: images.into_values().collect() }
    }

    /// Takes images whose manifests were read.
    pub(super) fn insert(&mut self, resolved: &Resolved) {
        resolved.images.iter().for_each(|image| self.images.insert_resolved(image));
    }

    /// What all sites have, of what goes to `destinations` (absent: they are not known), and what a person should know of it.
    ///
    /// # Errors
    /// None in practice: every receipt was read from JSON.
    pub(super) fn base(
        &self,
        destinations: Option<&BTreeSet<RegistryHost>>,
    ) -> Result<(Base, Vec<String>), Failure> {
        let (mut bases, mut remarks) = (self.bases.clone(), Vec::new());
        for (name, site) in &self.sites {
            let mut of_site = None;
            if let Some(receipt) = &site.receipt {
                // A destination that is not known may be any registry of the site: then all of them must have a layer.
                let all = || receipt.registries.iter().map(|registry| registry.registry.clone()).collect();
                let destinations = &destinations.cloned().unwrap_or_else(all);
                of_site = Some(Base::of_site(receipt, destinations, &self.images)?);
                let unknown = receipt.roots().filter(|(.., root)| self.images.get(root).is_none()).count();
                if unknown > 0 {
                    remarks.push(format!(
                        "the layers of {} of site {name} are not known, from no catalog and from no source registry of the sets; they travel again",
                        count(unknown as u64, "image")
                    ));
                }
                if !receipt.registries.iter().any(|registry| destinations.contains(&registry.registry)) {
                    remarks.push(format!(
                        "the receipt of site {name} lists no registry that the sets name as their destination: nothing is left out for it"
                    ));
                }
            }
            let confirmed = site.bundles.iter().map(Base::of_sent);
            bases.push(of_site.into_iter().chain(confirmed).reduce(Base::or).unwrap_or_default());
        }
        Ok((bases.into_iter().reduce(Base::and).unwrap_or_default(), remarks))
    }

    /// Refuses a bundle in a format that a site does not read.
    ///
    /// # Errors
    /// It is one.
    pub(super) fn check_format(&self, version: u32) -> Result<(), Failure> {
        let reads = |site: &Site| site.reads.filter(|reads| *reads < version);
        let Some((site, reads)) = self.sites.iter().find_map(|(name, site)| Some((name, reads(site)?)))
        else {
            return Ok(());
        };
        let message = format!(
            "the bundle would have format version {version}, and the importer of site {site} reads up to version {reads}"
        );
        Err(Failure::usage(message)
            .help(format!("make it with --format-version {reads}, or update the importer there first")))
    }
}

impl Wanted {
    fn take(&mut self, name: CatalogName) {
        match name {
            CatalogName::Site(site) => drop(self.sites.insert(site)),
            CatalogName::Bundle { .. } => self.names.push(name),
        }
    }

    /// The first value that only a catalog explains.
    fn needs_catalog(&self) -> Option<String> {
        let name = self.names.first().map(ToString::to_string);
        let site = || self.sites.iter().next().map(|site| format!("catalog:{site}"));
        name.or_else(site).or_else(|| self.shorts.first().map(|_| "SHORT-RECEIPT".to_owned()))
    }
}

/// Refuses a receipt of a site that the bundle is not meant for: it is most likely the wrong file.
fn check_audience<'a>(
    mut sites: impl Iterator<Item = &'a SiteName>,
    audience: &[String],
) -> Result<(), Failure> {
    let is_other = |site: &&SiteName| !audience.is_empty() && !audience.iter().any(|of| of == site.as_str());
    let Some(site) = sites.find(is_other) else { return Ok(()) };
    let message =
        format!("--against names a receipt of site {site}, and the bundle is for {}", audience.join(", "));
    Err(Failure::usage(message).help("name the receipts of these sites, or add the site with --audience"))
}

/// Says for which sites nothing is known although others have receipts.
fn warn_of_others(sites: &BTreeMap<SiteName, Site>, audience: &[String], console: &Console) {
    if sites.is_empty() {
        return;
    }
    for site in audience.iter().filter(|site| !sites.keys().any(|known| known.as_str() == site.as_str())) {
        console.warning(&format!(
            "no receipt of site {site} was given: it refuses the bundle if it does not have what the others have"
        ));
    }
}
