//! HTTP and server-sent events for people and monitoring.
