// SPDX-License-Identifier: Apache-2.0
//! What a registry is in a copy.

/// Which side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum EndpointRole {
    /// The importer's registry, which serves a bundle.
    Bundle,
    /// The images' own registry.
    Source,
    /// The edge registry.
    Destination,
}

impl EndpointRole {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Bundle => "the importer's registry",
            Self::Source => "the source registry",
            Self::Destination => "the destination registry",
        }
    }
}
