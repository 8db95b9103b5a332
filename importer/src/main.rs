// SPDX-License-Identifier: Apache-2.0
//! The program `krs-importer`.

use std::io::IsTerminal as _;
use std::process::ExitCode;

use camino::Utf8PathBuf;
use clap::{Parser, Subcommand};
use krs_core::oci::reference::RegistryHost;
use krs_importer::app::{probe, run};
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{FilterExt as _, FilterFn, filter_fn};
use tracing_subscriber::layer::{Layer as _, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;

/// Brings the images of EdgeImageSets to the registry of a site.
#[derive(Parser)]
#[command(name = "krs-importer", version = env!("KRS_VERSION"))]
struct Arguments {
    /// What is logged: error, warn, info, debug, trace, or a filter such as krs_importer=debug,kube=warn.
    #[arg(long, env = "KRS_LOG", default_value = "info", global = true, value_name = "FILTER")]
    log: String,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs in the cluster: verifies bundles in the drop folder, creates copy Jobs, and writes the status of the sets.
    Run {
        /// The configuration; the chart writes it.
        #[arg(long, default_value = "/etc/krs/config.yaml", value_name = "FILE")]
        config: Utf8PathBuf,
    },
    /// Runs inside a copy Job: copies what the task says and verifies it.
    Copy {
        /// The task, as JSON; the importer writes it.
        #[arg(long, value_name = "JSON")]
        task: String,
    },
    /// Asks a running importer for its health and its registry; `helm test` runs it.
    Probe {
        /// Host and port of health and metrics.
        #[arg(long, value_name = "HOST:PORT")]
        http: String,
        /// Host and port of the registry.
        #[arg(long, value_name = "HOST:PORT")]
        registry: RegistryHost,
        /// The CA certificate of the registry.
        #[arg(long, value_name = "FILE")]
        ca: Utf8PathBuf,
    },
}

/// Keeps requests with their credentials out of the log, whatever filter is asked for: libraries say only what they say to
/// everybody. `kube_client` logs complete objects that it cannot read, Secrets too, and says nothing that its errors do not
/// say. `kube_runtime` sees no request, and warns again and again of what `controller` reports once.
fn discreet() -> FilterFn<fn(&Metadata<'_>) -> bool> {
    filter_fn(|event| match event.target().split("::").next().unwrap_or_default() {
        "krs_core" | "krs_importer" => true,
        "kube_client" => false,
        "kube_runtime" => *event.level() != Level::WARN,
        _ => *event.level() <= Level::INFO,
    })
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = match EnvFilter::try_new(&arguments.log) {
        Ok(filter) => filter,
        Err(error) => {
            // There is no log yet.
            #[expect(clippy::print_stderr)]
            {
                eprintln!("error: --log: {error}");
            }
            return ExitCode::from(2);
        }
    };
    let log = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        tracing_subscriber::registry().with(log.with_filter(filter.and(discreet()))).init();
    } else {
        let log = log.json().flatten_event(true);
        tracing_subscriber::registry().with(log.with_filter(filter.and(discreet()))).init();
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            tracing::error!(%error, "the program cannot be started");
            return ExitCode::FAILURE;
        }
    };
    match arguments.command {
        Command::Run { config } => match runtime.block_on(run::main(&config)) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                tracing::error!("{}", krs_core::error::chain(&error));
                ExitCode::FAILURE
            }
        },
        Command::Probe { http, registry, ca } => {
            match runtime.block_on(probe::probe(&http, &registry, &ca)) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => {
                    tracing::error!("{}", krs_core::error::chain(&error));
                    ExitCode::FAILURE
                }
            }
        }
        Command::Copy { task } => runtime.block_on(krs_importer::runner::main(&task)),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io;
    use std::sync::{Arc, Mutex};

    use clap::CommandFactory as _;

    use super::*;

    #[derive(Clone, Default)]
    struct Log(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Log {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn no_credentials_are_logged_even_at_trace() {
        let log = Log::default();
        let writer = log.clone();
        let filter = EnvFilter::try_new("trace,hyper::proto=trace,[HTTP]=trace").unwrap();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let subscriber = tracing_subscriber::registry().with(layer.with_filter(filter.and(discreet())));
        tracing::subscriber::with_default(subscriber, || {
            tracing::trace!(target: "hyper::proto::h1::role", "authorization: Bearer canary");
            tracing::debug!(target: "reqwest::connect", "authorization: Basic canary");
            tracing::debug_span!(target: "kube_client::client", "HTTP", header = "canary").in_scope(|| {
                tracing::info!(target: "krs_importer::app::run", "said");
            });
            tracing::trace!(target: "krs_importer", "said too");
            tracing::warn!(target: "hyper_util", "said as well");
            tracing::warn!(target: "kube_client::client", "{{\"kind\":\"Secret\",\"data\":{{\"password\":\"canary\"}}}}");
            tracing::error!(target: "kube_client::client", "canary");
        });
        let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
        assert_eq!(text.matches("said").count(), 3, "{text}");
        assert!(!text.contains("canary"), "{text}");
    }

    #[test]
    fn the_arguments_are_consistent() {
        Arguments::command().debug_assert();
    }
}
