//! sre-agent.
