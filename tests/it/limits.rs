// SPDX-License-Identifier: Apache-2.0
//! A registry that limits the rate of requests, with complete runs against it. (T-54)

use std::time::{Duration, Instant};

use krs_core::registry::{Client, ClientOptions};
use krs_testing::image::{Image, ImageBuilder, index};
use krs_testing::registry::{Matcher, Request, What};

use crate::harness::{Site, options};

fn image(number: usize) -> Image {
    let child = |platform: &str| {
        ImageBuilder::new(&format!("app {number}"))
            .platform(platform)
            .layer(format!("{number} {platform}"))
            .build()
    };
    index(&[(&child("linux/amd64"), None), (&child("linux/arm64"), None)])
}

/// Bundles so many images for two platforms from a registry that accepts `rate` requests in a second. Returns the time,
/// and the requests that were accepted and refused.
async fn bundle(images: usize, rate: f64, retry_after: bool) -> (Duration, usize, usize) {
    let mut site = Site::new();
    for number in 0..images {
        site.add(&image(number), &format!("team/app-{number}"), "1.0");
    }
    site.load();
    site.source.fail(Matcher::any(), What::RateLimit { rate, burst: rate, retry_after });
    let mut options = options();
    // The registry does not fail: pauses that it asks for use up no retry, and none uses up the budget.
    (options.retry.attempts, options.retry.budget) = (if retry_after { 1 } else { 6 }, 0);
    options.retry.base = Duration::from_millis(200);
    let client = Client::new(ClientOptions { stall_timeout: Duration::from_secs(60), ..options }).unwrap();
    let begun = Instant::now();
    site.bundle(&client, "a.krs.tar").await.unwrap();
    let took = begun.elapsed();
    let requests = site.source.requests();
    let refused = requests.iter().filter(|request: &&Request| request.status == 429).count();
    (took, requests.len() - refused, refused)
}

#[tokio::test(flavor = "multi_thread")]
async fn t54_a_registry_that_limits_requests_fails_no_image_and_refuses_few_requests() {
    for retry_after in [true, false] {
        // That its limit is nearly reached is shown with a clock of its own, in `rate_limit`.
        let bundled = tokio::time::timeout(Duration::from_secs(60), bundle(20, 100.0, retry_after)).await;
        let (_, accepted, refused) = bundled.expect("it ends");
        assert!(refused <= accepted / 4, "{refused} of {accepted} refused");
    }
}

/// The same at its full length.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "takes minutes: cargo test -p krs-core --test it -- --ignored t54"]
async fn t54_a_hundred_images_at_ten_requests_a_second_take_little_longer_than_they_must() {
    let (took, accepted, refused) = bundle(100, 10.0, true).await;
    let least = accepted as f64 / 10.0;
    assert!(took.as_secs_f64() <= 1.2 * least, "{took:?} for {accepted} requests, {refused} refused");
}
