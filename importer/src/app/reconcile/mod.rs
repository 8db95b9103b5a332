// SPDX-License-Identifier: Apache-2.0
//! Reconciles sets: observes one, decides, acts, and writes its status.
//!
//! The order of writes makes a process that dies in between harmless: what is remembered is kept before the status says
//! it, what is needed is published before a Job exists that asks for it, and the name of a Job is a function of what it
//! copies.

mod act;
mod blocked;
mod breaker;
mod check_registry;
mod checks;
mod clients;
mod collisions;
mod content;
mod destination;
mod edge;
mod error;
mod failed;
mod health;
mod hosts;
mod job_reads;
mod jobs;
mod known;
mod labels;
mod locations;
mod names;
mod observe;
mod observed;
mod owner;
mod ownership;
mod pass_on;
mod permits;
mod prime;
mod probes;
mod read_content;
mod reconciler;
mod renewals;
mod report;
mod reservation;
mod resolve;
mod run;
mod sampling;
mod secrets;
mod set_reconcile;
mod sets;
mod shared_state;
mod slots;
mod sources;
mod state_store;
mod waiting_for_secret;
mod wakeups;
mod wanted;
mod written;

pub use error::ReconcileError;
pub use reconciler::{Context, Reconciler};
pub use run::{error_policy, reconcile, reconcile_stored};
