//! What the settings name and no plugin or recording here provides: not wrong, but the operator should know.

use std::collections::BTreeSet;

use crate::call::offered_codecs;
use crate::config::{Settings, Via, stack};
use crate::ivr::prompts::Prompts;
use crate::plugins::Registry;

/// A sentence for each.
pub fn unserved(settings: &Settings, registry: &Registry, prompts: &Prompts) -> BTreeSet<String> {
    let mut sentences = BTreeSet::new();
    for id in settings.plugins.options.keys() {
        if !registry.loaded().iter().any(|loaded| loaded.id == *id) {
            sentences.insert(format!(
                "[plugins.options.{id}] is for no plugin that is loaded; `quartet plugin list` names those that are"
            ));
        }
    }
    let of_phones = settings.phones.iter().map(|phone| &phone.transport);
    let of_routes = settings.routes.iter().filter_map(|route| route.transport.as_ref());
    for transport in of_phones.chain(of_routes) {
        let (transport, path) = stack(transport);
        if let Some(path) = path {
            sentences.extend(no_path(settings, registry, path));
        }
        if registry.transport(transport).is_none() {
            sentences.insert(format!(
                "no plugin has the transport {transport}, calls over it fail; `quartet plugin list` names what there is"
            ));
        }
    }
    for phone in &settings.phones {
        for codec in &phone.codecs {
            if offered_codecs(std::slice::from_ref(codec), registry).is_empty() {
                sentences.insert(format!(
                    "no plugin serves the codec {codec}, phones do without it; `quartet plugin list` names what there is"
                ));
            }
        }
        if !prompts.speaks(&phone.language) {
            sentences.insert(format!(
                "there are no recordings in the language {}, phones of it hear English; see [ivr] prompts",
                phone.language
            ));
        }
    }
    sentences
}

/// What is missing for a path under a session.
fn no_path(settings: &Settings, registry: &Registry, path: &str) -> Option<String> {
    let Some(table) = registry.path(path) else {
        return Some(format!(
            "no plugin has the path {path}, calls over it fail; `quartet plugin list` names what there is"
        ));
    };
    let id = table.plugin();
    let server = settings.plugins.path_server(id, Via::Udp);
    server.is_none().then(|| {
        format!("it is not said where the server of the path {path} is, calls over it fail; set [plugins.options.{id}] relay = \"HOST:PORT\"")
    })
}
