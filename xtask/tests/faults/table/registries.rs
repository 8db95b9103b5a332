// SPDX-License-Identifier: Apache-2.0
//! Faults of registries and the network.

use super::Fault;

pub(super) const REGISTRIES: &[Fault] = &[
    (53, "a registry that is down or cuts connections", "resumed where it was cut, then exit code 8"),
    (
        54,
        "a limit of requests",
        "all requests to the host pause as long as it asks, then go more slowly; no image fails, or exit code 8",
    ),
    (
        55,
        "wrong, missing or expired credentials",
        "exit code 7 with registry and credentials named; no storm of requests",
    ),
    (56, "certificates of unknown CAs or for other names", "refused; never a way around TLS"),
    (57, "a realm, location or redirect to somebody else", "no credentials go there"),
    (58, "a registry that stores something else", "found out by reading back; an error"),
    (59, "a full or read-only registry", "reported as that, and not retried indefinitely"),
    (
        60,
        "a damaged blob in the registry",
        "found by reading it back; reported with the steps that repair it",
    ),
    (61, "a layer that the registry lost", "found, and sent again"),
    (62, "garbage collection between two runs", "every image has a tag, so it stays"),
    (63, "garbage collection during a push", "what it took is sent again; the manifest is put again"),
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
    (102, "a proxy that limits the size of a request", "smaller parts, then an error that names the limit"),
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
        "the image travels, with a warning; a tag that is not in the list of tags is absent, whatever the status says",
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
    (
        127,
        "look-ups of signatures that are refused for a limit, or fail, for good",
        "they use at most a quarter of the pauses and retries of a run; the images have the rest",
    ),
    (
        133,
        "a registry that pauses a run whose progress is not shown",
        "pauses and retries are said all the same, in a line each; only `--quiet` is silent",
    ),
    (
        200,
        "an edge that keeps a byte of each part of an upload",
        "it is given up after as many parts as there are retries",
    ),
    (
        203,
        "a repository of the edge that fails while a layer of the base is searched",
        "the others are asked; the run ends only where none of them has the layer",
    ),
    (
        204,
        "layers outside of registries whose hosts fail, or limit requests",
        "their retries and pauses are those of the run: `--retry-budget` and `--max-wait` hold for all together",
    ),
    (
        208,
        "a registry whose storage is full, which it says in the storage's words",
        "called full (exit code 9), not unknown or unavailable; sets show `RegistryFull`, also for a quota; not retried in vain",
    ),
    (
        214,
        "a file with credentials of another system: its helper is not there, one entry is damaged, it has a byte order mark",
        "only a registry that needs what is wrong fails, and the message names file and entry; the importer reads Secrets alike",
    ),
    (
        217,
        "a quota, an immutable tag, a missing project, a rule of the project",
        "each has its own message and help, a quota exit code 9; nobody is told to log in who has credentials",
    ),
    (
        229,
        "a push that is ended by Ctrl-C or SIGTERM",
        "its uploads are cancelled, what is at the edge is said, and the exit code is 130 or 143",
    ),
    (
        230,
        "TLS to a registry that has none, or plain HTTP to one that has TLS",
        "each is told apart from an unknown CA: the message says to correct the port or the setting, by its flag or field",
    ),
    (
        241,
        "an edge registry takes nothing at present: a read-only mode, maintenance, a pull-through cache",
        "called read-only, also where it only says that a method is not allowed; sets show `RegistryReadOnly`, and an alert fires after half an hour",
    ),
    (
        247,
        "a push moves a tag without a word, or calls one new of which the registry says nothing",
        "each tag that moves is shown with both digests, by `--dry-run` and in the JSON too; the others are counted",
    ),
    (
        256,
        "a clock that is wrong, a certificate that has expired or is for another name",
        "each has its own message, with the times or names, and its own help",
    ),
    (
        257,
        "a port that was forgotten, a registry that does not run, a wrong password",
        "the message names the port, or the user and the file with the credentials; the help fits, and no password is shown",
    ),
    (
        264,
        "a registry is away, and many requests fail at a time",
        "each retry is said once for one cause; `-vv` says it for each request",
    ),
];
