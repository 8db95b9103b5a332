// SPDX-License-Identifier: Apache-2.0
//! `krs-fleet FOLDER SITES IMAGES BUNDLES` writes the receipts and the catalog of [`krs_testing::fleet`].
#![allow(clippy::expect_used, reason = "a program for the benchmark")]

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("FOLDER SITES IMAGES BUNDLES");
    let numbers = arguments.map(|text| text.parse().expect("a number")).collect::<Vec<u64>>();
    let [sites, images, bundles] = numbers[..] else { panic!("three numbers are expected") };
    krs_testing::fleet::write(folder.as_str().into(), sites, images, bundles);
}
