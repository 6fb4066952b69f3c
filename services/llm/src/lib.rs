//! sre-llm.
