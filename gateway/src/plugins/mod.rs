//! Loading plugins: checks, registry, safe handles.
