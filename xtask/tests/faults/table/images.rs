// SPDX-License-Identifier: Apache-2.0
//! Faults in the content of images.

use super::Fault;

pub(super) const IMAGES: &[Fault] = &[
    (41, "an edited index of the archive", "refused: it must be the one that follows from the manifest"),
    (42, "an edited manifest, config or layer", "refused, exit code 4; the blob is named"),
    (43, "a document that is an index and a manifest", "refused as ambiguous"),
    (
        44,
        "layers that lie elsewhere, content in a descriptor",
        "it counts once its size and digest are those of the descriptor, else not",
    ),
    (45, "digests of other kinds", "refused: only sha256, lower case, 64 digits"),
    (46, "one name for two images", "neither gets it in the archive; sets that ask for it are refused"),
    (47, "indexes in indexes", "three levels, then refused; what is listed twice is read once"),
    (48, "images of one platform, indexes, charts, artifacts", "all travel unchanged"),
    (49, "attestations inside an index", "kept: the digest of the index does not change"),
    (
        50,
        "signatures and SBOMs beside an image",
        "they travel, and are found at the edge with and without the API",
    ),
    (51, "a tag that moved after its digest was written", "the digest decides"),
    (52, "huge manifests, many layers", "refused with the limit: 4 MiB, 4096 layers"),
    (
        93,
        "one platform is written in several ways",
        "matched as containerd matches it; the best match for each platform travels",
    ),
    (
        94,
        "an image without some of the requested platforms",
        "none of them: an error that lists what there is, exit code 2; some of them: a warning, or an error with --require-platforms",
    ),
    (
        95,
        "a layer lies outside the registry, at an address that a stranger chose",
        "downloaded where no registry has it: https only, without credentials, from public addresses or named hosts only, after each redirect too",
    ),
    (
        96,
        "content is in its descriptor alone, or is not what the descriptor describes",
        "used where size and digest fit; else the blob is fetched, with a warning",
    ),
    (
        97,
        "an index with odd platforms, annotations or types of children",
        "it travels byte for byte; a child of an unknown type travels where it can be had",
    ),
    (
        98,
        "a child of an index was deleted, or a blob of an attestation",
        "a platform is named in the error; an attestation costs a warning, not the image. `--referrers required` makes it an error",
    ),
    (
        149,
        "an attestation inside an index that an edge does not take, or of which a blob is gone or damaged",
        "the image arrives, and counts as present, without it; a warning and the report name it",
    ),
    (
        150,
        "an edge that takes no index with an entry of an unknown type",
        "the entry is put as a manifest too; where that is refused, the error names it and the setting of the registry",
    ),
];
