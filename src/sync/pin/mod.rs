// SPDX-License-Identifier: Apache-2.0
//! Digests for the references of sets, written into the files of the sets: which references are looked up, and what the
//! files say then. Pure: who calls it reads and writes the files, and asks the registries.

mod pattern;
#[cfg(test)]
mod tests;

pub use pattern::TagPattern;

use std::collections::BTreeMap;

use crate::oci::digest::Digest;
use crate::oci::platform::Platform;
use crate::oci::reference::Reference;
use crate::set::{Editor, LoadedSet, SetError, SetErrors, full_name};
use crate::sync::resolve::TagQuery;

/// Which references are looked up besides those that have no digest.
#[derive(Debug, Clone, Default)]
pub struct PinOptions {
    /// Those with a tag and a digest, too.
    pub refresh: bool,
    /// Of these only those that match one of the patterns; none: all.
    pub patterns: Vec<TagPattern>,
}

/// What is done about a reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Decision {
    LookUp,
    /// It has only a digest, which no tag can change.
    KeepDigest,
    /// It has a tag and a digest, and is not to be refreshed.
    KeepPinned,
}

fn decide(reference: &Reference, options: &PinOptions) -> Decision {
    let PinOptions { refresh, patterns } = options;
    match (&reference.tag, reference.digest) {
        (None, _) => Decision::KeepDigest,
        (Some(_), None) => Decision::LookUp,
        (Some(_), Some(_)) if !refresh => Decision::KeepPinned,
        (Some(_), Some(_)) => {
            let is_chosen = patterns.is_empty() || patterns.iter().any(|pattern| pattern.matches(reference));
            if is_chosen { Decision::LookUp } else { Decision::KeepPinned }
        }
    }
}

/// A reference in a file that is to be looked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PinTarget {
    /// Number of the set in its file.
    set: usize,
    /// Number of the image in its set.
    image: usize,
    /// The set, as people call it.
    pub set_name: String,
    /// Line of the file, from 1.
    pub line: u64,
    /// The reference as the file has it.
    pub written: String,
    /// The same without its digest: what is looked up.
    pub tagged: Reference,
    /// Its digest in the file.
    pub digest: Option<Digest>,
    /// Platforms that the set asks for.
    pub platforms: Vec<Platform>,
}

/// What is to be done in a file.
#[derive(Debug, Default)]
pub struct PinPlan {
    /// References to look up.
    pub targets: Vec<PinTarget>,
    /// How many have only a digest.
    pub digest_only: usize,
    /// How many have a tag and a digest, and are left alone.
    pub pinned: usize,
    /// Those that cannot be edited where they stand.
    pub refused: Vec<SetError>,
}

/// Decides what to look up of the sets of a file, which `bytes` are and `file` names. References whose text cannot be
/// edited are refused before anything is looked up.
///
/// # Errors
/// The file cannot be edited, or holds other sets than `sets`.
pub fn plan_file(
    file: &str,
    bytes: &[u8],
    sets: &[&LoadedSet],
    options: &PinOptions,
) -> Result<PinPlan, SetError> {
    let mut editor = Editor::open(file, bytes)?;
    if editor.sets() != sets.len() {
        return Err(changed(file));
    }
    let mut plan = PinPlan::default();
    for (set, loaded) in sets.iter().enumerate() {
        let images = editor.images(set);
        for (image, of_set) in loaded.set.images.iter().enumerate() {
            let written = images.get(image).and_then(|image| image.written.as_ref());
            if written.is_some_and(|written| *written != of_set.written) {
                return Err(changed(file));
            }
            match decide(&of_set.reference, options) {
                Decision::KeepDigest => plan.digest_only += 1,
                Decision::KeepPinned => plan.pinned += 1,
                Decision::LookUp => {
                    let reference = of_set.reference.clone();
                    let target = PinTarget {
                        set,
                        image,
                        set_name: full_name(loaded.set.namespace.as_deref(), &loaded.set.name),
                        line: of_set.line,
                        written: of_set.written.clone(),
                        digest: reference.digest,
                        tagged: Reference { digest: None, ..reference },
                        platforms: of_set.platforms.clone(),
                    };
                    // Any digest shows whether the text can be replaced.
                    match editor.replace(set, image, &target.with(&Digest::of(b""))) {
                        Ok(()) => plan.targets.push(target),
                        Err(error) => {
                            let written = &target.written;
                            let help = format!(
                                "write it on one line, as `image: {written}`, and run the command again"
                            );
                            plan.refused.push(SetError { help: Some(help.into()), ..error });
                        }
                    }
                }
            }
        }
    }
    Ok(plan)
}

fn changed(file: &str) -> SetError {
    SetError::about(file, "was changed while krs read it", "run the same command again")
}

impl PinTarget {
    /// The reference with this digest, otherwise as the file has it.
    fn with(&self, digest: &Digest) -> String {
        let name = self.written.split('@').next().unwrap_or_default();
        format!("{name}@{digest}")
    }
}

/// One query for each tag, with the platforms that any of its sets asks for.
pub fn tag_queries<'a>(targets: impl IntoIterator<Item = &'a PinTarget>) -> Vec<TagQuery> {
    let mut queries = BTreeMap::<&Reference, Vec<Platform>>::new();
    for PinTarget { tagged, platforms, .. } in targets {
        queries.entry(tagged).or_default().extend(platforms.iter().cloned());
    }
    let query = |(tagged, mut platforms): (&Reference, Vec<Platform>)| {
        platforms.sort();
        platforms.dedup();
        TagQuery { reference: tagged.clone(), platforms }
    };
    queries.into_iter().map(query).collect()
}

/// A file with new digests.
#[derive(Debug, PartialEq, Eq)]
pub struct PinnedFile {
    /// The new content of the file.
    pub bytes: Vec<u8>,
    /// What is new in it, each target with its new digest.
    pub changes: Vec<(PinTarget, Digest)>,
    /// How many targets have the digest of their tag already.
    pub unchanged: usize,
}

/// Writes digests into the text of a file. A target for which `digest_of` has no answer stays as it is.
///
/// # Errors
/// The result would not be what was intended, or breaks a rule: the same reference twice in a set, for example.
pub fn edit_file(
    file: &str,
    bytes: &[u8],
    targets: &[PinTarget],
    digest_of: impl Fn(&Reference) -> Option<Digest>,
) -> Result<PinnedFile, SetErrors> {
    let mut editor = Editor::open(file, bytes)?;
    let (mut changes, mut unchanged) = (Vec::new(), 0);
    for target in targets {
        match digest_of(&target.tagged) {
            None => {}
            Some(digest) if target.digest == Some(digest) => unchanged += 1,
            Some(digest) => {
                editor.replace(target.set, target.image, &target.with(&digest))?;
                changes.push((target.clone(), digest));
            }
        }
    }
    Ok(PinnedFile { bytes: editor.finish()?, changes, unchanged })
}
