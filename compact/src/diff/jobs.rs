// SPDX-License-Identifier: Apache-2.0
//! Work on several threads in bounded memory, with its results in order.

use std::collections::BTreeMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

/// What is done with the jobs of a list.
pub(super) struct Jobs<'a, J, R> {
    pub(super) list: &'a [J],
    pub(super) threads: usize,
    /// Bytes that all jobs that were begun, and all results that were not taken, may have in memory. One job may always begin.
    pub(super) memory: u64,
    /// Bytes that a job needs.
    pub(super) weight: &'a (dyn Fn(&J) -> u64 + Sync),
    pub(super) work: &'a (dyn Fn(&J) -> R + Sync),
    /// Bytes of its result.
    pub(super) result_weight: &'a (dyn Fn(&R) -> u64 + Sync),
}

struct State<R> {
    next: usize,
    memory: u64,
    results: BTreeMap<usize, (R, u64)>,
    working: usize,
    is_cancelled: bool,
}

impl<J: Sync, R: Send> Jobs<'_, J, R> {
    /// Runs all jobs, and passes their results to `take` in the order of the list, on the thread of the caller. Jobs begin in this
    /// order too, so the result that `take` waits for is never behind one that waits for memory.
    pub(super) fn run<E>(&self, mut take: impl FnMut(usize, R) -> Result<(), E>) -> Result<(), E>
    where
        E: From<PanicError>,
    {
        let state = State {
            next: 0,
            memory: 0,
            results: BTreeMap::new(),
            working: self.threads.max(1),
            is_cancelled: false,
        };
        let (state, changed) = (Mutex::new(state), Condvar::new());
        thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    let _at_end = AtEnd(&state, &changed);
                    self.worker(&state, &changed);
                });
            }
            let outcome = (0..self.list.len()).try_for_each(|i| {
                let mut locked = lock(&state);
                let (result, memory) = loop {
                    if let Some(result) = locked.results.remove(&i) {
                        break result;
                    }
                    if locked.working == 0 {
                        return Err(PanicError.into());
                    }
                    locked = changed.wait(locked).unwrap_or_else(PoisonError::into_inner);
                };
                drop(locked);
                let taken = take(i, result);
                lock(&state).memory -= memory;
                changed.notify_all();
                taken
            });
            lock(&state).is_cancelled = true;
            changed.notify_all();
            outcome
        })
    }

    fn worker(&self, state: &Mutex<State<R>>, changed: &Condvar) {
        loop {
            let mut locked = lock(state);
            let (i, job, weight) = loop {
                let i = locked.next;
                let Some(job) = self.list.get(i).filter(|_| !locked.is_cancelled) else { return };
                let weight = (self.weight)(job);
                if locked.memory == 0 || locked.memory + weight <= self.memory {
                    break (i, job, weight);
                }
                locked = changed.wait(locked).unwrap_or_else(PoisonError::into_inner);
            };
            locked.next += 1;
            locked.memory += weight;
            drop(locked);
            let result = (self.work)(job);
            let memory = (self.result_weight)(&result);
            let mut locked = lock(state);
            locked.memory = locked.memory - weight + memory;
            locked.results.insert(i, (result, memory));
            drop(locked);
            changed.notify_all();
        }
    }
}

/// A thread panicked, which no input makes it do.
#[derive(Debug, thiserror::Error)]
#[error("a thread panicked")]
pub struct PanicError;

/// Counts a thread as ended however it ends, so that nobody waits for it.
struct AtEnd<'a, R>(&'a Mutex<State<R>>, &'a Condvar);

impl<R> Drop for AtEnd<'_, R> {
    fn drop(&mut self) {
        lock(self.0).working -= 1;
        self.1.notify_all();
    }
}

fn lock<R>(state: &Mutex<State<R>>) -> MutexGuard<'_, State<R>> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::sync::atomic::{AtomicU64, Ordering};

    use super::*;

    #[test]
    fn results_come_in_order_and_memory_is_bounded() {
        let (now, most) = (AtomicU64::new(0), AtomicU64::new(0));
        let list = (0..500_u64).collect::<Vec<_>>();
        let jobs = Jobs {
            list: &list,
            threads: 4,
            memory: 40,
            weight: &|job| job % 13 + 1,
            work: &|job| {
                most.fetch_max(
                    now.fetch_add(job % 13 + 1, Ordering::SeqCst) + job % 13 + 1,
                    Ordering::SeqCst,
                );
                thread::yield_now();
                now.fetch_sub(job % 13 + 1, Ordering::SeqCst);
                *job
            },
            result_weight: &|_| 1,
        };
        let mut taken = Vec::new();
        jobs.run(|i, result| {
            assert_eq!(i as u64, result);
            taken.push(result);
            Ok::<_, PanicError>(())
        })
        .unwrap();
        assert_eq!(taken, list);
        assert!(most.load(Ordering::SeqCst) <= 40);
    }

    #[test]
    fn an_error_ends_the_work() {
        let list = (0..1000).collect::<Vec<_>>();
        let jobs = Jobs {
            list: &list,
            threads: 3,
            memory: 5,
            weight: &|_| 1,
            work: &|job| *job,
            result_weight: &|_| 1,
        };
        let mut taken = 0;
        let outcome = jobs.run(|i, _: i32| {
            taken += 1;
            if i == 7 { Err(PanicError) } else { Ok(()) }
        });
        assert!(outcome.is_err());
        assert_eq!(taken, 8);
    }
}
