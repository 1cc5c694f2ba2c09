//! Keeps a library's own words out of the log: they may hold what is secret, or what a stranger wants to stand there.

/// Runs what a library would log.
pub(crate) fn unlogged<T>(run: impl FnOnce() -> T) -> T {
    tracing::subscriber::with_default(tracing::subscriber::NoSubscriber::default(), run)
}
