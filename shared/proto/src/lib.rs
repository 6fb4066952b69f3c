//! Generated types and clients of every contract, the method table and the descriptor sets; nothing else.

#![allow(
    missing_docs,
    clippy::large_enum_variant,
    clippy::doc_lazy_continuation,
    clippy::useless_format,
    reason = "generated code"
)]

mod methods;

pub use methods::{
    AccessLevel, AuditMode, Guarded, METHODS, MethodPolicy, Rule, Visibility, method, method_of,
};

pub mod accounts;
pub mod codec;
pub mod error;
pub mod ids;

/// The descriptor set of all contracts, without comments.
pub static DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptor.bin"));

/// The descriptor set that reflection serves: public methods alone.
pub static PUBLIC_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/public_descriptor.bin"));

macro_rules! packages {
    ($($name:ident),*) => {$(
        pub mod $name {
            pub mod v1 {
                include!(concat!(env!("OUT_DIR"), "/sre.", stringify!($name), ".v1.rs"));
            }
        }
    )*};
}

packages!(options, gateway, agent, memory, llm, io, security, compute, observability);
// What others implement and services call: connectors and components out of process.
packages!(connector, component);

/// Shared types. Named `types` here because `type` is a keyword.
pub mod r#type {
    pub mod v1 {
        include!(concat!(env!("OUT_DIR"), "/sre.r#type.v1.rs"));
    }
}

pub use r#type as types;
