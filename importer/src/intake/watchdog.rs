// SPDX-License-Identifier: Apache-2.0
//! Calls to file systems that may never return: a dying drive, a server of NFS that is gone. Each runs in a thread of its own
//! with a time limit; a folder whose call did not return is left alone until it does, so that it holds up no other folder
//! and costs one thread. (T-140)

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::Duration;

use camino::{Utf8Path, Utf8PathBuf};
use jiff::Timestamp;

/// Folders that hang, and since when. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(super) struct Watchdog(Arc<Mutex<BTreeMap<Utf8PathBuf, Timestamp>>>);

/// A folder does not answer since then.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Hangs(pub Timestamp);

/// How a call stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Call {
    Running,
    Returned,
    GivenUp,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Watchdog {
    /// Calls `work`, which reads `folder`, and waits for it for as long as `limit`. Blocking.
    ///
    /// # Errors
    /// [`Hangs`]: it did not return in time, or an earlier call has not returned yet.
    pub(super) fn call<T: Send + 'static>(
        &self,
        folder: &Utf8Path,
        limit: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Hangs> {
        let began = Timestamp::now();
        if let Some(since) = lock(&self.0).get(folder) {
            return Err(Hangs(*since));
        }
        let call = Arc::new(Mutex::new(Call::Running));
        let (sender, receiver) = mpsc::channel();
        let (all, ended, key) = (Self::clone(self), Arc::clone(&call), folder.to_owned());
        let run = move || {
            // Nobody may be left to take it.
            let _ = sender.send(work());
            let mut call = lock(&ended);
            if *call == Call::GivenUp {
                lock(&all.0).remove(&key);
            }
            *call = Call::Returned;
        };
        // Without a thread nothing can be read now; the next call tries again.
        let thread = std::thread::Builder::new().name("drop folder".to_owned());
        thread.spawn(run).map_err(|_| Hangs(began))?;
        if let Ok(done) = receiver.recv_timeout(limit) {
            return Ok(done);
        }
        let mut call = lock(&call);
        if *call == Call::Returned {
            // Just now; or it broke off, and has nothing to give.
            return receiver.try_recv().map_err(|_| Hangs(began));
        }
        *call = Call::GivenUp;
        lock(&self.0).insert(folder.to_owned(), began);
        Err(Hangs(began))
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
}
