// SPDX-License-Identifier: Apache-2.0
//! The kinds of requests that have a budget of connections of their own.

/// Number of lanes.
pub(in crate::registry) const LANES: usize = 3;

/// The budget of connections that a request counts in. A request that others wait for must never wait for a connection
/// that one of them holds, so each kind has a budget of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(in crate::registry) enum Lane {
    /// Requests that nothing else waits for.
    Requests,
    /// Downloads that are the body of an upload, which holds a connection meanwhile. There is at most one for
    /// each upload, and it may be kept between two requests of the upload. So they have no limit that one could wait for.
    Relay,
    /// Token servers: every request may have to wait for a token.
    Tokens,
}
