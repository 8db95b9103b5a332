// SPDX-License-Identifier: Apache-2.0
//! What media wait for.
use super::*;
use crate::model::required_images::SetDemand;

impl Site {
    fn needs(&self) -> SetDemand {
        let images = krs_core::set::check_spec(&self.spec).unwrap();
        let decision = self.decide();
        needs(&self.spec, self.blocker.as_ref(), &images, &self.targets, &self.state, &self.jobs, &decision)
    }
}

/// Somebody else pushes the images, or the set is stalled, while Jobs copy them: nothing is missing then, and the Jobs
/// read their bundles all the same.
#[test]
fn media_wait_for_every_job_that_reads_them_also_where_no_image_is_missing() {
    let mut site = Site::of(4);
    let create = site.decide().create;
    assert_eq!(create.len(), 2);
    let first = site.stock.bundles[0].digest;
    assert_eq!(site.needs().copying_from, BTreeSet::from([first]), "before the Jobs exist");
    let second = Digest::of(b"another bundle");
    site.jobs = create.iter().enumerate().map(|(n, batch)| running(n, batch)).collect();
    site.jobs[1].task.source =
        TaskSource::Bundle { digest: second, name: "other".to_owned(), ca: String::new() };
    let both = BTreeSet::from([first, second]);
    site.mark_all_verified();
    let needs = site.needs();
    assert_eq!((needs.missing.len(), needs.copying_from), (0, both.clone()));
    site.state.verified_at.clear();
    site.blocker =
        Some(Blocker { reason: reason::INVALID_SPEC, message: "an obstacle".to_owned(), stalled: true });
    let needs = site.needs();
    assert_eq!((needs.missing.len(), needs.copying_from), (0, both), "a stalled set deletes no Job");
    site.blocker = None;
    site.spec.suspend = true;
    assert!(site.needs().copying_from.is_empty(), "its Jobs are deleted");
}
