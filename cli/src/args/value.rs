// SPDX-License-Identifier: Apache-2.0
//! Values of more than one argument, with what to write in place of a wrong one.

use std::net::SocketAddr;

use krs_core::bundle;
use krs_core::oci::reference::Destination;
use krs_core::redact::printable;

/// Reads `REGISTRY[/PREFIX]`, also as browsers write it, with a `/` at its end.
pub(crate) fn destination(text: &str) -> Result<Destination, String> {
    if is_bundle(text) {
        return Err("it is named as a bundle is. The bundle comes first, then the registry".to_owned());
    }
    text.strip_suffix('/').unwrap_or(text).parse::<Destination>().map_err(|error| error.to_string())
}

fn is_bundle(text: &str) -> bool {
    let archive = bundle::archive_of(text.into());
    archive.file_name().is_some_and(|name| name.to_ascii_lowercase().ends_with(".krs.tar"))
}

/// Reads the address of a server, with its port.
pub(super) fn listen(text: &str) -> Result<SocketAddr, String> {
    text.parse().map_err(|_| {
        let port = text.rsplit(':').next().and_then(|port| port.parse::<u16>().ok()).unwrap_or(5000);
        let shown = printable(text, 100);
        format!(
            "`{shown}` is not an IP address with a port; write 127.0.0.1:{port} for this machine alone, 0.0.0.0:{port} or \
             [::]:{port} for all networks"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_registry_may_end_with_a_slash_and_is_no_bundle() {
        let read = |text: &str| destination(text).map(|destination| destination.to_string());
        for (text, expected) in [
            ("edge.local:5000/", "edge.local:5000"),
            ("edge.local/mirror/", "edge.local/mirror"),
            ("edge.local", "edge.local"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
        for bundle in ["a.krs.tar", "/media/usb/A.KRS.TAR", "usb/a.krs.tar.002", "a.krs.json"] {
            assert!(read(bundle).is_err_and(|error| error.contains("The bundle comes first")), "{bundle}");
        }
        for wrong in ["", "/", "edge.local//", "https://edge.local/"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn an_address_without_its_parts_is_answered_with_a_complete_one() {
        for (wrong, help) in
            [("5000", "127.0.0.1:5000"), (":6000", "0.0.0.0:6000"), ("localhost:7000", "[::]:7000")]
        {
            assert!(listen(wrong).is_err_and(|error| error.contains(help)), "{wrong}");
        }
        assert!(listen("[::1]:0").is_ok());
    }
}
