//! What each table of a loaded plugin has beside its functions: whose it is, and what all tables of that plugin share.

use std::sync::Arc;

use super::loader::Shared;

/// A table of a loaded plugin. Cheap to clone.
#[derive(Debug)]
pub struct Table<T>(Arc<Inner<T>>);

#[derive(Debug)]
struct Inner<T> {
    row: T,
    plugin: String,
    shared: Arc<Shared>,
}

impl<T> Clone for Table<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> Table<T> {
    pub(super) fn new(row: T, plugin: String, shared: Arc<Shared>) -> Self {
        Self(Arc::new(Inner { row, plugin, shared }))
    }

    /// Returns the id of the plugin that brings it.
    #[must_use]
    pub fn plugin(&self) -> &str {
        &self.0.plugin
    }

    /// What the plugin says in it.
    pub(super) fn row(&self) -> &T {
        &self.0.row
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.0.shared
    }
}
