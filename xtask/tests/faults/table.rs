// SPDX-License-Identifier: Apache-2.0
//! The faults that krs must survive, and what it does about each.

/// Its number, what goes wrong, what happens then.
pub(crate) type Fault = (u8, &'static str, &'static str);

/// Titles of the groups, each with its faults.
pub(crate) const GROUPS: &[(&str, &[Fault])] = &[
    (
        "Media and archives that are not trusted",
        &[
            (1, "no signature", "refused, exit code 3; only the manifest and the signatures were read"),
            (2, "a signature of an unknown key", "refused, exit code 3; both keys are named"),
            (3, "one key signs twice", "it counts once"),
            (
                4,
                "the signed manifest was changed",
                "refused by its signature, before anything reads it as JSON",
            ),
            (5, "a list of signatures that claims 10 GB", "16 KiB of it are read, then it is refused"),
            (
                6,
                "a manifest that is no sane JSON",
                "refused: depth, keys in an object, keys twice, encoding and bytes are bounded",
            ),
            (7, "a bundle of a later format", "refused; the message asks for a newer krs"),
            (
                8,
                "keys are changed",
                "old and new key both count while both are trusted, then only the new one",
            ),
            (
                9,
                "names that lead out of the archive",
                "the whole archive is refused; no path is ever taken from one",
            ),
            (10, "symbolic links, as entry or in the place of the file", "refused, not followed"),
            (11, "hard links as entries", "refused"),
            (12, "pipes, sockets and devices", "refused without waiting for their other end"),
            (13, "a link to an endless device", "refused; no byte of it is read"),
            (14, "sparse files of a pebibyte", "refused: an archive holds plain files only"),
            (
                15,
                "sizes that a PAX record and the header state differently",
                "refused: no extension of tar is read",
            ),
            (16, "malformed extensions of tar", "refused, never skipped"),
            (17, "an entry twice", "refused, whether or not the contents are equal"),
            (18, "names that differ only in case", "refused"),
            (19, "something behind the end", "refused, with the number of bytes that are too many"),
            (
                20,
                "an archive that was cut",
                "refused as incomplete, exit code 6; the first missing part is named",
            ),
            (21, "an empty file", "refused as incomplete; `krs bundle` never leaves one"),
            (
                22,
                "a bomb of compressed bytes",
                "nothing is ever unpacked; never more bytes are read than were promised",
            ),
            (23, "zstd with strange frames", "a compressed archive is refused whatever its frames say"),
            (
                24,
                "an archive that somebody compressed",
                "refused; the message says with what, and how to undo it",
            ),
            (25, "a million entries", "the size alone refuses them"),
            (
                26,
                "a bundle for another site",
                "refused, exit code 5; of two bundles on a stick each is judged by its stream",
            ),
            (
                27,
                "an old bundle with a good signature",
                "refused, exit code 5, where a newer one was accepted",
            ),
            (28, "a number that was used for other content", "refused, exit code 5"),
            (
                29,
                "the highest number there is",
                "accepted of a trusted key only; a new stream or key is the way back",
            ),
            (
                30,
                "a bundle past its end, a clock that is wrong",
                "refused with both times, exit code 5; no clock makes krs fail otherwise",
            ),
            (31, "the manifest of one bundle, the blobs of another", "refused at the first digest"),
            (
                32,
                "a delta whose base is not there",
                "refused before anything is written; what is missing is named",
            ),
            (
                33,
                "volumes that are missing, mixed or in another order",
                "a missing one is named; the order does not matter",
            ),
            (34, "a file system without large files", "found out before the first byte; volumes fit it"),
            (35, "a sector that cannot be read", "an error with its place; nothing becomes visible"),
            (36, "a stick that is pulled", "tried again when it is back; nothing is half there"),
            (
                37,
                "a stick whose content changes after it was verified",
                "every blob is compared again while it is copied",
            ),
            (38, "a file that grows or shrinks while it is read", "waited for, or refused"),
            (39, "media without rights to read", "the message names the file and the permission"),
            (40, "paths with spaces, umlauts, any length", "they work"),
        ],
    ),
    (
        "Content of images",
        &[
            (
                41,
                "an edited index of the archive",
                "refused: it must be the one that follows from the manifest",
            ),
            (42, "an edited manifest, config or layer", "refused, exit code 4; the blob is named"),
            (43, "a document that is an index and a manifest", "refused as ambiguous"),
            (
                44,
                "layers that lie elsewhere, content in a descriptor",
                "it counts once its size and digest are those of the descriptor, else not",
            ),
            (45, "digests of other kinds", "refused: only sha256, lower case, 64 digits"),
            (
                46,
                "one name for two images",
                "neither gets it in the archive; sets that ask for it are refused",
            ),
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
                "an image lacks platforms that were asked for",
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
        ],
    ),
    (
        "Registries and the network",
        &[
            (
                53,
                "a registry that is down or cuts connections",
                "gone on with where it was cut, then exit code 8",
            ),
            (
                54,
                "a limit of requests",
                "all requests to the host pause as long as it asks, then go more slowly; no image fails, or exit code 8",
            ),
            (
                55,
                "wrong, missing or expired logins",
                "exit code 7 with registry and login named; no storm of requests",
            ),
            (56, "certificates of unknown CAs or for other names", "refused; never a way around TLS"),
            (57, "a realm, location or redirect to somebody else", "no login goes there"),
            (58, "a registry that stores something else", "found out by reading back; an error"),
            (59, "a full or read-only registry", "said to be so, and not tried for ever"),
            (60, "a damaged blob in the registry", "found by proving the content"),
            (61, "a layer that the registry lost", "found, and sent again"),
            (62, "garbage collection between two runs", "every image has a tag, so it stays"),
            (
                63,
                "garbage collection during a push",
                "what it took is sent again; the manifest is put once more",
            ),
            (64, "two that push to one registry", "nothing flaps: both push the same"),
            (65, "tags that may not be changed", "the digest is pushed, the tag is reported"),
            (66, "registries without some feature", "they work, or the missing feature is named"),
            (
                99,
                "the answer to an upload is lost after the registry stored it",
                "the registry is asked before anything is sent again",
            ),
            (
                100,
                "`HEAD` that is refused, or says something else than `GET`",
                "a `GET` of one byte decides, else the upload; learned once for each registry",
            ),
            (
                101,
                "a registry that refuses a mount, or a part of an upload",
                "the blob is uploaded in one request; nothing is mounted across two credentials",
            ),
            (
                102,
                "a proxy that limits the size of a request",
                "smaller parts, then an error that names the limit",
            ),
            (
                103,
                "a delta whose layers must be read from the registry that they are sent to",
                "one download for each layer, on a connection of its own; hashed, and resumed where it was cut",
            ),
            (
                110,
                "a listed signature, SBOM or attestation that is missing or damaged",
                "it stays behind, with a warning and counted; the image travels. `--referrers required` makes it an error",
            ),
            (111, "an odd entry in a list of referrers", "it costs only that entry"),
            (
                112,
                "look-ups of referrers that are refused or fail",
                "the image travels, with a warning; a tag that the list of tags lacks is absent, whatever the status says",
            ),
            (
                113,
                "a registry that takes the tag `sha256-…` for the digest",
                "the image is not read as a list of its referrers, and not overwritten by one",
            ),
            (
                114,
                "two pushes that write one list of referrers at the same time",
                "read again at the end, and what is missing is added",
            ),
            (
                115,
                "a destination that takes or lists no referrers",
                "the image is tagged all the same; what is not found there is named",
            ),
            (
                116,
                "several token servers behind one registry",
                "each repository keeps to the one that its own answers name",
            ),
            (
                117,
                "a proxy, a login page, or a registry that does not know its own name",
                "named as what it is, with what to set; never called damage",
            ),
            (
                118,
                "a list of tags that is refused, too long or endless, and tags that cannot be read",
                "the others are read; what cannot be is listed as incomplete",
            ),
            (
                119,
                "a registry that fails twice at one offset of an upload, and states that offset",
                "the upload is cancelled and a new one started",
            ),
        ],
    ),
    (
        "The importer and its cluster",
        &[
            (67, "the importer dies at any call", "the same end is reached"),
            (68, "a copy Job dies", "the next goes on; what is there is not sent again"),
            (
                69,
                "power is lost while something is written",
                "the old or the new state, never a damaged file under a final name",
            ),
            (70, "a disk is full", "exit code 9; what was begun is removed or gone on with"),
            (71, "no importer runs", "GitOps engines see that it is awaited"),
            (72, "a set changes while Jobs run", "a status never speaks of another generation"),
            (73, "a set is deleted while Jobs run", "its Jobs go with it; the registry keeps the images"),
            (74, "missed, stale and doubled events", "the same end is reached"),
            (75, "two importers at once", "one decides; what both do is the same"),
            (
                76,
                "Secrets that are missing or malformed",
                "named without their content; taken up when they are right",
            ),
            (77, "a Secret of another namespace", "cannot be expressed"),
            (78, "a set of thousands of images", "status and reports stay bounded"),
            (
                79,
                "a set that is not valid",
                "refused at admission; an old one is reported and breaks nothing",
            ),
            (80, "a Job that is deleted before its result was seen", "the registry is asked, not the Job"),
            (81, "an image for the Job that is not there", "named in the status"),
            (82, "versions change", "unknown fields are left alone"),
            (
                83,
                "quotas and admission that refuse Jobs",
                "reported in the words of the API server, and tried later",
            ),
            (84, "control characters in names and answers", "made harmless before they are shown"),
            (
                120,
                "a copy Job asks for a bundle while its media are away, or just after the importer started",
                "503 with `Retry-After`; the set shows `BundleUnavailable` and the copy is retried",
            ),
            (
                121,
                "the API server refuses the same Job again and again",
                "the wait grows with each attempt, whatever the Job copies from",
            ),
            (
                122,
                "Kubernetes deletes the Jobs that ended",
                "the status goes on to name the bundle that the images came from",
            ),
        ],
    ),
    (
        "Making a bundle",
        &[
            (
                85,
                "hostile checkouts: links, anchors, sizes, encodings",
                "bounded; links are followed below the root only",
            ),
            (86, "limits of requests, half a network", "exit code 8, no archive; the next run goes on"),
            (87, "Ctrl-C, SIGTERM, kill, a full disk", "no file has the final name; the next run works"),
            (88, "one image of many fails", "each one that fails is named, and no archive is left"),
            (89, "the same commit twice", "the same bytes"),
            (90, "a registry that sends other bytes", "fetched once more, then refused; no archive is left"),
            (91, "keys and passphrases as arguments", "refused, not repeated; files and prompts only"),
            (
                92,
                "credential helpers that hang or print nonsense",
                "given up in time; nothing of it is shown",
            ),
            (
                104,
                "a checkout whose sets are not those of its commit, whatever the index says",
                "the bundle says so; each file is named",
            ),
            (
                105,
                "a tracked set that is not read: sparse checkout, ignore files, submodules",
                "read where Git would, else named, and the bundle says so",
            ),
            (106, "line ends that Git changed on checkout", "undone: the bytes of the commit travel"),
            (
                107,
                "a checkout that names programs in its configuration, or belongs to another user",
                "none of them runs and nothing is fetched; its commit is recorded",
            ),
            (
                108,
                "Kustomize would change sets, or take some from elsewhere",
                "a warning with the command that renders them",
            ),
            (
                109,
                "a newer bundle with a lower sequence",
                "refused, exit code 5, with both numbers; nothing is written",
            ),
            (
                125,
                "a kustomization that takes manifests from a network, chart or generator, lists what is missing, or cannot be read",
                "one warning for each of these, with the first place and how many more there are",
            ),
            (
                126,
                "a set that is read through a symbolic link out of the checkout",
                "a warning says why the bundle is of no commit, or marked as changed",
            ),
        ],
    ),
];
