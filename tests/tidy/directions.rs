//! Which room of the gateway may use which: dependencies run one way, from what starts to what only holds facts.

use super::{Source, none, sources};

/// The rooms in order; each uses those after it, and those beside it in its own line.
const ROOMS: &[&[&str]] = &[
    &["cli"],
    &["demo"],
    &["io"],
    &["exchange"],
    &["call"],
    &["networks", "hub"],
    &["media"],
    &["ivr"],
    &["plugins"],
    &["store"],
    &["cdr"],
    &["config"],
    &["route"],
    // Of the process, and used from everywhere.
    &["log", "permissions", "process"],
];

fn rank(room: &str) -> Option<usize> {
    ROOMS.iter().position(|rooms| rooms.contains(&room))
}

/// The room of a file of the gateway; none for what stands above all rooms.
fn room_of(path: &str) -> Option<&str> {
    let inside = path.strip_prefix("gateway/src/")?;
    let room = inside.split('/').next()?.trim_end_matches(".rs");
    Some(room).filter(|room| !matches!(*room, "lib" | "main"))
}

/// The rooms that a line of code names: `crate::room`, also in a list.
fn rooms_in(line: &str) -> Vec<&str> {
    let named = line.split("crate::").skip(1).flat_map(|rest| {
        let list = rest.strip_prefix('{').map(|list| list.split(',').collect());
        list.unwrap_or_else(|| vec![rest])
    });
    named
        .map(|rest| {
            rest.trim()
                .split(|c: char| !c.is_alphanumeric() && c != '_')
                .next()
                .unwrap_or_default()
        })
        .filter(|room| rank(room).is_some())
        .collect()
}

/// What is wrong with a file.
fn wrong_in(source: &Source) -> Vec<String> {
    let Some(room) = room_of(&source.path) else {
        return Vec::new();
    };
    let Some(own) = rank(room) else {
        return vec![format!("{}:1: {room} is in no line of the order of rooms", source.path)];
    };
    let (mut places, mut in_list) = (Vec::new(), false);
    for (number, line) in source.code() {
        // A list over several lines names one room a line.
        let line = if in_list {
            format!("crate::{}", line.trim())
        } else {
            line.to_owned()
        };
        in_list = (in_list || line.ends_with("use crate::{")) && !line.ends_with("};");
        for other in rooms_in(&line).into_iter().filter(|other| *other != room) {
            if rank(other).is_some_and(|rank| rank < own) {
                places.push(format!(
                    "{}:{number}: {room} uses {other}, which stands above it",
                    source.path
                ));
            }
        }
    }
    places
}

#[test]
fn rooms_use_only_those_after_them() {
    let product = sources().into_iter().filter(Source::is_product);
    none(product.flat_map(|source| wrong_in(&source)).collect());
}

#[test]
fn a_step_back_is_found() {
    let file = |path: &str, text: &str| Source {
        path: path.to_owned(),
        text: text.to_owned(),
        product: text.lines().count(),
        test: false,
    };
    let text = "use crate::call::Call;\n// crate::io\nuse crate::{log, exchange::Exchange};\nuse crate::config;\nuse crate::{\n    config::A,\n    io::B,\n};\nuse io::C;\n";
    assert_eq!(
        wrong_in(&file("gateway/src/media/leg.rs", text)),
        [
            "gateway/src/media/leg.rs:1: media uses call, which stands above it",
            "gateway/src/media/leg.rs:3: media uses exchange, which stands above it",
            "gateway/src/media/leg.rs:7: media uses io, which stands above it",
        ]
    );
    assert_eq!(wrong_in(&file("gateway/src/cli/mod.rs", text)), Vec::<String>::new());
    assert_eq!(wrong_in(&file("gateway/src/main.rs", text)), Vec::<String>::new());
    assert_eq!(wrong_in(&file("gateway/src/attic.rs", "")).len(), 1);
}
