// SPDX-License-Identifier: Apache-2.0
//! The controller, the intake and the embedded registry, and the process that runs them.

pub mod controller;
pub mod http;
pub mod intake;
pub mod probe;
pub mod receipts;
pub mod reconcile;
pub mod registry;
pub mod run;
pub mod start;
pub mod tls;
