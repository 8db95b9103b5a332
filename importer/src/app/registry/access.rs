// SPDX-License-Identifier: Apache-2.0
//! Who asks: tokens, and what the API server said of them lately.

use parking_lot::{Mutex, MutexGuard};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use krs_core::oci::digest::Digest;
use krs_core::redact::Secret;
use tokio::sync::Semaphore;

use crate::model::required_images::SetName;
use crate::model::task::MAX_TOKEN;

/// Largest header with a token: Base64 of a user name and the token.
const MAX_HEADER: usize = (MAX_TOKEN + 1024) / 3 * 4;
/// How long an answer counts.
const KEEP: Duration = Duration::from_secs(60);
/// How long a refusal counts: a Job may be seen before its Pod is.
const KEEP_REFUSAL: Duration = Duration::from_secs(5);
/// Most answers that are kept.
const MAX_KEPT: usize = 1024;
/// Most reviews at once.
const MAX_REVIEWS: usize = 8;
/// How long a review may take, with waiting for its turn.
const REVIEW_TIMEOUT: Duration = Duration::from_secs(15);

/// What a token stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum TokenReviewResult {
    /// A Pod of a copy Job of this set, which may read what its namespace may.
    Reader(SetName),
    /// Nobody who may read.
    Refused,
}

/// The API server could not be asked, or did not answer as it should. Says what, without the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the token cannot be reviewed: {0}")]
pub(super) struct Unavailable(pub(super) String);

type Answer = Result<TokenReviewResult, Unavailable>;
type PendingReview = Shared<BoxFuture<'static, Answer>>;

/// Asks what a token stands for that came from an address.
pub(super) type Reviewer = Box<dyn Fn(Secret, IpAddr) -> BoxFuture<'static, Answer> + Send + Sync>;

/// Reviews tokens, each only once in a while.
pub(super) struct Access {
    reviewer: Reviewer,
    clock: Box<dyn Fn() -> Instant + Send + Sync>,
    turns: Arc<Semaphore>,
    /// By the SHA-256 of the token.
    kept: Mutex<HashMap<Digest, Kept>>,
}

struct Kept {
    answer: PendingReview,
    started: Instant,
    until: Instant,
}

impl std::fmt::Debug for Access {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Access")
    }
}

impl Access {
    pub(super) fn new(reviewer: Reviewer) -> Self {
        let turns = Arc::new(Semaphore::new(MAX_REVIEWS));
        Self { reviewer, clock: Box::new(Instant::now), turns, kept: Mutex::default() }
    }

    /// What the token from `peer` stands for. Everybody who asks for one token at a time waits for one review.
    pub(super) async fn verdict(&self, token: Secret, peer: IpAddr) -> Answer {
        let key = Digest::of(token.expose().as_bytes());
        let pending = self.pending(key, token, peer);
        let answer = pending.clone().await;
        let mut kept = self.kept();
        if let Some(entry) = kept.get_mut(&key).filter(|entry| entry.answer.ptr_eq(&pending)) {
            match &answer {
                Ok(TokenReviewResult::Reader(_)) => entry.until = entry.started + KEEP,
                Ok(TokenReviewResult::Refused) => {
                    entry.until = entry.until.min((self.clock)() + KEEP_REFUSAL);
                }
                Err(_) => {
                    kept.remove(&key);
                }
            }
        }
        answer
    }

    fn pending(&self, key: Digest, token: Secret, peer: IpAddr) -> PendingReview {
        let now = (self.clock)();
        let mut kept = self.kept();
        if let Some(entry) = kept.get(&key).filter(|entry| entry.until > now) {
            return entry.answer.clone();
        }
        if kept.len() >= MAX_KEPT {
            kept.retain(|_, entry| entry.until > now);
        }
        if kept.len() >= MAX_KEPT {
            let oldest = kept.iter().min_by_key(|(_, entry)| entry.until).map(|(key, _)| *key);
            oldest.and_then(|oldest| kept.remove(&oldest));
        }
        let (review, turns) = ((self.reviewer)(token, peer), Arc::clone(&self.turns));
        let review = async move {
            let turn = async {
                let turn = turns.acquire_owned().await;
                // What has begun goes to its end, also where whoever asked has closed the connection: a token that is refused
                // counts in any case. (T-248)
                let reviewing = tokio::spawn(async move {
                    let _turn = turn;
                    in_time(review).await
                });
                reviewing.await.unwrap_or_else(|error| Err(Unavailable(error.to_string())))
            };
            in_time(turn).await
        };
        let answer = review.boxed().shared();
        // Longer only for a token that is right: nobody may be left to hear what this one is.
        kept.insert(key, Kept { answer: answer.clone(), started: now, until: now + REVIEW_TIMEOUT });
        answer
    }

    fn kept(&self) -> MutexGuard<'_, HashMap<Digest, Kept>> {
        self.kept.lock()
    }
}

async fn in_time(review: impl Future<Output = Answer>) -> Answer {
    let late = |_| Err(Unavailable("the API server did not answer in time".to_owned()));
    tokio::time::timeout(REVIEW_TIMEOUT, review).await.unwrap_or_else(late)
}

/// The token in a request: the password of Basic authentication. The user's name does not matter.
pub(super) fn token(headers: &HeaderMap) -> Option<Secret> {
    let value = headers.get(AUTHORIZATION)?.to_str().ok().filter(|value| value.len() <= MAX_HEADER)?;
    let (scheme, credentials) = value.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let pair = String::from_utf8(STANDARD.decode(credentials.trim()).ok()?).ok()?;
    let (_, password) = pair.split_once(':')?;
    // A token has no other characters; nothing else is worth a question to the API server.
    let shaped = password.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    (shaped && !password.is_empty() && password.len() <= MAX_TOKEN).then(|| Secret::new(password))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const PEER: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn headers(value: &str) -> HeaderMap {
        HeaderMap::from_iter([(AUTHORIZATION, value.parse().unwrap())])
    }

    /// A clock that stands still until it is moved on.
    #[derive(Clone)]
    struct Clock(Arc<Mutex<Instant>>);

    impl Clock {
        fn advance(&self, seconds: u64) {
            *self.0.lock() += Duration::from_secs(seconds);
        }
    }

    fn counting(answer: Answer) -> (Access, Arc<AtomicUsize>, Clock) {
        let count = Arc::new(AtomicUsize::new(0));
        let clock = Clock(Arc::new(Mutex::new(Instant::now())));
        let (counted, shown) = (Arc::clone(&count), clock.clone());
        let mut access = Access::new(Box::new(move |_, _| {
            let (counted, answer) = (Arc::clone(&counted), answer.clone());
            async move {
                counted.fetch_add(1, Ordering::SeqCst);
                tokio::task::yield_now().await;
                answer
            }
            .boxed()
        }));
        access.clock = Box::new(move || *shown.0.lock());
        (access, count, clock)
    }

    fn reader() -> Answer {
        Ok(TokenReviewResult::Reader(SetName { namespace: "apps".to_owned(), name: "set".to_owned() }))
    }

    #[test]
    fn the_password_is_the_token_whatever_the_user_is_called() {
        let basic = |pair: &str| headers(&format!("Basic {}", STANDARD.encode(pair)));
        assert_eq!(token(&basic("any:a.b-c_d")).unwrap().expose(), "a.b-c_d");
        assert_eq!(token(&headers(&format!("basic {}", STANDARD.encode(":x")))).unwrap().expose(), "x");
        let long = format!("u:{}", "x".repeat(MAX_TOKEN + 1));
        for bad in
            [basic("u:"), basic("u"), basic("u:a b"), basic(&long), headers("Bearer x"), headers("Basic ?")]
        {
            assert_eq!(token(&bad), None);
        }
        assert_eq!(token(&HeaderMap::new()), None);
        assert!(token(&basic(&format!("u:{}", "x".repeat(MAX_TOKEN)))).is_some());
    }

    #[tokio::test]
    async fn those_who_ask_together_share_a_review_and_its_answer_counts_for_a_minute() {
        let (access, count, clock) = counting(reader());
        let review = || access.verdict(Secret::new("t"), PEER);
        assert_eq!(tokio::join!(review(), review(), review()), (reader(), reader(), reader()));
        clock.advance(59);
        review().await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 1);
        access.verdict(Secret::new("other"), PEER).await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 2);
        clock.advance(1);
        review().await.unwrap();
        assert_eq!(count.load(Ordering::SeqCst), 3);
    }

    #[tokio::test]
    async fn a_refusal_counts_for_a_shorter_time_and_a_failure_not_at_all() {
        let (access, count, clock) = counting(Ok(TokenReviewResult::Refused));
        for (wait, reviews) in [(4, 1), (1, 1), (0, 2)] {
            assert_eq!(access.verdict(Secret::new("t"), PEER).await, Ok(TokenReviewResult::Refused));
            assert_eq!(count.load(Ordering::SeqCst), reviews);
            clock.advance(wait);
        }
        let (access, count, _) = counting(Err(Unavailable("down".to_owned())));
        for reviews in 1..3 {
            access.verdict(Secret::new("t"), PEER).await.unwrap_err();
            assert_eq!(count.load(Ordering::SeqCst), reviews);
        }
    }

    /// Whoever asks and closes the connection at once would else have any number of tokens reviewed.
    #[tokio::test]
    async fn t248_a_review_that_has_begun_goes_to_its_end_though_nobody_waits_for_it() {
        let (starts, mut begins) = tokio::sync::mpsc::unbounded_channel();
        let (ended, mut ends) = tokio::sync::mpsc::unbounded_channel();
        let answers = Arc::new(Semaphore::new(0));
        let answered = Arc::clone(&answers);
        let access = Access::new(Box::new(move |_, _| {
            let (starts, ended, answered) = (starts.clone(), ended.clone(), Arc::clone(&answered));
            async move {
                starts.send(()).unwrap();
                answered.acquire().await.unwrap().forget();
                ended.send(()).unwrap();
                Ok(TokenReviewResult::Refused)
            }
            .boxed()
        }));
        for n in 0..3 {
            let (token, patience) = (Secret::new(format!("t{n}")), Duration::from_secs(30));
            tokio::select! {
                answer = access.verdict(token, PEER) => panic!("{answer:?}"),
                starts = begins.recv() => starts.unwrap(),
            }
            answers.add_permits(1);
            tokio::time::timeout(patience, ends.recv()).await.unwrap().unwrap();
        }
        let all = access.turns.acquire_many(u32::try_from(MAX_REVIEWS).unwrap());
        let _all = tokio::time::timeout(Duration::from_secs(30), all).await.unwrap().unwrap();
    }

    #[tokio::test]
    async fn what_is_kept_has_a_bound() {
        let (access, ..) = counting(Ok(TokenReviewResult::Refused));
        for n in 0..MAX_KEPT + 50 {
            drop(access.pending(Digest::of(&n.to_be_bytes()), Secret::new("t"), PEER));
        }
        assert_eq!(access.kept().len(), MAX_KEPT);
    }
}
