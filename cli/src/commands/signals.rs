// SPDX-License-Identifier: Apache-2.0
//! The signals that end a program.

use crate::exit::Signal;

/// Comes when somebody ends the program. A signal counts from this call on, not only while it is awaited: a program in the
/// background of a script ignores SIGINT until there is a handler. Needs a runtime.
#[cfg(unix)]
pub(super) fn stopped() -> impl Future<Output = Signal> + Send + 'static {
    use tokio::signal::unix::{Signal as Listener, SignalKind, signal};
    // Without a handler the system ends the process itself.
    let [interrupt, terminate] = [SignalKind::interrupt(), SignalKind::terminate()].map(signal);
    let comes = |listener: std::io::Result<Listener>| async {
        match listener {
            Ok(mut listener) => drop(listener.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    async move {
        tokio::select! {
            () = comes(interrupt) => Signal::Interrupt,
            () = comes(terminate) => Signal::Terminate,
        }
    }
}

/// Comes when somebody ends the program.
#[cfg(not(unix))]
pub(super) async fn stopped() -> Signal {
    if tokio::signal::ctrl_c().await.is_err() {
        // Without a handler the system ends the process itself.
        std::future::pending::<()>().await;
    }
    Signal::Interrupt
}

/// The same for the first signal; a second one ends the program at once.
pub(super) async fn interrupted() -> Signal {
    let first = stopped().await;
    tokio::spawn(async {
        let second = stopped().await;
        std::process::exit(i32::from(second.code()));
    });
    first
}
