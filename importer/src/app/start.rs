// SPDX-License-Identifier: Apache-2.0
//! The start of the importer: nothing can be done before the API server answers once. One that is away is asked again, as it
//! is later; a new process would not help, and would take the log and the health of this one away.

use std::fmt::Display;
use std::time::Duration;

use krs_core::error::chain;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::adapters::heartbeat::Heartbeat;
use crate::app::http::Condition;

/// First wait before a step is retried, doubled by each further one.
const BACK_OFF: Duration = Duration::from_secs(1);
/// Longest wait before a step is retried.
const MAX_BACK_OFF: Duration = Duration::from_secs(15);
/// How long the start may take. After that a new process may help: its name server, token and CA may be others.
pub const START_LIMIT: Duration = Duration::from_secs(600);

/// What a step of the start failed with.
pub trait StepError: std::error::Error {
    /// Whether waiting may help.
    fn is_temporary(&self) -> bool;
}

/// The start of the importer, as `/readyz` tells it.
#[derive(Debug)]
pub struct Start {
    waits_for: watch::Sender<Option<String>>,
    heartbeat: Heartbeat,
    until: Instant,
}

impl Start {
    /// It begins now.
    pub fn new(heartbeat: Heartbeat) -> Self {
        let waits_for = watch::channel(Some("the API server did not answer yet".to_owned())).0;
        Self { waits_for, heartbeat, until: Instant::now() + START_LIMIT }
    }

    /// Holds once the start is over.
    pub fn is_over(&self) -> Condition {
        let waits_for = self.waits_for.subscribe();
        Box::new(move || match &*waits_for.borrow() {
            Some(what) => Err(format!("the importer starts: {what}")),
            None => Ok(()),
        })
    }

    /// Says what is waited for.
    pub fn waits_for(&self, what: impl Display) {
        self.heartbeat.beat();
        self.waits_for.send_replace(Some(what.to_string()));
    }

    /// Says that it is over.
    pub fn end(self) {
        self.waits_for.send_replace(None);
    }

    /// Takes a step until it succeeds.
    ///
    /// # Errors
    /// That of the last attempt: waiting does not help, or did not for [`START_LIMIT`].
    pub async fn step<T, E: StepError + 'static>(
        &self,
        what: &'static str,
        mut attempt: impl AsyncFnMut() -> Result<T, E>,
    ) -> Result<T, E> {
        let mut wait = BACK_OFF;
        loop {
            let error = match attempt().await {
                Ok(done) => return Ok(done),
                Err(error) => error,
            };
            if !error.is_temporary() || Instant::now() + wait > self.until {
                return Err(error);
            }
            let text = chain(&error);
            tracing::warn!(step = what, error = text, wait = wait.as_secs(), "the start is delayed, retried");
            self.waits_for(text);
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(MAX_BACK_OFF);
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::adapters::heartbeat::Heartbeats;

    #[derive(Debug, thiserror::Error, PartialEq)]
    #[error("attempt {0}")]
    struct Failed(u32, bool);

    impl StepError for Failed {
        fn is_temporary(&self) -> bool {
            self.1
        }
    }

    async fn take(ends_at: u32, temporary: bool) -> (Result<u32, Failed>, Duration) {
        let heartbeats = Heartbeats::default();
        let start = Start::new(heartbeats.begin("the start", Duration::from_secs(60)));
        let (started, over) = (Instant::now(), start.is_over());
        let mut attempts = 0;
        let step = start.step("a step", async || {
            attempts += 1;
            assert_eq!(heartbeats.check(), Ok(()), "the kubelet would restart it");
            let error = over().unwrap_err();
            assert!(attempts == 1 || error.contains(&format!("attempt {}", attempts - 1)), "{error}");
            if attempts == ends_at { Ok(attempts) } else { Err(Failed(attempts, temporary)) }
        });
        let outcome = step.await;
        start.end();
        assert_eq!(over(), Ok(()));
        (outcome, started.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn t181_a_step_of_the_start_is_retried_for_ten_minutes_and_readiness_says_why() {
        let (outcome, took) = take(6, true).await;
        assert_eq!(outcome, Ok(6));
        assert!(took >= Duration::from_secs(30) && took < Duration::from_secs(32), "{took:?}");
        let (outcome, took) = take(u32::MAX, true).await;
        assert!(outcome.is_err() && took <= START_LIMIT && took > START_LIMIT - MAX_BACK_OFF, "{took:?}");
        let (outcome, took) = take(u32::MAX, false).await;
        assert_eq!((outcome, took), (Err(Failed(1, false)), Duration::ZERO), "a person must correct it");
    }
}
