// SPDX-License-Identifier: Apache-2.0
//! The signals that end a program.

use crate::exit::Signal;

/// Comes when somebody ends the program.
pub(super) async fn stopped() -> Signal {
    let interrupt = async {
        if tokio::signal::ctrl_c().await.is_err() {
            // Without a handler the system ends the process itself.
            std::future::pending::<()>().await;
        }
        Signal::Interrupt
    };
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let Ok(mut terminate) = signal(SignalKind::terminate()) else { return interrupt.await };
        tokio::select! {
            signal = interrupt => signal,
            _ = terminate.recv() => Signal::Terminate,
        }
    }
    #[cfg(not(unix))]
    interrupt.await
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
