// SPDX-License-Identifier: Apache-2.0
use krs_core::progress::{Activity, Progress};

/// Leaves out the progress, but not the messages: a log without pauses and retries does not say why a run takes that long.
#[derive(Debug, Default)]
pub(crate) struct Messages<P>(P);

impl<P: Progress> Progress for Messages<P> {
    fn begin(&self, _: Activity, _: u64) {}
    fn advance(&self, _: Activity, _: u64) {}
    fn end(&self, _: Activity) {}

    fn message(&self, text: &str) {
        self.0.message(text);
    }
}
