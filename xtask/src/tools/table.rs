// SPDX-License-Identifier: Apache-2.0
//! What tests and benchmarks need, as data. Raise a version here and the next run rebuilds that program.

/// When a program is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    /// Tests against real registries and foreign readers of the archive.
    Real,
    /// The tests of `cargo xtask test --full`, beside those of `Real`.
    Full,
    /// Other people's checks of the chart, with `cargo xtask test --full`.
    Chart,
    /// The check of dependencies.
    Deny,
    /// Making the corpus.
    Corpus,
    /// Pushing it.
    Push,
    /// Other programs that make differences of files, for the benchmark.
    Diff,
    /// A cluster, and the images that run in it.
    Cluster,
    /// Building for the platforms of a release.
    Release,
}

/// Where a program comes from.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Source {
    /// A Debian package that is installed into the system when the program is missing.
    Debian(&'static str),
    /// A Debian package that is only unpacked into the cache (it would start a service): package, path of the program.
    Unpacked(&'static str, &'static str),
    /// A program of a Go module, at a version.
    Go(&'static str, &'static str),
    /// A program of a Go module that replaces modules which it needs: `go install` refuses these. It finds its folders of
    /// data beside itself.
    GoModule(GoModule),
    /// A program of a Python package, at a version, in an environment of its own.
    Python(&'static str, &'static str),
    /// A program of an npm package, with the Node.js that runs it.
    Npm(Npm),
    /// Files of a Go module that tests read, in a folder with the name of the program.
    GoFiles(GoFiles),
    /// A program in Go that is part of this repository: its folder.
    GoHere(&'static str),
    /// A crate, at a version.
    Crate(&'static str, &'static str),
}

/// A Go module that is built in a copy of itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GoModule {
    /// The module's path.
    pub(crate) path: &'static str,
    pub(crate) version: &'static str,
    /// The package of the program, below the module.
    pub(crate) package: &'static str,
    /// Whether it needs cgo.
    pub(crate) cgo: bool,
    /// Build tags.
    pub(crate) tags: &'static str,
    /// The folders of data.
    pub(crate) data: &'static [&'static str],
}

/// An npm package. Node.js comes as a package too, because Debian's may be too old.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Npm {
    /// Name of the package.
    pub(crate) package: &'static str,
    pub(crate) version: &'static str,
    /// The script of the program, below the package.
    pub(crate) script: &'static str,
    /// The version of Node.js.
    pub(crate) node: &'static str,
}

/// Files of a Go module.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GoFiles {
    /// The module's path.
    pub(crate) path: &'static str,
    pub(crate) version: &'static str,
    /// The folders and files that are copied.
    pub(crate) files: &'static [&'static str],
}

/// One program.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tool {
    /// The name under which it is run.
    pub(crate) program: &'static str,
    /// Where it comes from.
    pub(crate) source: Source,
    /// Which work needs it.
    pub(crate) needs: &'static [Need],
}

/// Charts and manifests of a public project: `charts-NAME`.
const fn charts(
    name: &'static str,
    path: &'static str,
    version: &'static str,
    files: &'static [&'static str],
) -> Tool {
    Tool { program: name, source: Source::GoFiles(GoFiles { path, version, files }), needs: &[Need::Chart] }
}

const fn tool(program: &'static str, source: Source, needs: &'static [Need]) -> Tool {
    Tool { program, source, needs }
}

use Need::{Chart, Cluster, Corpus, Deny, Diff, Full, Push, Real, Release};
use Source::{Crate, Debian, Go, GoHere, Python, Unpacked};

/// Gitea, without its front end. From 1.27 on the module has another path.
const GITEA: GoModule = GoModule {
    path: "code.gitea.io/gitea",
    version: "v1.26.4",
    package: ".",
    cgo: true,
    tags: "sqlite sqlite_unlock_notify",
    data: &["options", "public", "templates"],
};

/// Renovate, which updates the digests of sets.
const RENOVATE: Npm =
    Npm { package: "renovate", version: "44.121.2", script: "dist/renovate.js", node: "24.21.0" };

/// helm-unittest, which helm need not know: it reads the chart itself.
const HELM_UNITTEST: GoModule = GoModule {
    path: "github.com/helm-unittest/helm-unittest",
    version: "v1.1.2",
    package: "./cmd/helm-unittest",
    cgo: false,
    tags: "",
    data: &[],
};

/// All of them, in the order in which they are installed.
pub(crate) const TOOLS: &[Tool] = &[
    tool("git", Debian("git"), &[Real]),
    tool("curl", Debian("curl"), &[Real, Cluster]),
    tool("update-ca-certificates", Debian("ca-certificates"), &[Real, Corpus]),
    tool("tar", Debian("tar"), &[Real]),
    tool("jq", Debian("jq"), &[Real]),
    tool("minisign", Debian("minisign"), &[Real]),
    tool("skopeo", Debian("skopeo"), &[Real]),
    tool("gzip", Debian("gzip"), &[Real]),
    tool("pigz", Debian("pigz"), &[Real]),
    tool("bsdiff", Debian("bsdiff"), &[Diff]),
    tool("xdelta3", Debian("xdelta3"), &[Diff]),
    tool("zstd", Debian("zstd"), &[Diff]),
    // Encoders that no layer is rebuilt with, but by corrections.
    tool("libdeflate-gzip", Debian("libdeflate-tools"), &[Real]),
    tool("igzip", Debian("isal"), &[Real]),
    tool("python3", Debian("python3"), &[Real, Corpus, Release]),
    tool("runc", Debian("runc"), &[Cluster]),
    tool("nft", Debian("nftables"), &[Cluster]),
    tool("ip", Debian("iproute2"), &[Cluster]),
    tool("openssl", Debian("openssl"), &[Cluster]),
    tool("sysctl", Debian("procps"), &[Cluster]),
    tool("nsenter", Debian("util-linux"), &[Cluster]),
    tool("mount", Debian("mount"), &[Cluster]),
    // For the health check that Argo CD gets.
    tool("lua5.1", Debian("lua5.1"), &[Cluster]),
    tool("hostname", Debian("hostname"), &[Cluster]),
    // The network of Pods.
    tool("bridge", Unpacked("containernetworking-plugins", "usr/lib/cni/bridge"), &[Cluster]),
    tool("host-local", Unpacked("containernetworking-plugins", "usr/lib/cni/host-local"), &[Cluster]),
    tool("loopback", Unpacked("containernetworking-plugins", "usr/lib/cni/loopback"), &[Cluster]),
    tool("docker-registry", Unpacked("docker-registry", "usr/bin/docker-registry"), &[Real]),
    tool("containerd", Unpacked("containerd", "usr/bin/containerd"), &[Real]),
    tool("ctr", Unpacked("containerd", "usr/bin/ctr"), &[Real]),
    tool("registry", Go("github.com/distribution/distribution/v3/cmd/registry", "v3.1.2"), &[Real, Cluster]),
    tool("crane", Go("github.com/google/go-containerregistry/cmd/crane", "v0.22.1"), &[Real]),
    tool("regctl", Go("github.com/regclient/regclient/cmd/regctl", "v0.11.7"), &[Real, Push]),
    tool("cosign", Go("github.com/sigstore/cosign/v3/cmd/cosign", "v3.1.3"), &[Full]),
    tool("oras", Go("oras.land/oras/cmd/oras", "v1.3.6"), &[Real]),
    // The suite of the distribution-spec has no versions; this is what it was on that day.
    tool(
        "conformance",
        Go("github.com/opencontainers/distribution-spec/conformance", "v0.0.0-20260831232431-97274622c111"),
        &[Real],
    ),
    tool("gitea", Source::GoModule(GITEA), &[Full]),
    tool("npm", Debian("npm"), &[Full]),
    tool("podman", Debian("podman"), &[Full]),
    tool("renovate", Source::Npm(RENOVATE), &[Full]),
    tool("kubectl-validate", Go("sigs.k8s.io/kubectl-validate", "v0.0.4"), &[Chart]),
    tool("kube-score", Go("github.com/zegl/kube-score/cmd/kube-score", "v1.20.0"), &[Chart]),
    tool("helm-unittest", Source::GoModule(HELM_UNITTEST), &[Chart]),
    tool("checkov", Python("checkov", "3.3.30"), &[Chart]),
    // The C compiler and linker for each platform.
    tool("python-zig", Python("ziglang", "0.17.1"), &[Release]),
    tool("cargo-zigbuild", Python("cargo-zigbuild", "0.24.1"), &[Release]),
    // What `krs collect` is tried on, with counted images in cli/tests/charts/: a version that is raised changes these.
    charts("charts-argo-cd", "github.com/argoproj/argo-cd/v3", "v3.0.0", &["manifests"]),
    charts("charts-cert-manager", "github.com/cert-manager/cert-manager", "v1.21.2", &["deploy/charts"]),
    charts("charts-descheduler", "sigs.k8s.io/descheduler", "v0.36.0", &["charts", "kubernetes"]),
    charts("charts-external-dns", "sigs.k8s.io/external-dns", "v0.18.0", &["charts", "kustomize"]),
    charts(
        "charts-external-secrets",
        "github.com/external-secrets/external-secrets",
        "v1.3.2",
        &["deploy/charts"],
    ),
    charts("charts-flux2", "github.com/fluxcd/flux2/v2", "v2.9.5", &["manifests"]),
    charts(
        "charts-gatekeeper",
        "github.com/open-policy-agent/gatekeeper/v3",
        "v3.23.1",
        &["charts", "deploy"],
    ),
    charts(
        "charts-gpu-operator",
        "github.com/NVIDIA/gpu-operator",
        "v0.0.0-20250917190837-d73a0086a6ba",
        &["deployments"],
    ),
    charts(
        "charts-ingress-nginx",
        "k8s.io/ingress-nginx",
        "v0.0.0-20240708192948-52c50467d67d",
        &["charts", "deploy"],
    ),
    charts(
        "charts-istio",
        "istio.io/istio",
        "v0.0.0-20260827124520-eed52ebb66ad",
        &["manifests/charts", "samples/bookinfo"],
    ),
    charts("charts-keda", "github.com/kedacore/keda/v2", "v2.21.0", &["config"]),
    charts("charts-kueue", "sigs.k8s.io/kueue", "v0.17.0", &["charts"]),
    charts("charts-metallb", "go.universe.tf/metallb", "v0.16.2", &["charts", "config"]),
    charts("charts-metrics-server", "sigs.k8s.io/metrics-server", "v0.9.0", &["charts", "manifests"]),
    charts(
        "charts-prometheus-operator",
        "github.com/prometheus-operator/prometheus-operator",
        "v0.85.0",
        &["bundle.yaml"],
    ),
    tool("krs-ocimem", GoHere("assets/ocimem"), &[Real]),
    // The encoders that ours are compared with: one module cannot have two versions of another.
    tool("krs-encoders-k1", GoHere("assets/encoders-k1"), &[Real]),
    tool("krs-encoders-k2", GoHere("assets/encoders-k2"), &[Real]),
    tool("krs-encoders-go127", GoHere("assets/encoders-go127"), &[Real]),
    tool("krs-gzip", GoHere("assets/gzip"), &[Corpus]),
    tool("cargo-deny", Crate("cargo-deny", "0.20.2"), &[Deny]),
];
