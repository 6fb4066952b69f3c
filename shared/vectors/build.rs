//! Generates the stubs of the connectors that speak gRPC, without `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let wanted = [("CARGO_FEATURE_QDRANT", "qdrant.proto"), ("CARGO_FEATURE_MILVUS", "milvus.proto")];
    for (feature, file) in wanted {
        if std::env::var_os(feature).is_none() {
            continue;
        }
        let descriptors = protox::compile([file], ["proto"])?;
        // The servers are for tests: fakes that speak the real protocol.
        tonic_prost_build::configure().build_transport(false).compile_fds(descriptors)?;
    }
    Ok(())
}
