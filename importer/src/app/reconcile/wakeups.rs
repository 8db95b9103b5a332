// SPDX-License-Identifier: Apache-2.0
//! Sets that wait for something that no event of their own tells: the end of another set's Job, the end of a check of the
//! registry. They are reconciled when it happens, not every few seconds.

use parking_lot::Mutex;
use std::collections::VecDeque;

use futures::Stream;
use futures::channel::mpsc::{UnboundedReceiver, UnboundedSender, unbounded};
use krs_core::crd::EdgeImageSet;
use kube::runtime::reflector::ObjectRef;

use crate::model::required_images::SetName;

/// Who is woken, and who waits for it.
#[derive(Default)]
pub(super) struct Wakeups {
    listeners: Mutex<Vec<Listener>>,
    queue: Mutex<Queue>,
}

/// The namespace whose sets are waited for (absent: all), and where they are named.
type Listener = (Option<String>, UnboundedSender<ObjectRef<EdgeImageSet>>);

/// Sets with images that could be copied, but for the limits on Jobs or a repository that another Job writes to; first
/// come, first served.
#[derive(Default)]
struct Queue {
    /// Counts Jobs that ended. Each set is woken once for each at most.
    ended: u64,
    waiting: VecDeque<WaitingSet>,
}

struct WaitingSet {
    uid: String,
    name: SetName,
    /// For which end of a Job it was woken last.
    woken: u64,
}

impl Wakeups {
    /// The sets of a namespace (absent: of all) that are to be reconciled. The channel holds few: a set is named when a
    /// check of it ends, or a Job does.
    pub(super) fn listen(
        &self,
        namespace: Option<&str>,
    ) -> impl Stream<Item = ObjectRef<EdgeImageSet>> + Send + use<> {
        let (sender, receiver): (_, UnboundedReceiver<_>) = unbounded();
        self.listeners.lock().push((namespace.map(str::to_owned), sender));
        receiver
    }

    /// Has a set reconciled soon.
    pub(super) fn wake(&self, name: &SetName) {
        self.listeners.lock().retain(|(namespace, sender)| {
            let of_namespace = namespace.as_ref().is_none_or(|namespace| *namespace == name.namespace);
            let set = ObjectRef::new(&name.name).within(&name.namespace);
            !of_namespace || sender.unbounded_send(set).is_ok()
        });
    }

    /// How many Jobs ended. Asked for before the decision, so that no end is missed in between.
    pub(super) fn ended(&self) -> u64 {
        self.queue.lock().ended
    }

    /// A set waits for the end of a Job, and knows of those up to `ended`.
    pub(super) fn wait(&self, uid: &str, name: &SetName, ended: u64) {
        let waiting = &mut self.queue.lock().waiting;
        if !waiting.iter().any(|waiting| waiting.uid == uid) {
            waiting.push_back(WaitingSet { uid: uid.to_owned(), name: name.clone(), woken: ended });
        }
    }

    /// A set does not wait any more.
    pub(super) fn wait_no_more(&self, uid: &str) {
        self.queue.lock().waiting.retain(|waiting| waiting.uid != uid);
    }

    /// Keeps the sets that `is_alive`. What those that are gone were woken for, the next set is.
    pub(super) fn retain(&self, is_alive: impl Fn(&str) -> bool, may_create: impl Fn(&str) -> bool) {
        let is_lost = {
            let mut queue = self.queue.lock();
            let ended = queue.ended;
            let is_gone = |waiting: &WaitingSet| !is_alive(&waiting.uid);
            let is_lost = queue.waiting.iter().any(|waiting| is_gone(waiting) && waiting.woken == ended);
            queue.waiting.retain(|waiting| !is_gone(waiting));
            is_lost
        };
        if is_lost {
            self.wake_next(may_create);
        }
    }

    /// A Job ended: wakes the set that waits longest, of a namespace that may create one. Once reconciled, that one wakes the
    /// next where a slot is left.
    pub(super) fn job_ended(&self, may_create: impl Fn(&str) -> bool) {
        {
            let mut queue = self.queue.lock();
            queue.ended = queue.ended.saturating_add(1);
        }
        self.wake_next(may_create);
    }

    /// Wakes the next set that was not woken since the last end of a Job, of a namespace that may create one. Where all slots
    /// that are left are kept for other namespaces, each end of a Job would else have every waiting set reconciled, which
    /// finds that out. (T-250)
    pub(super) fn wake_next(&self, may_create: impl Fn(&str) -> bool) {
        let name = {
            let mut queue = self.queue.lock();
            let ended = queue.ended;
            let is_next =
                |waiting: &&mut WaitingSet| waiting.woken < ended && may_create(&waiting.name.namespace);
            let next = queue.waiting.iter_mut().find(is_next);
            next.map(|waiting| {
                waiting.woken = ended;
                waiting.name.clone()
            })
        };
        name.iter().for_each(|name| self.wake(name));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use futures::{FutureExt as _, StreamExt as _};

    fn set(name: &str) -> SetName {
        SetName { namespace: "shop".to_owned(), name: name.to_owned() }
    }

    fn any(_: &str) -> bool {
        true
    }

    fn woken(stream: &mut (impl Stream<Item = ObjectRef<EdgeImageSet>> + Unpin)) -> Vec<String> {
        std::iter::from_fn(|| stream.next().now_or_never().flatten()).map(|set| set.name).collect()
    }

    #[test]
    fn the_set_that_waits_longest_is_woken_first_and_each_once_for_each_job_that_ends() {
        let wakeups = Wakeups::default();
        let (mut all, mut other) = (wakeups.listen(None), wakeups.listen(Some("bank")));
        for name in ["a", "b", "c"] {
            wakeups.wait(name, &set(name), wakeups.ended());
        }
        wakeups.wake_next(any);
        assert_eq!(woken(&mut all), [""; 0], "no Job ended since they found out that they must wait");
        wakeups.job_ended(any);
        assert_eq!(woken(&mut all), ["a"]);
        // `a` cannot use the slot and passes it on.
        wakeups.wait("a", &set("a"), wakeups.ended());
        (0..9).for_each(|_| wakeups.wake_next(any));
        assert_eq!(woken(&mut all), ["b", "c"]);
        wakeups.wait_no_more("b");
        wakeups.job_ended(any);
        wakeups.retain(|uid| uid != "c", any);
        assert_eq!(woken(&mut all), ["a"]);
        assert_eq!(woken(&mut other), [""; 0]);
    }

    #[test]
    fn t188_what_a_deleted_set_was_woken_for_the_next_one_is() {
        let wakeups = Wakeups::default();
        let mut all = wakeups.listen(None);
        for name in ["a", "b"] {
            wakeups.wait(name, &set(name), wakeups.ended());
        }
        wakeups.job_ended(any);
        assert_eq!(woken(&mut all), ["a"]);
        wakeups.retain(|uid| uid != "a", any);
        assert_eq!(woken(&mut all), ["b"]);
    }

    #[test]
    fn an_end_between_the_decision_and_the_wait_is_not_missed() {
        let wakeups = Wakeups::default();
        let mut all = wakeups.listen(Some("shop"));
        let before = wakeups.ended();
        wakeups.job_ended(any);
        wakeups.wait("a", &set("a"), before);
        wakeups.wake_next(any);
        assert_eq!(woken(&mut all), ["a"]);
    }

    #[test]
    fn t250_sets_of_namespaces_without_a_slot_are_not_woken_until_there_is_one() {
        let wakeups = Wakeups::default();
        let mut all = wakeups.listen(None);
        for (namespace, name) in [("shop", "a"), ("shop", "b"), ("bank", "c")] {
            let set = SetName { namespace: namespace.to_owned(), name: name.to_owned() };
            wakeups.wait(name, &set, wakeups.ended());
        }
        wakeups.job_ended(|namespace| namespace == "bank");
        assert_eq!(woken(&mut all), ["c"]);
        (0..9).for_each(|_| wakeups.wake_next(|namespace| namespace == "bank"));
        assert_eq!(woken(&mut all), [""; 0]);
        wakeups.wake_next(|namespace| namespace == "shop");
        assert_eq!(woken(&mut all), ["a"], "what ended before counts for it still");
        wakeups.wake_next(|_| false);
        wakeups.retain(|uid| uid != "a", |_| false);
        assert_eq!(woken(&mut all), [""; 0]);
        wakeups.wake_next(any);
        assert_eq!(woken(&mut all), ["b"]);
    }
}
