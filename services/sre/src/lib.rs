//! sre.
