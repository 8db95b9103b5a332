// SPDX-License-Identifier: Apache-2.0
//! The inputs of the golden vectors are those of which the real encoders made the streams.
#![allow(clippy::unwrap_used, reason = "tests")]

mod support;

#[test]
fn each_input_has_the_bytes_of_the_vectors() {
    support::golden::assert_table("inputs", 127, |_, plain| plain.to_vec());
}
