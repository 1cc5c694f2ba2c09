//! Checks for plugin authors, `quartet plugin test`: what a plugin must do whatever comes in.
//!
//! Each check runs in a process of its own ([`Check::number`] tells it which), because a plugin that fails one may end
//! the process. Buffers lie between unreadable pages. A seed repeats what a random check did.

mod codec;
mod codec_random;
mod cost;
mod path;
mod transport;

use std::time::Duration;

use super::loader::usage;
use super::registry::{Kind, Registry};

/// So long may one check take; random ones stop earlier by themselves.
pub const ALARM: Duration = Duration::from_secs(30);
/// A random check ends after this, however far it came: a slow machine is no fault of the plugin.
const RANDOM_TIME: Duration = Duration::from_secs(18);
/// How many random packets a check tries.
const RANDOM_PACKETS: u32 = 1_000_000;

/// The check of what comes out of the standard output, which the parent sees.
pub const PRINTS: u32 = 25;

/// One check; the numbers are those of the contract.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Check {
    /// Its number.
    pub number: u32,
    /// What it looks at.
    pub name: &'static str,
}

/// What a check saw at one codec or transport of the plugin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The codec or transport.
    pub table: String,
    /// `Ok` with what was seen, or `Err` with what is wrong.
    pub verdict: Result<String, String>,
}

// What several kinds of plugins are asked for.
const IN_THEIR_BUFFER: Check = Check {
    number: 2,
    name: "packets stay in their buffer",
};
const RANDOM_DATAGRAMS: Check = Check {
    number: 4,
    name: "random datagrams",
};
const FREED: Check = Check {
    number: 21,
    name: "what is made is freed",
};
const PRINTS_NOTHING: Check = Check {
    number: PRINTS,
    name: "nothing is printed",
};
const NO_WAITING: Check = Check {
    number: 26,
    name: "no waiting",
};

const CODEC_CHECKS: &[Check] = &[
    Check {
        number: 1,
        name: "strings and id",
    },
    Check {
        number: 2,
        name: "whole samples and clock ticks",
    },
    Check {
        number: 3,
        name: "payload type and packet size",
    },
    Check {
        number: 4,
        name: "unknown rates and channels refused",
    },
    Check {
        number: 5,
        name: "fmtp of offer and answer",
    },
    Check {
        number: 6,
        name: "nonsense fmtp",
    },
    Check {
        number: 7,
        name: "silence, tone, noise, full scale",
    },
    Check {
        number: 8,
        name: "a tone stays a tone",
    },
    Check {
        number: 9,
        name: "capacity of the packet",
    },
    Check {
        number: 10,
        name: "odd sample counts",
    },
    Check {
        number: 11,
        name: "a lost packet first",
    },
    Check {
        number: 16,
        name: "random packets",
    },
    FREED,
    PRINTS_NOTHING,
    Check {
        number: 26,
        name: "time, and no waiting",
    },
    Check {
        number: 31,
        name: "no allocation in hot calls",
    },
];

const TRANSPORT_CHECKS: &[Check] = &[
    Check {
        number: 1,
        name: "what is sent arrives",
    },
    IN_THEIR_BUFFER,
    RANDOM_DATAGRAMS,
    FREED,
    PRINTS_NOTHING,
    NO_WAITING,
];

const PATH_CHECKS: &[Check] = &[
    Check {
        number: 1,
        name: "a silent server is given up",
    },
    IN_THEIR_BUFFER,
    Check {
        number: 3,
        name: "nothing below",
    },
    RANDOM_DATAGRAMS,
    FREED,
    PRINTS_NOTHING,
    NO_WAITING,
];

/// Returns the checks for a kind of plugin, in order.
#[must_use]
pub fn checks(kind: Kind) -> &'static [Check] {
    match kind {
        Kind::Codec => CODEC_CHECKS,
        Kind::Session => TRANSPORT_CHECKS,
        Kind::Path => PATH_CHECKS,
    }
}

/// Runs one check over every codec or transport of the registry, which holds one plugin.
#[must_use]
pub fn run(registry: &Registry, number: u32, seed: u64) -> Vec<Finding> {
    let codecs = registry.codecs().iter().map(|codec| Finding {
        table: format!("{}/{}", codec.name(), codec.clock()),
        verdict: codec::check(registry, codec, number, seed),
    });
    let transports = registry.transports().iter().map(|transport| Finding {
        table: transport.name().to_owned(),
        verdict: transport::check(transport, number, seed),
    });
    let paths = registry.paths().iter().map(|path| Finding {
        table: path.name().to_owned(),
        verdict: path::check(path, number, seed),
    });
    let findings = codecs.chain(transports).chain(paths).collect();
    usage::flush_printed();
    findings
}
