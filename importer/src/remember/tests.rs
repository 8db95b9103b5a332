// SPDX-License-Identifier: Apache-2.0
#![allow(clippy::unwrap_used)]
use super::*;

#[test]
fn only_known_reasons_come_out_of_a_report() {
    assert_eq!(known_failure("AuthFailed"), reason::AUTH_FAILED);
    for text in ["SyncSuccessful", "Error", "", "InvalidSpec", "x\ny"] {
        assert_eq!(known_failure(text), reason::COPY_FAILED, "{text}");
    }
}

#[test]
fn a_time_that_is_yet_to_come_is_over() {
    let at = |second| Timestamp::from_second(second).unwrap();
    let minute = Duration::from_secs(60);
    assert!(
        !is_over(at(0), minute, at(59)) && is_over(at(0), minute, at(60)) && is_over(at(100), minute, at(0))
    );
}
