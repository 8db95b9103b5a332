// SPDX-License-Identifier: Apache-2.0
//! What the sets must keep of `krs.yaml`.

use super::model::Settings;
use crate::crd::Naming;
use crate::set::error::SetError;
use crate::set::model::LoadedSet;
use crate::set::rules::rule::{NO_DIGEST, REQUIRED_NAMING};

impl Settings {
    /// What the sets do not keep: an image without a digest, or another naming, where the file requires these.
    pub fn check(&self, sets: &[LoadedSet]) -> Vec<SetError> {
        let mut errors = Vec::new();
        for loaded in sets {
            if let Some(naming) = self.naming.as_ref().filter(|naming| naming.value != loaded.set.spec.naming)
            {
                let (found, expected) = (name(loaded.set.spec.naming), name(naming.value));
                let place = self.place(naming);
                let message = format!("the naming of the set is {found}, and {place} requires {expected}");
                let error = SetError::file(&loaded.shown, message).rule(REQUIRED_NAMING);
                let error = error.help(format!("set naming: {expected} in the spec of the set"));
                errors.push(SetError { line: loaded.line, ..error });
            }
            let Some(digests) = &self.require.digests else { continue };
            for image in loaded.set.images.iter().filter(|image| image.reference.digest.is_none()) {
                let place = self.place(digests);
                let message = format!("`{}` has no digest, and {place} requires one", image.written);
                let error = SetError {
                    line: image.line,
                    column: image.column,
                    ..SetError::file(&loaded.shown, message).rule(NO_DIGEST)
                };
                let document = String::from_utf8_lossy(&loaded.raw);
                errors.push(error.mark(&document, loaded.document_line(), &image.written));
            }
        }
        errors
    }
}

fn name(naming: Naming) -> &'static str {
    match naming {
        Naming::PathOnly => "PathOnly",
        Naming::HostInPath => "HostInPath",
    }
}
