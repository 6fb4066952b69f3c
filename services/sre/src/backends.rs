//! The backends that the services of this binary know.

use sre_service::connectors::Backends;

/// The services with a choice of backends: the one place that knows them all.
pub fn backends() -> Vec<&'static dyn Backends> {
    [
        sre_io::backends(),
        sre_memory::backends(),
        sre_security::backends(),
        sre_compute::backends(),
        sre_llm::backends(),
    ]
    .concat()
}
