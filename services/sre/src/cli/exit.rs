//! How a command ends: codes that scripts can use.

use std::fmt;

use tonic::Code;

/// The code a process ends with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    /// Done.
    Success = 0,
    /// The thing itself failed: a vector differs, a run failed, a document is wrong.
    Failure = 1,
    /// What was asked cannot be done as it stands: wrong words, missing configuration.
    Usage = 2,
    /// There is no such thing, or not for you.
    Denied = 3,
    /// The suite, or a role of it, cannot be reached.
    Unavailable = 4,
}

/// An error with the code that the process ends with.
#[derive(Debug)]
pub struct Failure {
    /// The code.
    pub exit: Exit,
    /// What is wrong and what to do.
    pub message: String,
}

impl Failure {
    /// A failure of the thing itself.
    pub fn failed(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Failure, message: message.into() }.into()
    }

    /// Something to say or configure differently.
    pub fn usage(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Usage, message: message.into() }.into()
    }

    /// Nothing to talk to.
    pub fn unavailable(message: impl Into<String>) -> anyhow::Error {
        Self { exit: Exit::Unavailable, message: message.into() }.into()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// The code for an error of any kind.
pub fn code(error: &anyhow::Error) -> Exit {
    if let Some(failure) = error.chain().find_map(|e| e.downcast_ref::<Failure>()) {
        return failure.exit;
    }
    let Some(status) = error.chain().find_map(|e| e.downcast_ref::<tonic::Status>()) else {
        return Exit::Failure;
    };
    match status.code() {
        Code::InvalidArgument | Code::FailedPrecondition | Code::Unimplemented => Exit::Usage,
        Code::NotFound | Code::PermissionDenied | Code::Unauthenticated => Exit::Denied,
        Code::Unavailable | Code::DeadlineExceeded | Code::ResourceExhausted => Exit::Unavailable,
        _ => Exit::Failure,
    }
}

/// An error as a person reads it: a status by its message, anything else by its chain.
pub fn text(error: &anyhow::Error) -> String {
    let parts: Vec<String> = error
        .chain()
        .map(|e| match e.downcast_ref::<tonic::Status>() {
            Some(status) => status.message().to_owned(),
            None => e.to_string(),
        })
        .collect();
    parts.join(": ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_error_has_its_code() {
        let status =
            |code| anyhow::Error::new(tonic::Status::from_error_generic(code)).context("while doing");
        assert_eq!(code(&status(Code::Unavailable)), Exit::Unavailable);
        assert_eq!(code(&status(Code::PermissionDenied)), Exit::Denied);
        assert_eq!(code(&Failure::usage("no").context("while doing")), Exit::Usage);
        assert_eq!(code(&anyhow::anyhow!("other")), Exit::Failure);
    }

    trait FromCode {
        fn from_error_generic(code: Code) -> Self;
    }

    impl FromCode for tonic::Status {
        fn from_error_generic(code: Code) -> Self {
            sre_proto::error::status(code, sre_proto::error::Reason::Internal, "text")
        }
    }
}
