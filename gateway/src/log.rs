//! Where log lines go, and what may stand in them.
