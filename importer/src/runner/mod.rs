// SPDX-License-Identifier: Apache-2.0
//! `krs-importer copy`, the runner: the process inside a copy Job. Can be ended at any moment and run again: what
//! arrived is not sent again.

mod acknowledged;
mod base;
mod blobs;
mod connection;
mod direct_copy;
mod endpoint;
mod failure;
mod manifests;
mod patched;
mod paths;
mod role;
mod skopeo;
mod target;
mod transfer;

use std::process::ExitCode;
use std::time::Instant;

use krs_core::crd::reason;
use krs_core::oci::reference::RepositoryName;
use krs_core::redact::printable;
use tokio::signal::unix::{SignalKind, signal};

use base::Base;
use endpoint::RegistryEndpoint;
use failure::{Concerns, exit_code};
pub use paths::Paths;
use transfer::{Copy, SentLayers};

use crate::model::task::{
    CopyReport, CopyTask, MAX_MOUNT_FROM, MAX_REPORT, MAX_TARGETS, MAX_TASK, STOPPED, TargetFailure,
};

/// By how many characters all failures of a report are shortened at once until it fits.
const SHORTENED: usize = 10;
/// Most characters of a failure in the report.
const MAX_REPORTED: usize = 400;

/// The process in a copy Job: copies what the task says, verifies it, and writes the report. Exit codes as in the design: 0
/// ok, 1 other, 2 the task, 3 trust, 4 corrupt, 5 rollback, 6 incomplete, 7 auth, 8 unavailable, 9 no space; 143 where a
/// signal ended it.
pub async fn main(task: &str) -> ExitCode {
    let paths = Paths::default();
    let task = match parse(task) {
        Ok(task) => task,
        Err(message) => {
            tracing::error!("{message}");
            let reason = reason::COPY_FAILED.to_owned();
            let failures = vec![TargetFailure { target: 0, reason, message }];
            write(&paths, CopyReport { failures, ..CopyReport::default() });
            // The same task is as wrong the next time.
            return ExitCode::from(2);
        }
    };
    let (report, code) = tokio::select! {
        done = run(&task, &paths) => done,
        () = stopped() => {
            tracing::warn!("stopped; what has arrived is not sent again");
            // Dropping the run has killed skopeo.
            return ExitCode::from(STOPPED);
        }
    };
    write(&paths, report);
    ExitCode::from(code)
}

fn write(paths: &Paths, report: CopyReport) {
    if let Err(error) = std::fs::write(&paths.report, fit(report)) {
        // Only a hint for people: the controller asks the registry itself.
        tracing::warn!(path = %paths.report, %error, "the report cannot be written");
    }
}

async fn stopped() {
    let (Ok(mut term), Ok(mut int)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = term.recv() => {}
        _ = int.recv() => {}
    }
}

/// Reads a task.
///
/// # Errors
/// What is wrong with it.
pub fn parse(text: &str) -> Result<CopyTask, String> {
    if text.len() > MAX_TASK {
        return Err(format!("the task has {} bytes, more than {MAX_TASK}", text.len()));
    }
    let task = CopyTask::parse(text).map_err(|error| printable(&error, 300))?;
    if task.targets.is_empty() || task.targets.len() > MAX_TARGETS {
        return Err(format!("the task has {} targets, expected are 1 to {MAX_TARGETS}", task.targets.len()));
    }
    if let Some(target) = task.targets.iter().find(|target| target.mount_from.len() > MAX_MOUNT_FROM) {
        return Err(format!(
            "{} names more than {MAX_MOUNT_FROM} repositories to link from",
            printable(&target.image, 300)
        ));
    }
    Ok(task)
}

/// Copies all targets, one after the other. Returns the report and the exit code.
///
/// # Expected flow
/// [`parse`] the task, then this, then the report is written where Kubernetes reads it.
///
/// # Guarantees
/// A target counts as done only after its manifests and blobs were verified at the destination. What is there already is
/// not sent again. Signatures and other referrers are sent before the image that they refer to; one that fails costs only
/// itself, and is in the report.
///
/// # Errors
/// There are none: failures are in the report, with a reason for each target, and decide the exit code. A failure that
/// concerns every target, such as refused credentials, fails the remaining ones without further requests.
///
/// # Cancellation
/// If it is dropped, skopeo is killed. What the destination has received stays there, and the next run does not send it
/// again.
pub async fn run(task: &CopyTask, paths: &Paths) -> (CopyReport, u8) {
    let started = Instant::now();
    let mut report = CopyReport::default();
    let mut failed = Vec::new();
    let destination = RegistryEndpoint::destination(task, paths);
    let mut arrived = Vec::<RepositoryName>::new();
    let mut sent = SentLayers::new();
    let mut for_all = connection::check(&destination).await.err();
    for (position, target) in task.targets.iter().enumerate() {
        let result = if let Some(failure) = &for_all {
            Err(failure.clone())
        } else {
            let source = RegistryEndpoint::source(task, target, paths);
            let mut mount_from = target.mount_from.clone();
            mount_from.extend(arrived.iter().rev().take(MAX_MOUNT_FROM).cloned());
            let (source, destination, mount_from) = (&source, &destination, mount_from.as_slice());
            let (base, sent, report) = (Base::default(), &mut sent, &mut report);
            target::copy(Copy { source, destination, target, mount_from, base, sent, paths, report }).await
        };
        match result {
            Ok(()) => {
                report.done += 1;
                if !arrived.contains(&target.repository) {
                    arrived.push(target.repository.clone());
                }
                tracing::info!(image = target.image, repository = %target.repository, "done");
            }
            Err(failure) => {
                report.failed += 1;
                tracing::error!(image = target.image, reason = failure.reason, "{}", failure.message);
                let (reason, message) =
                    (failure.reason.to_owned(), printable(&failure.message, MAX_REPORTED));
                report.failures.push(TargetFailure { target: position, reason, message });
                failed.push(failure.kind);
                for_all = match failure.concerns() {
                    Concerns::One => None,
                    Concerns::AllIfUnreachable => connection::check(&destination).await.err(),
                    Concerns::All => Some(failure),
                };
            }
        }
    }
    report.milliseconds = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
    (report, exit_code(failed))
}

/// The report as JSON. Where it is too long, all messages are shortened alike: the reason of each failure decides what
/// becomes of its image. (T-262)
pub fn fit(mut report: CopyReport) -> String {
    for max in (0..=MAX_REPORTED).rev().step_by(SHORTENED) {
        for failure in &mut report.failures {
            if let Some((end, _)) = failure.message.char_indices().nth(max) {
                failure.message.truncate(end);
                failure.message.push('…');
            }
        }
        let text = serde_json::to_string(&report).unwrap_or_default();
        if text.len() <= MAX_REPORT {
            return text;
        }
    }
    // No task has as many targets.
    loop {
        let text = serde_json::to_string(&report).unwrap_or_default();
        if text.len() <= MAX_REPORT || report.failures.pop().is_none() {
            return text;
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn t262_every_reason_is_in_a_report_however_long_the_messages_are() {
        let failure = |target: usize| TargetFailure {
            target,
            reason: reason::CONNECTION_TIMED_OUT.to_owned(),
            message: format!("{target}: {}", "ä\"".repeat(190)),
        };
        for count in [1, 9, MAX_TARGETS] {
            let failures = (0..count).map(failure).collect::<Vec<_>>();
            let text = fit(CopyReport {
                failed: MAX_TARGETS as u32,
                failures: failures.clone(),
                ..CopyReport::default()
            });
            assert!(text.len() <= MAX_REPORT, "{count}: {}", text.len());
            let read = serde_json::from_str::<CopyReport>(&text).unwrap().failures;
            assert_eq!(read.len(), count);
            for (read, full) in read.iter().zip(&failures) {
                assert_eq!((read.target, &read.reason), (full.target, &full.reason));
                let start = read.message.trim_end_matches('…');
                assert!(start.len() > 20 && full.message.starts_with(start), "{count}: {}", read.message);
            }
        }
    }

    #[test]
    fn t78_a_report_of_many_failures_fits_into_a_termination_message() {
        let failure =
            |target| TargetFailure { target, reason: "CopyFailed".to_owned(), message: "\"".repeat(400) };
        let report =
            CopyReport { failed: 32, failures: (0..32).map(failure).collect(), ..CopyReport::default() };
        let text = fit(report);
        assert!(text.len() <= MAX_REPORT);
        let read =
            serde_json::from_str::<CopyReport>(&text).map(|report| (report.failed, report.failures.len()));
        assert!(matches!(read, Ok((32, 1..=32))), "{text}");
    }

    #[test]
    fn a_task_without_targets_or_with_unknown_fields_is_refused() {
        assert!(
            parse(r#"{"destination":{"registry":"a:1"},"source":{"kind":"Registry"},"targets":[]}"#).is_err()
        );
        assert!(parse("{}").is_err());
        assert!(parse(&" ".repeat(MAX_TASK + 1)).is_err());
    }
}
