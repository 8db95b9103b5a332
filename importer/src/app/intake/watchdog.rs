// SPDX-License-Identifier: Apache-2.0
//! Calls to file systems that may never return: a dying drive, a server of NFS that is gone. Each runs in a thread of its own
//! with a limit; what a call that did not return reads is left alone until it does, so that it holds up nothing else and
//! costs one thread. (T-140, T-192)

use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;
use parking_lot::Mutex;

/// Most calls that may hang at once: each holds a thread.
const MAX_HANGING: usize = 64;

/// What hangs, and since when. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Watchdog(Arc<Mutex<BTreeMap<Utf8PathBuf, Timestamp>>>);

/// Why nothing is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hangs {
    /// It does not answer since then.
    Since(Timestamp),
    /// So many others hang that no thread is risked for it.
    TooMany,
}

/// How a call stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Running,
    Returned,
    GivenUp,
}

/// A call that runs.
pub(super) struct Call {
    state: Arc<Mutex<State>>,
    watchdog: Watchdog,
    key: Utf8PathBuf,
    began: Timestamp,
}

impl Watchdog {
    /// Why nothing is to be read from `key`.
    pub(super) fn hanging(&self, key: &Utf8Path) -> Option<Hangs> {
        let hanging = self.0.lock();
        let too_many = || (hanging.len() >= MAX_HANGING).then_some(Hangs::TooMany);
        hanging.get(key).map(|since| Hangs::Since(*since)).or_else(too_many)
    }

    /// Begins a call that reads `key`, in a thread of its own.
    ///
    /// # Errors
    /// [`Hangs`]: an earlier call has not returned yet.
    pub(super) fn begin(&self, key: &Utf8Path, work: impl FnOnce() + Send + 'static) -> Result<Call, Hangs> {
        let began = Timestamp::now();
        if let Some(hangs) = self.hanging(key) {
            return Err(hangs);
        }
        let state = Arc::new(Mutex::new(State::Running));
        let (all, ended, of) = (Self::clone(self), Arc::clone(&state), key.to_owned());
        let run = move || {
            // Also after a panic, which a closed channel tells whoever waits.
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work));
            let mut state = ended.lock();
            if *state == State::GivenUp {
                all.0.lock().remove(&of);
            }
            *state = State::Returned;
        };
        // Without a thread nothing can be read now; the next call retries.
        let thread = std::thread::Builder::new().name("drop folder".to_owned());
        thread.spawn(run).map_err(|_| Hangs::TooMany)?;
        Ok(Call { state, watchdog: self.clone(), key: key.to_owned(), began })
    }

    /// Calls `work`, which reads `key`, and waits for it for as long as `limit`. Blocking.
    ///
    /// # Errors
    /// [`Hangs`]: it did not return in time, or an earlier call has not returned yet.
    pub(super) fn call<T: Send + 'static>(
        &self,
        key: &Utf8Path,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hangs> {
        self.call_or_keep(key, limit, work).map_err(|(hangs, _)| hangs)
    }

    /// As [`Self::call`]; where the call did not return in time, with what it will give when it does: before the key no
    /// longer counts as hanging.
    ///
    /// # Errors
    /// As [`Self::call`].
    pub(super) fn call_or_keep<T: Send + 'static>(
        &self,
        key: &Utf8Path,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, (Hangs, Option<mpsc::Receiver<T>>)> {
        let (sender, receiver) = mpsc::channel();
        let call = self.begin(key, move || {
            // Nobody may be left to take it.
            let _ = sender.send(work());
        });
        let call = call.map_err(|hangs| (hangs, None))?;
        if let Ok(done) = receiver.recv_timeout(limit) {
            return Ok(done);
        }
        match call.give_up() {
            Some(hangs) => Err((hangs, Some(receiver))),
            // Just now; or it broke off, and has nothing to give.
            None => receiver.try_recv().map_err(|_| (Hangs::Since(call.began), None)),
        }
    }
}

impl Call {
    /// Waits no more: nothing is read from there until the call returns. `None`: it has just returned.
    pub(super) fn give_up(&self) -> Option<Hangs> {
        let mut state = self.state.lock();
        if *state == State::Returned {
            return None;
        }
        *state = State::GivenUp;
        self.watchdog.0.lock().insert(self.key.clone(), self.began);
        Some(Hangs::Since(self.began))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn t140_a_folder_that_hangs_costs_one_thread_holds_up_no_other_and_is_read_again_once_it_answers() {
        let watchdog = Watchdog::default();
        let (release, released) = mpsc::channel::<()>();
        let (dead, other) = (Utf8Path::new("/b/dead"), Utf8Path::new("/b/other"));
        let hangs = watchdog.call(dead, SHORT, move || released.recv().is_ok()).unwrap_err();
        for _ in 0..3 {
            let again = watchdog.call(dead, LONG, || panic!("no second thread waits there"));
            assert_eq!(again, Err::<(), _>(hangs), "at once, and since the first call");
        }
        assert_eq!(watchdog.call(other, LONG, || 7), Ok(7));
        release.send(()).unwrap();
        while watchdog.call(dead, LONG, || ()).is_err() {
            std::thread::yield_now();
        }
    }

    #[test]
    fn t192_the_number_of_threads_that_hang_has_a_bound() {
        let watchdog = Watchdog::default();
        let (release, released) = mpsc::channel::<()>();
        let released = Arc::new(Mutex::new(released));
        for n in 0..MAX_HANGING {
            let released = Arc::clone(&released);
            let folder = Utf8PathBuf::from(format!("/b/{n}"));
            let call = watchdog.begin(&folder, move || released.lock().recv().map_or((), |()| ())).unwrap();
            assert!(matches!(call.give_up(), Some(Hangs::Since(_))));
        }
        let other = Utf8Path::new("/b/other");
        assert_eq!(watchdog.call(other, LONG, || ()), Err(Hangs::TooMany));
        drop(release);
        while watchdog.call(other, LONG, || ()).is_err() {
            std::thread::yield_now();
        }
    }
}
