// SPDX-License-Identifier: Apache-2.0
//! One reconcile of one set, as the controller calls it: with a limit on its time, and a wait that grows after failures.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use krs_core::crd::EdgeImageSet;
use kube::runtime::controller::Action;
use kube::{Resource as _, ResourceExt as _};

use super::error::ReconcileError;
use super::owner::Owner;
use super::pass_on::PassOn;
use super::reconciler::Reconciler;
use super::set_reconcile::SetReconcile;
use super::wanted;
use crate::adapters::metrics::{ResultLabels, unix_seconds};
use crate::adapters::stored::StoredSet;
use crate::model::required_images::SetName;

/// First wait after a reconcile that failed, doubled by each further one.
const BACK_OFF: Duration = Duration::from_secs(1);
/// How long a reconcile may be under way before it counts as one that hangs: it ends far earlier by itself.
const LIMIT: Duration = Duration::from_secs(300);
/// Longest wait after reconciliations that failed.
const MAX_BACK_OFF: Duration = Duration::from_secs(120);
/// How long one reconcile may take, so that nothing that hangs holds a slot of the controller.
const RECONCILE_TIMEOUT: Duration = Duration::from_secs(30);

const TIMED_OUT: ReconcileError = ReconcileError::TimedOut { limit: RECONCILE_TIMEOUT };

/// When to check the Jobs of a set that is being deleted again, in case that the event of their end was lost.
const ENDING: Duration = Duration::from_secs(60);

/// When to reconcile a set again that changed while it was claimed.
const UNDECIDED: Duration = Duration::from_secs(1);

/// Reconciles a set: reads what is known of it, queries the destination registry where something is due, decides, writes
/// the state, creates and deletes copy Jobs, and writes the status.
///
/// # Expected flow
/// The controller calls it once per change of a set and when the wait of the returned [`Action`] is over, for one set never
/// twice at the same time. It waits until the importer knows all sets that can be listed, does nothing while the importer
/// does not hold its Lease, and leaves sets alone that another importer serves. After an error, [`error_policy`] says when to call it again.
///
/// # Guarantees
/// The process may die after any step: the state is stored before the status reports it, what the set needs is published
/// before a Job exists that reads it, and the name of a Job follows from what it copies. The status says only what was
/// read or verified, or stays as it is.
///
/// # Errors
/// [`ReconcileError`]: the API server refused or did not answer, or the time was over. That a registry fails is no error,
/// but a reason in the status.
///
/// # Cancellation
/// It ends by itself after 30 s. If it is dropped, the steps that are done stay, as if the process had died.
pub fn reconcile(
    set: Arc<EdgeImageSet>,
    importer: Arc<Reconciler>,
) -> BoxFuture<'static, Result<Action, ReconcileError>> {
    // Boxed: the compiler does not see of the bare one that it may go from thread to thread.
    reconcile_set(set, None, importer).boxed()
}

/// As [`reconcile`], of a set that may be unreadable: that is reported as `InvalidSpec`.
///
/// # Errors
/// As [`reconcile`].
#[allow(clippy::needless_pass_by_value)]
pub fn reconcile_stored(
    stored: Arc<StoredSet>,
    importer: Arc<Reconciler>,
) -> BoxFuture<'static, Result<Action, ReconcileError>> {
    let waits = async move {
        // Not unpacked while it waits for all the others to be known.
        if stored.meta().deletion_timestamp.is_none() {
            importer.until_primed().await;
        }
        reconcile_set(stored.set(), stored.unreadable().map(str::to_owned), importer).await
    };
    waits.boxed()
}

async fn reconcile_set(
    set: Arc<EdgeImageSet>,
    unreadable: Option<String>,
    importer: Arc<Reconciler>,
) -> Result<Action, ReconcileError> {
    let _pass_on = PassOn::new(&importer);
    if set.metadata.deletion_timestamp.is_some() {
        // Its Jobs are owned by it and go with it, and what it gave names to is free for others. Media do not wait for it.
        if let Some(name) = SetName::of(&set) {
            importer.facts.claim(&name, wanted::created(&set), false, &[]);
            importer.facts.needs_nothing_more(&name);
        }
        let round = SetReconcile::new(&set, unreadable, &importer)?;
        let runs = tokio::time::timeout(RECONCILE_TIMEOUT, round.still_copies()).await;
        let runs = runs.unwrap_or(Err(TIMED_OUT))?;
        importer.sets.succeed(&round.uid);
        return Ok(if runs { Action::requeue(ENDING) } else { Action::await_change() });
    }
    importer.until_primed().await;
    let started = Instant::now();
    let round = SetReconcile::new(&set, unreadable, &importer)?;
    if !importer.leases.is_held() {
        return Ok(Action::requeue(importer.leases.times().renew));
    }
    let owner = tokio::time::timeout(RECONCILE_TIMEOUT, importer.owner(&set, &round.name, &round.uid)).await;
    match owner.unwrap_or(Err(TIMED_OUT))? {
        Owner::This => importer.sets.serve(&round.uid),
        Owner::Other(other) => {
            importer.leave(&round.name, &round.uid, &other);
            return Ok(Action::requeue(importer.leases.times().duration));
        }
        Owner::Undecided => return Ok(Action::requeue(UNDECIDED)),
    }
    let _under_way = importer.heartbeats().begin(format!("the reconcile of {}", round.name), LIMIT);
    // What was done until then stays, as if the process had died.
    let again = tokio::time::timeout(RECONCILE_TIMEOUT, round.run()).await.unwrap_or(Err(TIMED_OUT))?;
    importer.parts.metrics.reconciliations.inc();
    importer.parts.metrics.reconcile_seconds.observe(started.elapsed().as_secs_f64());
    importer.parts.metrics.reconcile_success.set(unix_seconds());
    importer.sets.succeed(&round.uid);
    Ok(again.map_or_else(Action::await_change, Action::requeue))
}

/// When to reconcile again after a failure.
#[allow(clippy::needless_pass_by_value)]
pub fn error_policy(stored: Arc<StoredSet>, error: &ReconcileError, importer: Arc<Reconciler>) -> Action {
    let set = stored.without_content();
    let uid = set.uid().unwrap_or_default();
    let count = importer.sets.fail(&uid);
    importer
        .parts
        .metrics
        .reconcile_errors
        .get_or_create(&ResultLabels { result: error.category().to_owned() })
        .inc();
    let wait = BACK_OFF.saturating_mul(1 << (count - 1).min(10)).min(MAX_BACK_OFF);
    let set = SetName::of(&set).map(|name| name.to_string()).unwrap_or_default();
    let error = krs_core::error::chain(error);
    tracing::warn!(set, error, wait = wait.as_secs(), "reconcile failed, requeued");
    Action::requeue(wait)
}
