//! The method table: who may call what, as the contracts' options state it.

/// Whether clients outside the suite may reach a method.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility {
    /// Forwarded by the gateway and listed by reflection.
    Public,
    /// Between services only.
    Internal,
}

/// The level a caller needs on the resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum AccessLevel {
    /// See.
    Read,
    /// Change.
    Write,
    /// Everything.
    Owner,
}

/// Which outcomes of a method are audited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuditMode {
    /// Nothing.
    None,
    /// Refusals.
    Deny,
    /// Refusals and successes.
    All,
}

/// What is checked before a method runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rule {
    /// A Candidate's level on the resource that the request names.
    Access {
        /// The level needed.
        level: AccessLevel,
        /// How the request names the resource.
        resource: &'static str,
    },
    /// The calling service; no Candidate.
    System {
        /// The services that may call.
        services: &'static [&'static str],
    },
}

/// One row of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MethodPolicy {
    /// `/package.Service/Method`, as HTTP/2 carries it.
    pub path: &'static str,
    /// `package.Service`.
    pub service: &'static str,
    /// `Method`.
    pub method: &'static str,
    /// The package's middle part, for example `security`.
    pub package: &'static str,
    /// Who can reach it.
    pub visibility: Visibility,
    /// What is checked.
    pub rule: Rule,
    /// What is audited.
    pub audit: AuditMode,
    /// Whether the client streams.
    pub client_streaming: bool,
    /// Whether the server streams.
    pub server_streaming: bool,
    /// Full name of the request message.
    pub input: &'static str,
    /// Full name of the answer message.
    pub output: &'static str,
}

/// A request message. Each belongs to exactly one method, so a handler cannot check the wrong row.
pub trait Guarded {
    /// The method's row in [`METHODS`].
    const INDEX: usize;
    /// The resource that this request names; empty for `system` methods.
    fn resource(&self) -> String;
}

/// Finds the row of a path.
pub fn method(path: &str) -> Option<&'static MethodPolicy> {
    METHODS.binary_search_by(|row| row.path.cmp(path)).ok().map(|index| &METHODS[index])
}

/// The row of a request message's method.
pub fn method_of<R: Guarded>() -> &'static MethodPolicy {
    &METHODS[R::INDEX]
}

include!(concat!(env!("OUT_DIR"), "/methods.rs"));
