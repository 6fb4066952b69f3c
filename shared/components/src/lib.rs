//! sre-components.
