// SPDX-License-Identifier: Apache-2.0
//! Whatever happens to an archive on its way, it is refused, at once, and for the right reason.

mod archive;
mod content;
mod damage;
mod forge;
mod trust;
