//! The contracts as a whole: the committed descriptor set, and the rows of the method table.

use sre_proto::{METHODS, Rule, Visibility, method};

#[test]
fn the_committed_descriptor_set_is_the_current_one() {
    let committed = include_bytes!("../descriptor.bin");
    assert!(
        committed.as_slice() == sre_proto::DESCRIPTOR_SET,
        "the contracts changed: look at the change, then take it over with `make descriptor`"
    );
}

#[test]
fn every_row_is_found_by_its_path() {
    assert!(METHODS.len() > 90);
    for row in METHODS {
        assert_eq!(method(row.path), Some(row));
        assert_eq!(row.path, format!("/{}/{}", row.service, row.method));
        if let Rule::System { services } = row.rule {
            assert_eq!(row.visibility, Visibility::Internal, "{}", row.path);
            assert!(!services.is_empty(), "{}", row.path);
        }
    }
    assert_eq!(method("/sre.gateway.v1.Runs/Nothing"), None);
}

#[test]
fn reflection_shows_no_internal_method() {
    for row in METHODS {
        let needle = row.method.as_bytes();
        let public =
            contains(sre_proto::PUBLIC_DESCRIPTOR_SET, row.service.rsplit('.').next().unwrap().as_bytes());
        if row.visibility == Visibility::Internal && row.service == "sre.memory.v1.RuntimeContext" {
            assert!(!public, "{} is internal as a whole", row.service);
        }
        assert!(contains(sre_proto::DESCRIPTOR_SET, needle));
    }
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
