// SPDX-License-Identifier: Apache-2.0
//! What the site does not allow is never done, whatever a set asks for.

use krs_core::registry::DenyList;
use krs_testing::registry::Auth;
use serde_json::json;

use crate::world::World;

#[tokio::test]
async fn a_destination_that_the_site_does_not_allow_is_never_spoken_to() {
    let mut world = World::new(1, Auth::None);
    world.allowed = vec![krs_importer::model::config::AllowedDestination::Any("edge.example".to_owned())];
    world.set("x", &[0], |_| {});
    world.reconcile(&world.importer()).await.unwrap();
    let stalled = world.condition("x", "Stalled").unwrap();
    assert_eq!(stalled.1, "DestinationNotAllowed");
    assert!(stalled.2.contains("allowedDestinations"), "{}", stalled.2);
    assert!(world.edge.requests().is_empty() && world.api.all("jobs").is_empty());
}

/// The site's policy counts, and not that of the author of a set.
#[tokio::test]
async fn t183_what_the_site_forbids_about_tls_is_never_done() {
    for (field, value) in [("plainHTTP", "allowPlainHTTP"), ("insecureSkipVerify", "allowInsecureSkipVerify")]
    {
        let mut world = World::new(1, Auth::None);
        world.config = format!("destinationTLS: {{{value}: false}}\n");
        world.set("x", &[0], |set| set["spec"]["destinationTLS"] = json!({field: true}));
        world.reconcile(&world.importer()).await.unwrap();
        let stalled = world.condition("x", "Stalled").unwrap();
        assert_eq!(stalled.1, "InsecureDestinationNotAllowed");
        assert!(stalled.2.contains(field) && stalled.2.contains(value), "{}", stalled.2);
        assert!(world.edge.requests().is_empty() && world.api.all("jobs").is_empty());
        // What is not forbidden, and what is not asked for, continues.
        let other = if field == "plainHTTP" { "allowInsecureSkipVerify" } else { "allowPlainHTTP" };
        world.config = format!("destinationTLS: {{{other}: false}}\n");
        world.reconcile(&world.importer()).await.unwrap();
        assert!(world.condition("x", "Stalled").is_none(), "{field}");
    }
}

#[tokio::test]
async fn t57_loopback_is_never_a_destination_even_where_it_is_allowed() {
    let mut world = World::new(1, Auth::None);
    world.deny_list = DenyList::new(|address| krs_importer::model::policy::forbidden(address, None));
    world.set("x", &[0], |_| {});
    world.reconcile(&world.importer()).await.unwrap();
    let stalled = world.condition("x", "Stalled").unwrap();
    assert_eq!(stalled.1, "DestinationNotAllowed");
    assert!(stalled.2.contains("loopback"), "{}", stalled.2);
    assert!(world.edge.requests().is_empty());
}
