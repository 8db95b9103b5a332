// SPDX-License-Identifier: Apache-2.0
//! Where the time comes from: the system, or a test that lets days pass.

use std::sync::Arc;

use jiff::Timestamp;

/// What time it is.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;
