// SPDX-License-Identifier: Apache-2.0
//! What to do about a set, and what to say about it: a pure function over what was observed.

mod observation;

pub use observation::{
    Answer, Batch, BatchSource, CopyJob, Decision, JobPhase, Limits, Observation, Obstacle, Verdict,
};
