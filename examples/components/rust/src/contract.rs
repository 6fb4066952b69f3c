//! The messages of `sre.component.v1`, generated.

#![allow(
    missing_docs,
    clippy::large_enum_variant,
    clippy::doc_lazy_continuation,
    clippy::enum_variant_names,
    reason = "generated code"
)]

tonic::include_proto!("sre.component.v1");
