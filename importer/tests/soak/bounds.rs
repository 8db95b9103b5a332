// SPDX-License-Identifier: Apache-2.0
//! What a day may cost, by the size of the site and its settings.

use std::time::Duration;

use crate::figures::Figures;
use crate::site::{PARALLELISM, RESYNC, SCAN, Size, VERIFY};

const DAY: Duration = Duration::from_secs(24 * 3600);
/// Requests for one image: to see that it is there (its manifest, a tag), and to verify it (manifest, config, two layers,
/// tag).
const REQUESTS_PER_CHECK: usize = 2;
const VERIFICATION: usize = 5;
/// The sample of a registry: so many images at least, else one of so many.
const MIN_SAMPLE: usize = 20;
const SAMPLE_SHARE: usize = 50;
/// Verifications of a registry that are only due: so many at once and per second at least, else so much more than on average.
const MIN_BURST: usize = 60;
const MIN_RATE: usize = 1;
const HEADROOM: usize = 2;
/// How often a set is reconciled on a day although nothing is to be done: since another bundle came, or was removed, an
/// outage began or ended, the importer was started.
const OTHER_CHECKS: usize = 24;
/// How often it is asked whether an image that is missing came: each time that the bundles change, and when a Job ended.
const MISSING: usize = 6;
/// Writes to the status of a set on a day on which it loses its registry, and for each change of its images.
const STATUS_TROUBLE: usize = 6;
const STATUS_CHANGE: usize = 12;
/// Writes to its state: for each hour in which some of its verifications are renewed or checked after a failure, and for each
/// change.
const STATE_TROUBLE: usize = 6;
const STATE_CHANGE: usize = 12;
/// Jobs for the images that one Job copies: it dies, its media are pulled, or the registry is away for two hours, in which the
/// time between attempts grows to ten minutes.
const ATTEMPTS: usize = 6;
/// Calls of a set to the API server within a minute: it comes, its Jobs are created, events, state and status written.
const CALLS: usize = 16;
/// Calls for a reconcile that finds nothing to do.
const RECONCILE: usize = 4;
/// Kinds that are watched, and compared with a fresh list each minute.
const WATCHED: usize = 5;
/// Bytes of a set with its status, for each image of it, and of its state.
const IMAGE_BYTES: usize = 2048;
const SET_BYTES: usize = 16 * 1024;

/// What happens on a day.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Events {
    /// Sets that come, or whose images change.
    pub(crate) changed: usize,
    /// Sets whose images the registry loses.
    pub(crate) lost: usize,
    /// Drives that are put in.
    pub(crate) drives: usize,
    /// How often the importer is started.
    pub(crate) starts: usize,
}

/// What of a day cost more than it may. `jobs` run at the same time at most.
pub(crate) fn exceeded(
    size: Size,
    jobs: usize,
    day: usize,
    events: Events,
    figures: &Figures,
) -> Vec<String> {
    let sets = size.namespaces * size.sets;
    let images = sets * size.images;
    let writes = |what: &str| figures.writes.get(what).copied().unwrap_or_default();
    let objects = |kind: &str| figures.objects.get(kind).copied().unwrap_or_default();
    let happened = events;
    let Events { changed, lost, drives, starts } = events;
    let (minutes, resyncs, renewals) = (per_day(SCAN), per_day(RESYNC), per_day(VERIFY));

    // The part of each set in the sample is rounded up.
    let sample = images.div_ceil(SAMPLE_SHARE).max(MIN_SAMPLE).min(images) + sets;
    let checks = sets * (resyncs + OTHER_CHECKS);
    let copied = (changed + lost) * size.images;
    let edge = checks
        + (resyncs + starts) * sample * REQUESTS_PER_CHECK
        + renewals * images * VERIFICATION
        + copied * (MISSING + VERIFICATION)
        + if lost > 0 { images * REQUESTS_PER_CHECK } else { 0 };
    // All that can come together: a sample of all sets, or all images where some were lost or are new, what Jobs copied
    // that end together, and what is to be verified.
    let at_once = if lost > 0 || changed == sets { images } else { sample + copied };
    let burst = (HEADROOM * images * seconds(RESYNC)).div_ceil(seconds(VERIFY)).max(MIN_BURST);
    let renewed = burst + 60 * (HEADROOM * images).div_ceil(seconds(VERIFY)).max(MIN_RATE);
    let ended = jobs * size.images.div_ceil(PARALLELISM);
    let edge_minute = sets + at_once * REQUESTS_PER_CHECK + (renewed + ended) * VERIFICATION;

    let statuses = sets * STATUS_TROUBLE + (changed + lost) * STATUS_CHANGE;
    let states = sets * STATE_TROUBLE + (changed + lost) * STATE_CHANGE;
    // A Job is created, and deleted.
    let batches = (changed + lost) * PARALLELISM.min(size.images) * 2 * ATTEMPTS;
    // A bundle says how many images are still copied from it, and changes with each Job that ends.
    let bundles = drives * (size.sets * PARALLELISM * 2 + 20);
    let events = sets * 2 + (changed + lost) * 4;
    let written = statuses + states + batches + bundles + events;
    let bytes = (statuses + states) * (SET_BYTES + size.images * IMAGE_BYTES) / 2
        + (batches + bundles + events) * SET_BYTES;
    let bounds = [
        ("writes of statuses", writes("edgeimagesets/status"), statuses),
        ("writes of states", writes("configmaps"), states),
        ("writes of ImageBundles", writes("imagebundles"), bundles),
        ("writes of Jobs", writes("jobs"), batches),
        ("writes of Events", writes("events"), events),
        ("bytes written", figures.bytes, bytes),
        (
            "requests to the API server",
            figures.api,
            minutes * WATCHED * 2 + written * 2 + (checks + (changed + lost) * 60) * RECONCILE,
        ),
        ("requests to the API server in a minute", figures.api_minute, WATCHED * 4 + sets * CALLS),
        ("requests to the edge registry", figures.edge, edge),
        ("requests to the edge registry in a minute", figures.edge_minute, edge_minute),
        // One for each set, and one for the marks.
        ("ConfigMaps", objects("configmaps"), sets + 1),
        ("ImageBundles", objects("imagebundles"), size.namespaces + 6),
        ("Jobs", objects("jobs"), 0),
        ("bytes of the largest state", figures.largest_state, 1024 * size.images),
    ];
    let exceeded = bounds.iter().filter(|(_, is, most)| is > most);
    let told = exceeded.map(|(what, is, most)| {
        let peaks = (&figures.api_peak, &figures.edge_peak, &figures.edge_kinds);
        format!("day {day}: {is} {what}, at most {most}: {happened:?} {peaks:?}")
    });
    told.collect()
}

fn seconds(time: Duration) -> usize {
    usize::try_from(time.as_secs()).unwrap()
}

fn per_day(interval: Duration) -> usize {
    seconds(DAY) / seconds(interval)
}
