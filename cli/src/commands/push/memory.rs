// SPDX-License-Identifier: Apache-2.0
//! Whether a bundle may follow what was pushed before, and that it was pushed.

use camino::Utf8PathBuf;
use krs_core::bundle::{Bundle, RollbackError, StreamName};
use krs_core::error::{Classify as _, ErrorKind};
use krs_core::oci::reference::Destination;
use krs_core::sync::push::Delivery;

use crate::args::PushArgs;
use crate::diagnostic::Failure;
use crate::marks::{Candidate, Mark, MarkUpdate, Marks, Objection, PushState, StateError};

/// What is remembered of earlier pushes, for one bundle.
pub(super) struct Memory {
    state: PushState,
    file: Utf8PathBuf,
    stream: StreamName,
    mark: Mark,
    verified: bool,
    allow_older: bool,
    /// Why this push is not remembered.
    unusable: bool,
}

/// Who hears about what works and should be better.
pub(super) type Warn<'a> = &'a mut dyn FnMut(String);

impl Memory {
    pub(super) fn new(args: &PushArgs, bundle: &Bundle) -> Self {
        Self {
            state: PushState::new(args.state.as_deref()),
            file: args.file.clone(),
            stream: bundle.manifest().stream.clone(),
            mark: Mark { identity: bundle.identity(), sequence: bundle.manifest().sequence },
            verified: !bundle.signers().is_empty(),
            allow_older: args.allow_older,
            unusable: false,
        }
    }

    fn candidate(&self) -> Candidate<'_> {
        Candidate { stream: &self.stream, mark: self.mark, verified: self.verified }
    }

    /// Whether the bundle may go to all of these places, asked before anything is sent to one of them.
    ///
    /// # Errors
    /// It is older than what was pushed there, or that is not known.
    pub(super) fn check(&mut self, deliveries: &[Delivery], warn: Warn<'_>) -> Result<(), Failure> {
        let marks = match self.state.read() {
            Ok(marks) => {
                if let Some(folder) = self.state.begins_here() {
                    warn(format!(
                        "{folder} has no record of a push yet: any bundle is accepted, also an older one"
                    ));
                }
                marks
            }
            Err(error) => {
                self.tolerate(error, "it is not known what was pushed before", warn)?;
                Marks::default()
            }
        };
        for Delivery { destination, .. } in deliveries {
            match marks.check(&destination.canonical(), &self.candidate()) {
                Ok(()) => {}
                Err(Objection::Unreadable(detail)) => {
                    let error = self.state.unreadable(&destination.canonical(), &self.candidate(), &detail);
                    self.tolerate(error, "it is not known what was pushed before", warn)?;
                }
                // Bundles for different sites of one commit have one sequence: neither of them is older.
                Err(Objection::Rollback(error @ RollbackError::Reused { .. })) => {
                    warn(format!("another bundle was pushed to {destination} before: {error}"));
                }
                Err(Objection::Rollback(error)) if self.allow_older => {
                    warn(format!("{} goes to {destination} by --allow-older: {error}", self.file));
                }
                Err(Objection::Rollback(error)) => {
                    let message =
                        format!("{} must not follow what was pushed to {destination}: {error}", self.file);
                    return Err(Failure::new(ErrorKind::Rollback, message).help(
                        "push the newest bundle of the stream. Where this one is meant, --allow-older pushes it all the same",
                    ));
                }
            }
        }
        Ok(())
    }

    /// Whether this push will be remembered, asked before anything is sent.
    ///
    /// # Errors
    /// It will not be, and the user relies on it.
    pub(super) fn prepare(&mut self, warn: Warn<'_>) -> Result<(), Failure> {
        if self.unusable {
            return Ok(());
        }
        match self.state.prepare() {
            Ok(()) => Ok(()),
            Err(error) => self.tolerate(error, "what is pushed now is not recorded", warn),
        }
    }

    fn tolerate(&mut self, error: StateError, consequence: &str, warn: Warn<'_>) -> Result<(), Failure> {
        if self.state.is_fatal(&error) && !self.allow_older {
            return Err(error.into());
        }
        self.unusable = true;
        warn(format!("{consequence}: {error}"));
        Ok(())
    }

    /// Remembers that the bundle was pushed. Answers whether it is.
    ///
    /// # Errors
    /// The user relies on it and it could not be written, or a newer bundle was pushed meanwhile.
    pub(super) fn raise(&self, destination: &Destination, warn: Warn<'_>) -> Result<bool, Failure> {
        if self.unusable {
            return Ok(false);
        }
        match self.state.raise(&destination.canonical(), &self.candidate()) {
            Ok(MarkUpdate::Overtaken(error @ RollbackError::Older { .. })) if !self.allow_older => {
                let message = format!(
                    "another bundle was pushed to {destination} while {} was, so that its tags may be those of either: {error}",
                    self.file
                );
                Err(Failure::new(ErrorKind::Rollback, message)
                    .help("push the newest bundle of the stream again"))
            }
            Ok(MarkUpdate::Kept | MarkUpdate::Overtaken(_)) => Ok(true),
            Err(error) if self.state.is_fatal(&error) && !self.allow_older => {
                let help = error.help().unwrap_or_default();
                let message = format!("the images are at {destination}, but that is not recorded: {error}");
                Err(Failure::new(error.kind(), message).help(help))
            }
            Err(error) => {
                let Mark { sequence, .. } = self.mark;
                warn(format!(
                    "it is not recorded that sequence {sequence} of stream {} is at {destination}: {error}",
                    self.stream
                ));
                Ok(false)
            }
        }
    }
}
