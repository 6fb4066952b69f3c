//! Generates the stubs from the contract, without `protoc`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let root = "../../../proto";
    let contract = format!("{root}/sre/component/v1/component.proto");
    println!("cargo:rerun-if-changed={contract}");
    let files = protox::compile([&contract], [root])?;
    tonic_prost_build::configure().bytes(".").build_client(false).compile_fds(files)?;
    Ok(())
}
