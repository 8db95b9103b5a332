// SPDX-License-Identifier: Apache-2.0
//! What an edge registry says about a target.

use krs_core::oci::digest::Digest;

/// What the edge registry said about a target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The closure was walked: every manifest fetched and hashed, every blob there with its size, every tag right.
    Complete,
    /// The top manifest is there, of a target that was complete before. Alone it shows nothing.
    Observed,
    /// Something is not there.
    Missing {
        /// What was found missing first.
        what: String,
    },
    /// All is there, but a tag names something else.
    TagMoved {
        /// The tag that the registry was asked for.
        tag: String,
        /// What it names.
        found: Digest,
    },
    /// It holds content that differs from its digest; sending it again does not mend that.
    Corrupt {
        /// What is wrong, for people.
        message: String,
    },
    /// The registry accepts the credentials and refuses to say whether the target is there, as some do for what is
    /// absent: it is copied, and the push decides. It verifies nothing, and denies nothing.
    Unreadable {
        /// A sentence for people.
        message: String,
    },
    /// It could not be asked.
    Failed {
        /// A reason of [`krs_core::crd::reason`].
        reason: &'static str,
        /// A sentence for people.
        message: String,
    },
}

impl Answer {
    /// What is wrong, for people; nothing where nothing is.
    pub fn message(&self) -> &str {
        match self {
            Self::Corrupt { message } | Self::Unreadable { message } | Self::Failed { message, .. } => {
                message
            }
            Self::Complete | Self::Observed | Self::Missing { .. } | Self::TagMoved { .. } => "",
        }
    }
}
