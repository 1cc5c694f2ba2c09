//! State that outlives the process: SQLite.
