// SPDX-License-Identifier: Apache-2.0
//! Jobs that want TLS where the edge has none, and the reverse.

use krs_testing::image::ImageBuilder;
use krs_testing::registry::{Matcher, Options, Registry, What};

use crate::harness::*;

#[tokio::test]
async fn t230_a_job_that_mixes_up_tls_and_plain_http_says_what_to_change() {
    let refused = "The plain HTTP request was sent to HTTPS port";
    for (has_tls, body, plain_http, result, expected) in [
        (true, "", false, (3, "TLSFailed"), "put the registry's CA certificate as ca.crt"),
        (false, "", false, (3, "TLSFailed"), "and the site's policy allows it"),
        (false, refused, true, (3, "TLSFailed"), "the registry speaks TLS: remove destinationTLS.plainHTTP"),
        (
            true,
            "",
            true,
            (8, "RegistryUnreachable"),
            "if the registry speaks TLS, remove destinationTLS.plainHTTP",
        ),
    ] {
        let source = Registry::start(Options::default());
        let edge = Registry::start(Options { tls: has_tls, ..Options::default() });
        let image = ImageBuilder::new("app").layer("one").build();
        image.push_to(&source, "team/app", None);
        if !body.is_empty() {
            edge.fail(Matcher::any(), What::Status(400, Vec::new(), body.to_owned()));
        }
        let mut task = online(&source, &edge, vec![target(&source.host(), "team/app", &image.digest, "v1")]);
        task.destination.plain_http = plain_http;
        // Without a word about it, a registry on loopback may be spoken to without TLS.
        task.destination.insecure_skip_verify = !has_tls && !plain_http;
        let (report, code) = Pod::new().run(&task).await;
        let failure = &report.failures[0];
        assert_eq!((code, failure.reason.as_str()), result, "{failure:?}");
        assert!(failure.message.contains(expected), "{failure:?}");
        assert_eq!(failure.message.contains("ca.crt"), expected.contains("ca.crt"), "{failure:?}");
    }
}
