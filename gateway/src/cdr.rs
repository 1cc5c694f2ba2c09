//! Call records as JSON lines.
