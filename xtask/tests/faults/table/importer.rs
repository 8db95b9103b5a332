// SPDX-License-Identifier: Apache-2.0
//! Faults of the importer and its cluster.

use super::Fault;

pub(super) const IMPORTER: &[Fault] = &[
    (67, "the importer dies at any call", "the same end is reached"),
    (68, "a copy Job dies", "the next one continues; what is there is not sent again"),
    (
        69,
        "power is lost while something is written",
        "the old or the new state, never a damaged file under a final name",
    ),
    (70, "a disk is full", "exit code 9; what was begun is removed or resumed"),
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
    (77, "a Secret of another namespace", "only the set's own namespace is searched"),
    (78, "a set of thousands of images", "status and reports stay bounded"),
    (79, "a set that is not valid", "refused at admission; an old one is reported and breaks nothing"),
    (80, "a Job that is deleted before its result was seen", "the registry is asked, not the Job"),
    (81, "an image for the Job that is not there", "named in the status"),
    (82, "versions change", "unknown fields are left alone"),
    (83, "quotas and admission that refuse Jobs", "reported in the words of the API server, and tried later"),
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
        "the status keeps naming the bundle that the images came from",
    ),
    (
        123,
        "a set that lists an image of another namespace's sets in the bundle",
        "not copied, and not served to a Pod; both namespaces are named",
    ),
    (124, "the log says nothing of what was decided", "one line for each decision that changed"),
    (
        130,
        "sets that copy nothing: suspended, stalled, not allowed, being deleted, of their registries only",
        "media do not wait for them; those that media wait for are named with their images",
    ),
    (
        131,
        "the mark of a bundle that was imported cannot be written",
        "its media may not be pulled before; the write is retried, also after a restart without the file",
    ),
    (
        134,
        "an edge registry accepts connections and never answers",
        "no reconcile waits for it longer than some seconds; sets of other registries go on",
    ),
    (
        135,
        "an edge registry fails again and again",
        "after 5 failures it is left alone for a time that grows; the sets show `RegistryBackOff`",
    ),
    (
        136,
        "many sets wait for few Jobs",
        "what is missing is remembered, and the end of a Job wakes the next set; nothing is polled",
    ),
    (
        137,
        "a certificate or CA that was made while the clock was wrong",
        "valid from long ago; made again within minutes once the clock says that it is not valid",
    ),
    (138, "a Secret that the importer may not read", "the set says so; read again once it may be"),
    (139, "a bundle for named sites at an importer without a name", "refused"),
    (
        140,
        "the drop folder, or one drive in it, does not answer any more",
        "one thread waits there; all others are read on, and the ImageBundle, sets and a metric say so",
    ),
    (141, "values that the chart takes and the importer exits on", "there are none: one table for both"),
    (142, "folders with more entries than are read", "bundles are found among them; what waits is named"),
    (143, "a Pod that waits for a volume", "the set says why, in the words of the kubelet"),
    (144, "a flood of random tokens at the embedded registry", "the API server is asked at a bounded rate"),
    (
        145,
        "a set names a Secret that its author cannot read, and a registry of their choice",
        "no request goes there; a password goes only where its Secret says",
    ),
    (146, "a set copies to the destination of another namespace", "refused; nothing is sent"),
    (
        147,
        "an answer of the API server that never comes, or a watch that is dead",
        "the call ends after its time limit and is retried; health shows loops that hang",
    ),
    (
        148,
        "a namespace without a Role, or a set of a later version",
        "reported for that namespace or set; all others are served, and no media are safe to remove while sets may be unseen",
    ),
    (
        151,
        "Jobs with the importer's labels and owner that it did not create, or that somebody suspended",
        "they take no slot and no repository; those of 0.1 that run at the update are adopted",
    ),
    (
        152,
        "a namespace starts as many copy Jobs as it can",
        "up to half of all slots are kept for namespaces that have less than their share",
    ),
    (
        153,
        "two sets give one name to different images",
        "only these images are concerned, and copied under their digests; the older set that may write keeps the name",
    ),
    (
        154,
        "a token that was stolen, or is of another Pod",
        "only a live Pod of a copy Job reads, what its namespace may",
    ),
    (
        155,
        "a Job of another namespace that hangs keeps a repository from others",
        "for ten minutes; then both write the same content",
    ),
    (
        156,
        "a blob is linked from a repository of another namespace",
        "only where the site sets `shareAcrossNamespaces`",
    ),
    (
        157,
        "somebody asks for a reconcile of a set whose images are present",
        "the registry is asked about every image, and the status answers",
    ),
    (
        159,
        "a source registry that tags are asked for at never answers",
        "only its own images wait; the rest of the set continues, and so do other source registries",
    ),
    (
        160,
        "the answers of a registry are taken long after it was asked",
        "they are dropped after some minutes, and when somebody asks for a reconcile; a verification has the time of its check",
    ),
    (
        161,
        "an update of the importer while Jobs of 0.1 run",
        "they are known before the first set is reconciled, and adopted also after a spec that was invalid",
    ),
    (
        162,
        "a Job is suspended, or its set is kept by a finalizer",
        "media, and sets that wait for its place, wait only for Jobs that run",
    ),
    (
        163,
        "values of 0.1 are reused at an upgrade of the chart",
        "what they do not have gets the defaults of the program",
    ),
    (
        165,
        "a copy failed for a reason that a person must mend, and is retried from the media",
        "they may not be pulled between two attempts",
    ),
    (
        166,
        "the API server refuses one ImageBundle, or a reference is longer in its normal form than its field",
        "the others are written at once; the text is cut",
    ),
    (
        167,
        "media are pulled whose file is closed",
        "nothing waits for it: the intake is idle until the next scan",
    ),
    (
        168,
        "sets of a bundle that cannot be applied, or that somebody changes or deletes afterwards",
        "the media do not wait for them",
    ),
    (
        169,
        "the API server never answers while many sets are applied",
        "it is waited for once, and the rest is retried later",
    ),
    (
        170,
        "a namespace that could never be watched",
        "its watch counts from the start, so that an alert is due",
    ),
    (
        171,
        "somebody takes all connections to the health port",
        "an address has a few of them; the kubelet is answered",
    ),
    (
        172,
        "one address floods the embedded registry with tokens that look like a Pod's",
        "it is asked to retry later; the tokens of others are reviewed",
    ),
    (
        173,
        "a tenant has many large Jobs and Pods with the importer's labels",
        "only metadata is listed, a page at a time; what is read is read by the names that the importer recorded",
    ),
    (
        174,
        "a reconcile is cut off while it creates copy Jobs",
        "slots and repositories of Jobs that were not asked for are free, those of others count",
    ),
    (
        175,
        "the importer may not read the Jobs of a namespace",
        "the sets there are stalled with `JobsForbidden`; media and other sets do not wait",
    ),
    (
        176,
        "the API server is slow to create the Jobs of a set",
        "no other set waits, and what the Jobs take is taken from the decision on",
    ),
    (
        177,
        "copy Jobs ended, and Kubernetes keeps them for an hour or indefinitely",
        "nothing is read of them once their end is accounted for, their names are not used again, and what stays is deleted",
    ),
    (
        178,
        "somebody else writes the status of a set, or changes or deletes an ImageBundle",
        "it is written again in full, what others added is removed, every five seconds at most",
    ),
    (
        179,
        "two importers serve the same namespaces, or one takes the place of another",
        "a set belongs to one that runs, an ImageBundle to one for good; the other takes sets over once its Lease has expired",
    ),
    (
        180,
        "a restart while the media are away that decided the tag of an older set",
        "the tag stays its own: what it stood for is remembered before the first set is reconciled",
    ),
    (
        181,
        "the API server is away when the importer starts",
        "it is asked again with growing pauses for ten minutes; health and readiness say so",
    ),
    (
        182,
        "etcd is restored from a backup while the importer runs, so that its watches are ahead of the API server and hear nothing",
        "a fresh list tells within a minute, and everything is listed and reconciled again; health shows where that does not succeed",
    ),
    (
        183,
        "a set asks for plain HTTP or unchecked certificates although the site forbids it",
        "it is stalled with a reason of its own; nothing is sent",
    ),
    (
        184,
        "the drop folder's node, path or kind is changed after the installation",
        "volume and claim have other names; a claim with bundles stays",
    ),
    (
        185,
        "a registry fails for the credentials, CA certificates or repositories of one namespace, or its sets want all checks",
        "it is left alone for that namespace only; one check of a registry is kept for namespaces that have none",
    ),
    (
        186,
        "a registry answers 5xx, or asks for a pause (429, 503 with `Retry-After`)",
        "the host counts as reachable; who got the answer leaves it alone, for as long as it asked",
    ),
    (
        187,
        "a source registry fails, and many sets ask it what tags name",
        "left alone as edge registries are; connections are used again",
    ),
    (
        188,
        "a set that is woken for a free place cannot use it: it waits for a Secret, its reconcile fails, it is deleted",
        "the next set is woken",
    ),
    (
        189,
        "credentials of a proxy among the values of the chart",
        "refused, with what to do instead: a Pod's environment can be read",
    ),
    (190, "a service mesh adds sidecars to Pods", "none to copy Jobs, which it would keep from ending"),
    (
        191,
        "source registries that only a proxy reaches",
        "the importer and its Jobs use it; edge registries are reached without it",
    ),
    (
        192,
        "media can be listed, and reading their files hangs",
        "they are left alone, with at most one thread for each; all other media are read to their end and may be pulled",
    ),
    (
        193,
        "clients take all connections of the embedded registry",
        "an address has a share; idle connections of those who have the most give way",
    ),
    (
        194,
        "a copy Job has a task of a later version",
        "its runner refuses it and says why; the importer counts the Job and its targets",
    ),
    (
        195,
        "an ImageBundle in the cluster cannot be read",
        "it is named in the log and read as far as possible; all others count",
    ),
    (
        196,
        "the API server refuses a set of a bundle each time",
        "the ImageBundle says why; it is retried ever later",
    ),
    (
        197,
        "bundles of two streams have the same set",
        "the stream whose name comes first applies it, and the other one says so",
    ),
    (
        198,
        "a file is refused after the mark of its stream has reached it",
        "that is not forgotten: a mark that a person removes is not raised again",
    ),
    (
        201,
        "an edge registry is emptied",
        "a sample of the present images is asked for in each resync; one that is missing has all sets of the registry checked",
    ),
    (
        202,
        "content is to be read back without an interval, from a slow registry, or for many namespaces",
        "when somebody asks, within a time that follows from size and rate, the namespaces in turn",
    ),
    (
        206,
        "a Pod of a copy Job fails, and Kubernetes starts another one",
        "its report is in the status at once, and until a retry succeeded",
    ),
    (
        207,
        "a copy fails for a reason that does not pass within a minute",
        "its Job ends at once and frees its slot; the next attempt says what it retries and why",
    ),
    (
        209,
        "ended copy Jobs use up a quota of Jobs (`count/jobs.batch`)",
        "those that succeeded are deleted once their result is kept; others stay for an hour",
    ),
    (
        210,
        "a container that admission adds to the Pod of a copy Job does not start",
        "its name and the reason are in the status",
    ),
    (
        211,
        "somebody else keeps writing annotations of a set",
        "only the importer's own annotations start a reconcile",
    ),
    (
        212,
        "packets from copy Jobs to a registry are dropped (NetworkPolicy, firewall)",
        "the set shows `ConnectionTimedOut` with port and labels after 10 s, and the Job's log each step",
    ),
    (
        216,
        "a copy Job reads from a bundle whose media are pulled, and another bundle in the folder has the image",
        "the embedded registry serves it from that one, which counts as copied from; nothing says \"copying\" of media that are away",
    ),
    (
        220,
        "a copy Job brings many images and takes hours, in which nothing of it is seen",
        "images count as present once they are verified in the registry, which is queried each half minute with at most two requests for missing ones per Job",
    ),
    (
        221,
        "an ImageBundle is deleted again and again",
        "it is created again after a pause that grows from five seconds to five minutes",
    ),
    (
        222,
        "many folders of the drop folder do not answer",
        "they are listed side by side within one limit, and not waited for again",
    ),
    (
        223,
        "clients without credentials keep all connections of the embedded registry busy",
        "connections that never authenticated are closed first",
    ),
    (
        224,
        "two Pods of the importer have one name, one of them on a node that cannot be reached",
        "one of them holds the Lease: its holder is named by the UID of the Pod, too",
    ),
    (
        225,
        "somebody writes the status of a set, or an ImageBundle, again and again",
        "it is put right after a pause that grows from five seconds to five minutes",
    ),
    (
        228,
        "a site with hundreds of sets runs for weeks, its registry and its API server fail, and media come and go",
        "all is right at the end of each day; requests, writes, objects and memory do not grow, and a set with nothing to do is not written",
    ),
    (
        231,
        "a copy fails for what a retry mends: TLS that breaks off, a token or a CA certificate of the importer that was replaced",
        "Kubernetes retries it, or the importer creates another Job soon; only a certificate ends a Job at once",
    ),
    (
        232,
        "bundles come and go for months beside a file that can never be read",
        "what is kept of bundles without a file is bounded, and goes with the last file that is not known",
    ),
    (
        240,
        "all images of a registry are due to be verified again at one moment, such as when it is there again after an outage",
        "they are verified at twice the rate that verifyInterval needs on average, and stay Ready meanwhile; what is urgent does not wait",
    ),
    (
        248,
        "somebody shows the embedded registry one token after the other, and closes each connection before the answer",
        "each review that began goes to its end and counts for the address: twenty, and then one in a second",
    ),
    (
        250,
        "all slots for Jobs that are left are kept for other namespaces while hundreds of sets wait",
        "the end of a Job has a set reconciled only where its namespace may create one",
    ),
    (
        253,
        "the status of an ImageBundle is written with nearly each copy Job, hundreds of times a day",
        "what is still needed is written each 30 s at most; that it is accepted, refused, away, imported or safe to remove at once",
    ),
    (
        254,
        "hundreds of sets change within seconds",
        "the intake takes the changes together: what all sets need of all bundles is not worked out for each of them",
    ),
    (
        261,
        "a bundle with a counter as its sequence says that it was made far ahead, so that its tags win over other streams until then",
        "it is not used before a person confirms its digest, as one whose sequence is ahead",
    ),
    (
        262,
        "a copy Job of many images fails, and its report is longer than Kubernetes keeps",
        "all messages are shortened alike; the reason of each image stays",
    ),
    (
        265,
        "packets of a connection that a copy has open are dropped, while new connections pass (a firewall or NAT that lost its state)",
        "the copy ends after a minute with `ConnectionTimedOut` and the side, and is retried with new connections",
    ),
    (
        266,
        "copy Jobs run in several namespaces, and no namespace has less than its share",
        "the slots that are left are used: only those of namespaces below their share are kept, at most half",
    ),
    (
        268,
        "the Secret of a CA that a set names holds the private key of the CA, too",
        "copy Jobs mount the entries with certificates only",
    ),
    (
        269,
        "a copy Job of many images ends, of which most were found to be present while it ran",
        "only the others are verified then",
    ),
    (
        290,
        "a GitOps engine claims the Secret with the key of the site, the importer starts again, or the Secret holds no usable key",
        "the key is made once and never replaced; without a usable one no receipt is written, and the last one stays",
    ),
    (
        291,
        "the API server fails, or the importer ends, while the parts of a receipt are written",
        "a reader gets the old receipt or the new one, complete; what is left over is deleted with the next receipt",
    ),
    (
        292,
        "media are pulled before or while the receipt of the site is written to them",
        "no file with the name of a receipt is incomplete, nothing is written in the place of the media, and they get the receipt when they are back",
    ),
    (
        293,
        "the media, `KRS-RECEIPTS`, or a file in it is a symbolic link",
        "none is followed: a folder is refused, a file is replaced, and what it names stays as it is",
    ),
    (
        294,
        "the receipt of the site cannot be written to media: full, read-only, a file with the name of the folder, or no key",
        "the media may be removed, at once or after three minutes at most; the message and a metric say why",
    ),
    (
        298,
        "media hang while the receipt of the site is written to them",
        "other media get theirs, and may be removed at once; these may be removed after a minute, and one thread at most waits there",
    ),
    (
        299,
        "media become full while the receipt of the site is written to them",
        "the receipt that was there stays complete, at most the signature of the new one is left, and the media may be removed",
    ),
    (
        300,
        "media with FAT: no owners and modes, no links, names of any case",
        "they get the receipt, in the folder `KRS-RECEIPTS` of any case",
    ),
];
