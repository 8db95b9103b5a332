// SPDX-License-Identifier: Apache-2.0
//! Layers that travel as patches: made here, of layers of the edge registry, with the credentials of the set, and sent to the
//! repository that needs them. One that another repository there has is not made again.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::sync::Arc;

use krs_core::crd::reason;
use krs_core::error::{Classify as _, ErrorKind, chain};
use krs_core::oci::Descriptor;
use krs_core::oci::closure::Closure;
use krs_core::oci::digest::Digest;
use krs_core::progress::{NoProgress, Progress};
use krs_core::registry::{BlobContent, BlobPush, BlobSource, PushOutcome, Repository};
use krs_core::sync::push::find_layer;
use krs_core::sync::rebuild::{
    self, MAX_PATCH_LIST, PatchList, PatchListBlob, RebuildError, RebuildSource, RebuiltLayer, RebuiltLayers,
    Scratch, StoredBlob, fetch,
};

use super::base::candidates;
use super::failure::Failure;
use super::role::EndpointRole;
use super::transfer::{Copy, has};

impl Copy<'_> {
    /// Makes the layers of `closure` that travel as patches and that nothing at the edge has, and sends them to `edge`.
    pub(super) async fn bring_patched(
        &mut self,
        edge: &Repository,
        closure: &Closure,
        list: PatchListBlob,
    ) -> Result<(), Failure> {
        let source = self.source.repository(&self.target.source_repository)?;
        let list = read_list(&source, list).await?;
        let made = list.patches.iter().flat_map(|patch| &patch.layers).map(|layer| layer.digest);
        let made = made.collect::<BTreeSet<_>>();
        let mut wanted = HashMap::new();
        for layer in closure.layers().filter(|layer| made.contains(&layer.digest)) {
            if has(edge, &layer.digest, layer.size).await? {
                continue;
            }
            // An image before this one, or one of another set, may have brought it.
            match self.transfer_made(edge, layer).await {
                Some(sent) => self.count(sent, layer.size),
                None => drop(wanted.insert(layer.digest, layer.size)),
            }
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let digests = wanted.keys().copied().collect();
        let sources = self.sources(edge, source, &list, &digests).await?;
        self.log_step(self.destination, &self.target.repository, "making layers of patches");
        let rebuilt = RebuiltLayers::new(Scratch::new(self.paths.scratch.clone(), self.target.scratch_size));
        let progress: Arc<dyn Progress> = Arc::new(NoProgress);
        let made = rebuilt.make(&list.patches, &digests, &sources, &progress).await;
        made.map_err(|error| failure(&error, &sources))?;
        for (digest, size) in wanted {
            let Some(layer) = rebuilt.get(&digest) else { continue };
            let content = BlobContent::Source(Arc::new(MadeLayer(layer)));
            let push = BlobPush { digest, size, content, mount_from: None, transfers: None };
            let sent = edge.send_blob(&push).await;
            let sent = sent.map_err(|error| Failure::registry(EndpointRole::Destination, &error))?;
            self.count(sent, size);
            self.sent.insert(digest, edge.name().clone());
            rebuilt.remove(&digest);
        }
        Ok(())
    }

    /// Brings a layer from another repository of the edge. It only saves making the layer, so that no failure counts.
    async fn transfer_made(&self, edge: &Repository, layer: &Descriptor) -> Option<PushOutcome> {
        let once = edge.optional().optional_once();
        for from in self.sent.get(&layer.digest).into_iter().chain(self.mount_from) {
            if from != edge.name()
                && once.sibling(from).has_blob_for_push(&layer.digest, layer.size).await.unwrap_or(false)
                && let Ok(sent) = once.copy_blob(&layer.digest, layer.size, from).await
            {
                return Some(sent);
            }
        }
        None
    }

    /// Finds where the edge has the layers that are read. Before anything is made, so that a base that is missing costs nothing.
    async fn sources(
        &self,
        edge: &Repository,
        bundle: Repository,
        list: &PatchList,
        wanted: &BTreeSet<Digest>,
    ) -> Result<Sources, Failure> {
        let mut blobs = HashMap::new();
        blobs.extend(
            list.blobs.iter().map(|blob| (blob.digest, (EndpointRole::Bundle, blob.size, bundle.clone()))),
        );
        let work = rebuild::work(&list.patches, wanted);
        let read = work.steps.iter().flat_map(|step| &step.read_first).map(|base| base.digest);
        let read = read.collect::<BTreeSet<_>>();
        let names = candidates(edge.name(), self.mount_from);
        let mut missing = Vec::new();
        for base in list.bases.iter().filter(|base| read.contains(&base.digest)) {
            let own = std::iter::once(edge.name()).chain(&names);
            let found = find_layer(edge, (&base.digest, base.size), own).await;
            match found.map_err(|error| Failure::registry(EndpointRole::Destination, &error))? {
                Some(name) => {
                    let at_edge = (EndpointRole::Destination, base.size, edge.sibling(&name));
                    blobs.insert(base.digest, at_edge);
                }
                None => missing.push(base.digest),
            }
        }
        let Some(first) = missing.first() else { return Ok(Sources(blobs)) };
        let text = format!(
            "layers of the bundle are patches of layers that are not in {}: {} of them, first {first}. Make the bundle again \
             against a new receipt of this registry, or without --compact",
            edge.registry(),
            missing.len(),
        );
        Err(Failure::new(reason::BASE_MISSING, ErrorKind::Incomplete, &text))
    }
}

async fn read_list(source: &Repository, list: PatchListBlob) -> Result<PatchList, Failure> {
    let at_bundle = |error| Failure::registry(EndpointRole::Bundle, &error);
    if list.size > MAX_PATCH_LIST {
        let text = format!("the list of patches has {} bytes, more than {MAX_PATCH_LIST}", list.size);
        return Err(Failure::new(reason::COPY_FAILED, ErrorKind::Corrupt, &text));
    }
    let mut bytes = Buffer(Vec::new());
    source.blob(&list.digest, list.size, &mut bytes).await.map_err(at_bundle)?;
    PatchList::parse(&bytes.0).map_err(|error| {
        Failure::new(reason::COPY_FAILED, ErrorKind::Corrupt, &format!("the list of patches: {error}"))
    })
}

fn failure(error: &RebuildError, sources: &Sources) -> Failure {
    let reason = match error {
        // Patches and recipes come from the importer: where the drive is gone, the edge registry is not to blame.
        RebuildError::Base { digest, source } => return Failure::registry(sources.role(digest), source),
        RebuildError::Space { .. } | RebuildError::Scratch { .. } | RebuildError::Missing { .. } => {
            reason::COPY_FAILED
        }
        RebuildError::Bundle(_) | RebuildError::Expanded { .. } | RebuildError::Layer { .. } => {
            reason::DIGEST_MISMATCH
        }
    };
    // The folder is none that somebody chose.
    let help = match error {
        RebuildError::Space { .. } | RebuildError::Scratch { .. } => {
            Some("free space on the node, or raise jobs.scratchSize of the importer".to_owned())
        }
        _ => error.help(),
    };
    let help = help.map(|help| format!("; {help}")).unwrap_or_default();
    Failure::new(reason, error.kind(), &format!("{}{help}", chain(error)))
}

/// The blobs that layers are made of, each with its size and a repository that has it.
struct Sources(HashMap<Digest, (EndpointRole, u64, Repository)>);

impl Sources {
    fn role(&self, digest: &Digest) -> EndpointRole {
        self.0.get(digest).map_or(EndpointRole::Bundle, |(role, ..)| *role)
    }
}

impl RebuildSource for Sources {
    async fn blob(&self, digest: &Digest, scratch: &Scratch) -> Result<StoredBlob, RebuildError> {
        let Some((_, size, repository)) = self.0.get(digest) else {
            return Err(RebuildError::Missing { digest: *digest });
        };
        fetch(repository, (digest, *size), scratch).await
    }

    fn scratch_size(&self, digest: &Digest) -> u64 {
        self.0.get(digest).map_or(0, |(_, size, _)| *size)
    }
}

/// A layer that was made, for the client.
struct MadeLayer(Arc<RebuiltLayer>);

impl BlobSource for MadeLayer {
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read_at(offset, buf)
    }
}

/// A small blob in memory.
struct Buffer(Vec<u8>);

impl krs_core::registry::BlobSink for Buffer {
    fn write_at(&mut self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        if offset == 0 {
            self.0.clear();
        }
        self.0.extend_from_slice(bytes);
        Ok(())
    }
}
