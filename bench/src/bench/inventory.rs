// SPDX-License-Identifier: Apache-2.0
//! Images of a corpus and what they consist of: what a run has to carry, and the set that asks for it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use xtask::run::{self, Result};

/// The time of every commit: a bundle's content shall not depend on the day.
const COMMIT_TIME: &str = "1767225600 +0000";

/// An image of the corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Image {
    pub(crate) name: String,
    pub(crate) tag: String,
    pub(crate) digest: String,
    pub(crate) media_type: String,
    /// Whether it is a later version of another one.
    pub(crate) is_update: bool,
}

impl Image {
    /// Its name in a layout that holds many.
    pub(crate) fn label(&self) -> String {
        format!("{}-{}", self.name.replace('/', "-"), self.tag)
    }
}

/// A config or layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Blob {
    pub(crate) digest: String,
    pub(crate) size: u64,
    /// A repository that has it.
    pub(crate) repository: String,
    pub(crate) is_layer: bool,
}

/// An index or manifest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Manifest {
    pub(crate) digest: String,
    pub(crate) media_type: String,
    pub(crate) size: u64,
    pub(crate) repository: String,
}

/// Images with all that they consist of, each thing once.
#[derive(Debug, Clone)]
pub(crate) struct Inventory {
    folder: PathBuf,
    pub(crate) images: Vec<Image>,
    pub(crate) blobs: Vec<Blob>,
    /// Inner before outer.
    pub(crate) manifests: Vec<Manifest>,
}

impl Inventory {
    /// All images of the corpus in a folder.
    pub(crate) fn read(folder: &Path) -> Result<Self> {
        let list: Vec<Value> = serde_json::from_slice(&fs::read(folder.join("corpus.json"))?)?;
        let images = list.iter().map(|image| {
            let text =
                |key: &str| Ok::<_, &str>(image[key].as_str().ok_or("corpus.json is damaged")?.to_owned());
            Ok(Image {
                name: text("name")?,
                tag: text("tag")?,
                digest: text("digest")?,
                media_type: text("mediaType")?,
                is_update: text("note")?.starts_with("v2"),
            })
        });
        Self::of(folder, images.collect::<Result<_>>()?)
    }

    /// What these images consist of.
    fn of(folder: &Path, images: Vec<Image>) -> Result<Self> {
        let mut walk =
            Walk { folder, blobs: BTreeMap::new(), manifests: Vec::new(), visited: BTreeSet::new() };
        for image in &images {
            walk.add_manifest(&image.digest, &image.media_type, &image.name)?;
        }
        // The largest first, as everybody who wants to be quick begins with them.
        let mut blobs: Vec<Blob> = walk.blobs.into_values().collect();
        blobs.sort_by(|a, b| (b.size, &a.digest).cmp(&(a.size, &b.digest)));
        Ok(Self { folder: folder.to_owned(), images, blobs, manifests: walk.manifests })
    }

    /// Only the images that are chosen.
    pub(crate) fn only(&self, chosen: impl FnMut(&&Image) -> bool) -> Result<Self> {
        Self::of(&self.folder, self.images.iter().filter(chosen).cloned().collect())
    }

    /// The first so many images.
    pub(crate) fn first(&self, count: usize) -> Result<Self> {
        Self::of(&self.folder, self.images.iter().take(count).cloned().collect())
    }

    /// As many images, in order, as together have at most so many bytes.
    pub(crate) fn up_to(&self, bytes: u64) -> Result<Self> {
        let mut images: Vec<Image> = Vec::new();
        for image in &self.images {
            images.push(image.clone());
            if Self::of(&self.folder, images.clone())?.bytes() > bytes {
                images.pop();
            }
        }
        Self::of(&self.folder, images)
    }

    /// Bytes of everything, each thing once.
    pub(crate) fn bytes(&self) -> u64 {
        let blobs = self.blobs.iter().map(|blob| blob.size);
        blobs.chain(self.manifests.iter().map(|manifest| manifest.size)).sum()
    }

    /// Digests of the layers.
    pub(crate) fn layers(&self) -> BTreeSet<&str> {
        self.blobs.iter().filter(|blob| blob.is_layer).map(|blob| blob.digest.as_str()).collect()
    }

    /// The file of a blob or manifest.
    pub(crate) fn file(&self, digest: &str) -> PathBuf {
        file(&self.folder, digest)
    }

    /// Makes a Git checkout with one set that asks for these images at `registry`.
    pub(crate) fn checkout(&self, registry: &str, folder: &Path) -> Result<()> {
        fs::create_dir_all(folder)?;
        let mut set =
            "apiVersion: kuberegistrysync.io/v1alpha1\nkind: EdgeImageSet\nmetadata: {name: bench}\n\
                       spec:\n  destinationRegistry: edge.local:5000\n  images:\n"
                .to_owned();
        for Image { name, tag, digest, .. } in &self.images {
            writeln!(set, "  - image: {registry}/{name}:{tag}@{digest}")?;
        }
        fs::write(folder.join("set.yaml"), set)?;
        commit(folder)
    }
}

/// Makes a Git repository of a folder, with one commit.
pub(crate) fn commit(folder: &Path) -> Result<()> {
    for arguments in
        [&["init", "--quiet"][..], &["add", "--all"], &["commit", "--quiet", "--message", "Sets"]]
    {
        let mut git = Command::new("git");
        for role in ["AUTHOR", "COMMITTER"] {
            git.env(format!("GIT_{role}_NAME"), "bench")
                .env(format!("GIT_{role}_EMAIL"), "bench@example.com");
            git.env(format!("GIT_{role}_DATE"), COMMIT_TIME);
        }
        run::output(git.args(arguments).current_dir(folder).env("GIT_CONFIG_NOSYSTEM", "1"))?;
    }
    Ok(())
}

fn file(folder: &Path, digest: &str) -> PathBuf {
    folder.join("blobs/sha256").join(digest.rsplit(':').next().unwrap_or(digest))
}

struct Walk<'a> {
    folder: &'a Path,
    blobs: BTreeMap<String, Blob>,
    manifests: Vec<Manifest>,
    visited: BTreeSet<String>,
}

impl Walk<'_> {
    fn add_manifest(&mut self, digest: &str, media_type: &str, repository: &str) -> Result<()> {
        if !self.visited.insert(digest.to_owned()) {
            return Ok(());
        }
        let bytes = fs::read(file(self.folder, digest))?;
        let json: Value = serde_json::from_slice(&bytes)?;
        let text = |value: &Value, key: &str| {
            value[key].as_str().map(str::to_owned).ok_or_else(|| format!("{digest} has a part without {key}"))
        };
        for child in json["manifests"].as_array().into_iter().flatten() {
            self.add_manifest(&text(child, "digest")?, &text(child, "mediaType")?, repository)?;
        }
        let layers = json["layers"].as_array().into_iter().flatten().map(|layer| (layer, true));
        let config = json.get("config").map(|config| (config, false));
        for (blob, is_layer) in layers.chain(config) {
            let digest = text(blob, "digest")?;
            let size = blob["size"].as_u64().ok_or_else(|| format!("{digest} has no size"))?;
            let known = self.blobs.entry(digest.clone());
            known.or_insert_with(|| Blob { digest, size, repository: repository.to_owned(), is_layer });
        }
        self.manifests.push(Manifest {
            digest: digest.to_owned(),
            media_type: media_type.to_owned(),
            size: bytes.len() as u64,
            repository: repository.to_owned(),
        });
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test")]
mod tests {
    use serde_json::json;

    use super::*;
    use xtask::digest::Digest;

    fn put(folder: &Path, bytes: &[u8]) -> Value {
        let digest = Digest::of(bytes);
        fs::write(folder.join("blobs/sha256").join(digest.hex()), bytes).unwrap();
        json!({"mediaType": "a/b", "digest": digest.to_string(), "size": bytes.len()})
    }

    /// Two images that share a layer; the second is an index.
    fn corpus(folder: &Path) -> Inventory {
        fs::create_dir_all(folder.join("blobs/sha256")).unwrap();
        let shared = put(folder, b"shared");
        let image = |config: &[u8], own: &[u8]| {
            let layers = [shared.clone(), put(folder, own)];
            put(folder, json!({"config": put(folder, config), "layers": layers}).to_string().as_bytes())
        };
        let one = image(b"c1", b"one");
        let inner = image(b"c2", b"larger");
        let index = put(folder, json!({"manifests": [inner]}).to_string().as_bytes());
        let list = [("a/one", one), ("a/two", index)].map(|(name, mut image)| {
            image["name"] = name.into();
            image["tag"] = "1".into();
            image["note"] = "".into();
            image
        });
        fs::write(folder.join("corpus.json"), json!(list).to_string()).unwrap();
        Inventory::read(folder).unwrap()
    }

    #[test]
    fn everything_is_counted_once_and_inner_manifests_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let inventory = corpus(folder.path());
        assert_eq!(inventory.blobs.iter().map(|blob| blob.size).collect::<Vec<_>>(), [6, 6, 3, 2, 2]);
        assert_eq!(inventory.layers().len(), 3);
        let last = inventory.images.last().map(|image| &image.digest);
        assert_eq!(inventory.manifests.len(), 3);
        assert_eq!(inventory.manifests.last().map(|manifest| &manifest.digest), last);
        let blobs: u64 = 6 + 6 + 3 + 2 + 2;
        assert_eq!(inventory.bytes(), blobs + inventory.manifests.iter().map(|m| m.size).sum::<u64>());
    }

    #[test]
    fn a_choice_of_images_holds_what_they_need_and_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let inventory = corpus(folder.path());
        let one = inventory.first(1).unwrap();
        assert_eq!((one.images.len(), one.blobs.len(), one.manifests.len()), (1, 3, 1));
        assert_eq!(inventory.up_to(one.bytes()).unwrap().images, one.images);
        assert_eq!(inventory.up_to(u64::MAX).unwrap().images, inventory.images);
        let two = inventory.only(|image| image.name == "a/two").unwrap();
        assert!(!two.layers().is_subset(&one.layers()));
    }
}
