//! What a service outside charges, for the ledger.

/// One answer of a service outside that somebody pays for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Charge {
    /// What was used, `api:websearch.smyth`.
    pub source: &'static str,
    /// Who provides it.
    pub provider: &'static str,
    /// Which of the activation's answers it is: the same number names the same answer when the activation is
    /// executed again.
    pub answer: usize,
    /// Credits of the account there.
    pub credits: i64,
    /// Millionths of a US dollar, where it is the deployment's account and has a price.
    pub cost_micros: i64,
}
