//! Who has no certificate of this suite does not get as far as a method.

use sre_proto::METHODS;
use sre_service::Role;
use tonic::Code;

use crate::harness::identities::{Identities, channel};
use crate::harness::{Suite, raw};

/// Neither without a certificate nor with one of another authority is anything answered.
pub async fn refused(suite: &Suite, role: Role) {
    let served = |row: &&sre_proto::MethodPolicy| match role {
        Role::Edge => row.package == "gateway",
        _ => Role::of_package(row.package) == Some(role),
    };
    let row = METHODS.iter().find(served).unwrap();
    let (address, bundle) = (suite.address(role.name()), suite.identities().bundle());
    let foreign = Identities::foreign().issue("user/dev");
    for own in [None, Some(&foreign)] {
        let status = raw::call(channel(&address, bundle, own), row, &[], None).await.unwrap_err();
        // What a server answers carries its details; a handshake that failed has none.
        assert!(status.details().is_empty(), "{role} answered {status:?}");
        assert!(matches!(status.code(), Code::Unavailable | Code::Unknown), "{role}: {status:?}");
    }
}
