//! What is told of a stream, within bounds.

use super::WithExternal;
use sre_engine::Types as _;

#[test]
fn the_suites_own_types_stand_before_others() {
    let own = sre_components::registry();
    let types = WithExternal::new(own, &[]);
    assert!(types.lookup("FHash").is_some() && types.lookup("Acme.Echo").is_none());
}
