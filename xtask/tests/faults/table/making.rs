// SPDX-License-Identifier: Apache-2.0
//! Faults while a bundle is made.

use super::Fault;

pub(super) const MAKING: &[Fault] = &[
    (
        85,
        "hostile checkouts: links, anchors, sizes, encodings",
        "bounded; links are followed below the root only",
    ),
    (86, "limits of requests, half a network", "exit code 8, no archive; the next run resumes"),
    (87, "Ctrl-C, SIGTERM, kill, a full disk", "no file has the final name; the next run works"),
    (88, "one image of many fails", "each one that fails is named, and no archive is left"),
    (89, "the same commit twice", "the same bytes"),
    (90, "a registry that sends other bytes", "fetched again, then refused; no archive is left"),
    (91, "keys and passphrases as arguments", "refused, not repeated; files and prompts only"),
    (92, "credential helpers that hang or print nonsense", "given up in time; nothing of it is shown"),
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
    (
        199,
        "Flux or Argo CD would change or rename sets below the path of their resources",
        "a warning for each resource, with its name, the fields and the command that renders the sets",
    ),
    (
        205,
        "files of several paths have one name, or the paths come in another order, or lie in each other",
        "files are named relative to what holds all paths, each is read once, and the bundle is the same",
    ),
    (
        226,
        "a variable of a CI system that is set and empty",
        "it counts as unset; one that asks for a check of a bundle is an error that names it",
    ),
    (
        233,
        "a kind or apiVersion that is almost that of a set: `EdgeImageSets`, `EdgeImage`, another group",
        "an error with the right word; no set is left out in silence",
    ),
    (
        234,
        "ignore files exclude sets, or a folder holds other kinds only",
        "the sets are listed as skipped, with the line that excludes them; without any set it is said what was read",
    ),
    (
        235,
        "signed bundles of one commit differ, or a key of `minisign -W` is not read",
        "signatures are deterministic, and such keys sign as others do",
    ),
    (
        237,
        "a key asks for a passphrase while sets come over standard input",
        "asked for at the terminal; where there is none, the message says how to give it",
    ),
    (
        246,
        "sets of different sites give one name to different images",
        "a warning when the bundle is made, with both sets and files; a push of both into one registry is refused",
    ),
    (
        249,
        "hundreds of images fail for one cause: a registry that cannot be reached, wrong credentials",
        "the cause is said once, with the number and the first images; the JSON lists all",
    ),
    (
        258,
        "a file below one of several folders is wrong, or one folder far below",
        "messages name it by a path that begins as the call does, and can be opened",
    ),
    (
        270,
        "a catalog is cut in the middle of a line, or the file is not a catalog",
        "the line is named and not used, all others are, and more can be added; another file is never written to",
    ),
    (
        271,
        "images of a set are replaced, appended or removed in its file: any layout of YAML or JSON, line breaks, lists",
        "the file is what its author would write: every other byte stays, or the edit is refused with its place",
    ),
    (
        272,
        "a link lies under the temporary name of a file that krs replaces, or the write fails",
        "the link is not followed; the old file stays, and nothing is left beside it",
    ),
    (
        273,
        "an image archive that readers of tars read differently: two entries of one name, links, sparse files, `..`",
        "refused with the entry, exit code 4; no name of an entry becomes a path of the file system",
    ),
    (
        274,
        "an image archive that is cut, or has sizes, names, entries or manifests without end",
        "refused before anything of that size is read: memory is bounded by the names of at most 100,000 entries",
    ),
    (
        275,
        "a source of `--from` has other content than its digests say, or another image under the name of one that is pinned",
        "damage is an error and no registry replaces it; a name never stands for a pinned digest, and a warning names both digests",
    ),
    (
        276,
        "an archive of `docker save` has lost the manifest of the registry, or its parts do not fit together",
        "the image gets a manifest that only its content decides; a pinned digest of the registry is refused with the one that the archive gives",
    ),
    (
        278,
        "`krs pin`: a registry fails for some images, or a file changes while they are looked up",
        "these references, or this file, stay as they are, with the reason and an exit code; all others are written",
    ),
    (
        279,
        "`krs.yaml`, which everybody who can change the sets can change, names a key, a CA or a path, is a link out of the checkout, or an option says the opposite of what it requires",
        "it has no fields that could loosen a check, and the others are refused with their line; a link is refused; a requirement holds for every call, with the file and line",
    ),
    (
        280,
        "a receipt of a site, or a short one, was changed after it was signed",
        "it is refused with exit code 3 where the site's key is known; an unknown key or none is a warning",
    ),
    (
        281,
        "a receipt says that it is of one site, and the key of another site signed it",
        "it is refused; a key that is bound to a site signs for no other, and the site accepts no other",
    ),
    (
        282,
        "a receipt is deeply nested, has very many keys, or is very long",
        "it is refused before anything is built from it",
    ),
    (
        283,
        "a receipt is old or from the future, there are two of one site, or the site does not read the format of the bundle",
        "age and double receipts are said, the newest counts; a bundle in a format that the site does not read is not written",
    ),
    (
        285,
        "a Docker daemon does not respond, sends without end or too little, fails in the middle, or is something else",
        "an error with a limit of time or bytes; the temporary file is gone",
    ),
    (
        286,
        "a Docker daemon has lost the manifest of an image",
        "a pinned digest is named and comes from its registry or not at all; a tag gets the digest that `docker save` would give",
    ),
    (
        287,
        "power is lost or krs is killed while `krs pin` writes a set, or `krs login` and `logout` credentials",
        "the file is the old one or the new one at every moment, and the new one once it was reported",
    ),
    (
        288,
        "several `krs login` and `krs logout` change one file at the same time",
        "each waits for the other, and no change is lost",
    ),
    (
        289,
        "kustomize or helm does not end while `krs collect` renders with it, and has started other programs",
        "after two minutes all of them end, and the source is named",
    ),
    (
        295,
        "one of many receipts of a fleet is damaged, forged, or of another kind",
        "it is listed with its reason and hides no other; exit code 6, or 3 for a signature that does not fit",
    ),
    (
        296,
        "a catalog is cut at its end or in the middle, or has no layers where they are expected, and the status of the fleet is read from it",
        "the line is named, and everything else is shown",
    ),
    (
        297,
        "a receipt, its file name or a text in it has control characters, or what a spreadsheet or a shell would run",
        "it is refused or escaped in every form of the result",
    ),
    (
        301,
        "a variable that is empty, wrong or a list, for a command below another one (`krs catalog add`, `krs fleet status`)",
        "as for every other command: an empty one that asks for a check is an error, and a list is divided at its commas",
    ),
    (
        307,
        "a small YAML file whose aliases stand for billions of values",
        "it is refused with the limit, before anything copies the values",
    ),
    (
        308,
        "a chart or kustomization renders a document without `apiVersion` and `kind`",
        "the document is named, with exit code 6; its images are not left out in silence",
    ),
    (
        309,
        "a chart that fails prints values of its secrets, or the name of an image has credentials in it",
        "`NAME=VALUE` of a secret and user information are shown as `***`",
    ),
    (
        310,
        "HTTPS_PROXY is not an address, or that of another kind of proxy",
        "exit code 2, and nothing is sent: the HTTP library ignores such a variable, so that registries would be reached directly",
    ),
    (
        311,
        "a site is restored from nothing, and the catalog has what it confirmed before",
        "its newer receipt counts, and the bundle has everything; `krs catalog add` says that the receipt confirms no bundle",
    ),
];
