//! What the process asks of the system for itself: that no core dump is written, and descriptors enough for its sockets.

use std::io;

use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit};

/// TCP connections to the hub that may be open without having said hello.
const MAX_PENDING: usize = 256;

/// The hub's connections take at most one of so many descriptors, so that a crowd at its door costs no call.
const HUB_SHARE: u64 = 4;

/// The same of SIP's.
const SIP_SHARE: u64 = 4;

/// Descriptors of everything but calls, SIP and the hub: standard streams, pollers and wakers, the store, the record file,
/// the control socket and those who ask there.
const RESERVE: u64 = 64;

/// Sockets of a call's SIP leg, RTP and RTCP.
const SIP_LEG_SOCKETS: u64 = 2;

/// Sockets that an E2EE leg has at most, one for each address of the machine.
const MAX_E2EE_LEG_SOCKETS: u64 = 16;

/// Switches core dumps of this process off: a dump would hold the keys and passwords in its memory.
///
/// Other processes of the same user can then no longer attach to it or read its memory either. A program that it starts
/// is dumpable again, but writes no file, for the limit is inherited.
///
/// # Errors
/// The system's, which makes this process as it was.
pub fn forbid_core_dumps() -> io::Result<()> {
    set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    // The first alone keeps the dump away, also from a collector that core_pattern pipes it to; this one is for children.
    let _ = setrlimit(Resource::Core, none);
    Ok(())
}

/// The most memory of a process that reads what a stranger has packed: a client has some MiB.
const MAX_MEMORY: u64 = 256 * 1024 * 1024;

/// Bounds the memory of this process: beyond, it ends, and no other.
pub fn limit_memory() {
    let limit = Rlimit {
        current: Some(MAX_MEMORY),
        maximum: Some(MAX_MEMORY),
    };
    if let Err(error) = setrlimit(Resource::Data, limit) {
        eprintln!("the memory of this process cannot be bounded: {error}");
    }
}

/// Raises the soft limit of descriptors to the hard one.
///
/// Soft limits are low (1,024) for the sake of programs that use `select`, which this one does not.
pub fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    if limit.current != limit.maximum {
        let raised = Rlimit {
            current: limit.maximum,
            maximum: limit.maximum,
        };
        if let Err(error) = setrlimit(Resource::Nofile, raised) {
            tracing::warn!(%error, "the limit of open files cannot be raised");
        }
    }
}

/// How many descriptors this process may have open.
pub fn descriptor_limit() -> u64 {
    getrlimit(Resource::Nofile).current.unwrap_or(u64::MAX)
}

/// What wants descriptors, as the settings say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Demand {
    /// `[limits] calls`.
    pub calls: u32,
    /// Addresses that the E2EE leg of a call binds.
    pub media_addresses: usize,
    /// SIP sockets.
    pub sip: usize,
    /// `[limits] sip_connections`, if SIP is heard over connections.
    pub sip_connections: u32,
    /// `[limits] hub_sessions`.
    pub hub_sessions: u32,
}

impl Demand {
    /// Sockets of one call: RTP and RTCP towards the phone, one an address towards the E2EE user.
    fn sockets_per_call(&self) -> u64 {
        SIP_LEG_SOCKETS + (self.media_addresses as u64).clamp(2, MAX_E2EE_LEG_SOCKETS)
    }
}

/// How the descriptors are shared out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shares {
    /// Connections to the hub that may be open without having said hello.
    pub hub_pending: usize,
    /// Connections to the hub that have said hello: what the settings allow, or as many as its share has room for.
    pub hub_sessions: usize,
    /// Connections of SIP: what the settings allow, or as many as its share has room for.
    pub sip_connections: usize,
    /// What does not fit, in sentences for the operator.
    pub shortages: Vec<String>,
}

impl Shares {
    /// Shares out `limit` descriptors.
    pub fn new(limit: u64, demand: &Demand) -> Self {
        let wanted = u64::from(demand.hub_sessions) + MAX_PENDING as u64;
        let hub = wanted.min(limit / HUB_SHARE);
        let hub_pending = (hub / 4).clamp(1, MAX_PENDING as u64);
        let hub_sessions = hub
            .saturating_sub(hub_pending)
            .min(u64::from(demand.hub_sessions))
            .max(1);
        let sip_connections = u64::from(demand.sip_connections).min(limit / SIP_SHARE);
        let (calls, per_call) = (u64::from(demand.calls), demand.sockets_per_call());
        let others = RESERVE + demand.sip as u64 + sip_connections + hub_pending + hub_sessions;
        let needed = calls.saturating_mul(per_call).saturating_add(others);
        let mut shortages = Vec::new();
        if needed > limit {
            shortages.push(format!(
                "[limits] calls = {calls} cannot all be served: with {per_call} sockets each they need a limit of {needed} open \
                 files, and it is {limit}; raise it (ulimit -n, LimitNOFILE in the systemd unit), or set calls to {}",
                limit.saturating_sub(others) / per_call
            ));
        }
        if sip_connections < u64::from(demand.sip_connections) {
            shortages.push(format!(
                "[limits] sip_connections = {} cannot all be served: SIP takes a quarter of the {limit} open files, room for \
                 {sip_connections}; raise the limit (ulimit -n, LimitNOFILE in the systemd unit), or lower sip_connections",
                demand.sip_connections
            ));
        }
        if hub_sessions < u64::from(demand.hub_sessions) {
            shortages.push(format!(
                "[limits] hub_sessions = {} cannot all be served: the hub takes a quarter of the {limit} open files, room for \
                 {hub_sessions}; raise the limit (ulimit -n, LimitNOFILE in the systemd unit), or lower hub_sessions",
                demand.hub_sessions
            ));
        }
        Self {
            hub_pending: small(hub_pending),
            hub_sessions: small(hub_sessions),
            sip_connections: small(sip_connections),
            shortages,
        }
    }

    /// Shares out `limit` descriptors where there is only a hub.
    pub fn of_hub(limit: u64, wanted: u32) -> Self {
        let hub = limit.saturating_sub(RESERVE);
        let hub_pending = (hub / 4).clamp(1, MAX_PENDING as u64);
        let hub_sessions = hub.saturating_sub(hub_pending).min(u64::from(wanted)).max(1);
        let mut shortages = Vec::new();
        if hub_sessions < u64::from(wanted) {
            shortages.push(format!(
                "[limits] hub_sessions = {wanted} cannot all be served: the {limit} open files have room for {hub_sessions}; raise the \
                 limit (ulimit -n, LimitNOFILE in the systemd unit), or lower hub_sessions"
            ));
        }
        Self {
            hub_pending: small(hub_pending),
            hub_sessions: small(hub_sessions),
            sip_connections: 0,
            shortages,
        }
    }
}

fn small(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The defaults on a machine with two addresses.
    const DEFAULTS: Demand = Demand {
        calls: 100,
        media_addresses: 2,
        sip: 2,
        sip_connections: 0,
        hub_sessions: 1000,
    };

    fn shares(limit: u64, demand: Demand) -> (usize, usize, Vec<String>) {
        let shares = Shares::new(limit, &demand);
        (shares.hub_pending, shares.hub_sessions, shares.shortages)
    }

    #[test]
    fn what_is_wanted_is_given_where_there_is_enough() {
        for limit in [16_384, 1 << 20, u64::MAX] {
            assert_eq!(shares(limit, DEFAULTS), (256, 1000, Vec::new()), "{limit}");
        }
    }

    #[test]
    fn a_hub_alone_has_them_all() {
        for (limit, wanted, given, shortages) in [(65_536, 1000, 1000, 0), (1024, 1000, 720, 1), (10, 1000, 1, 1)] {
            let shares = Shares::of_hub(limit, wanted);
            assert_eq!(
                (shares.hub_sessions, shares.shortages.len()),
                (given, shortages),
                "{limit}"
            );
        }
    }

    #[test]
    fn the_hub_never_takes_more_than_a_quarter() {
        let (pending, sessions, shortages) = shares(1024, DEFAULTS);
        assert_eq!((pending, sessions), (64, 192));
        assert_eq!(shortages.len(), 1, "the calls fit: {shortages:?}");
        assert!(
            shortages[0].starts_with("[limits] hub_sessions = 1000 "),
            "{shortages:?}"
        );
        for limit in 8..5000 {
            let (pending, sessions, _) = shares(limit, DEFAULTS);
            assert!(
                (pending + sessions) as u64 <= limit / 4,
                "{limit}: {pending} + {sessions}"
            );
        }
        // A limit of nothing serves nobody, but is no fault of the sums.
        assert_eq!(shares(0, DEFAULTS).0, 1);
    }

    #[test]
    fn calls_that_cannot_be_served_are_said_in_one_sentence() {
        let demand = Demand {
            calls: 1000,
            hub_sessions: 50,
            ..DEFAULTS
        };
        // 1,000 calls x 4, 64 in reserve, 2 for SIP, 50 sessions, 76 pending
        assert_eq!(shares(4192, demand).2, Vec::<String>::new());
        let shortages = shares(4191, demand).2;
        assert_eq!(
            shortages,
            [
                "[limits] calls = 1000 cannot all be served: with 4 sockets each they need a limit of 4192 open files, and it is \
              4191; raise it (ulimit -n, LimitNOFILE in the systemd unit), or set calls to 999"
            ]
        );
        let many_addresses = Demand {
            media_addresses: 40,
            ..demand
        };
        assert!(shares(4192, many_addresses).2[0].contains("with 18 sockets each"));
        let most = Demand {
            calls: u32::MAX,
            hub_sessions: u32::MAX,
            media_addresses: usize::MAX,
            sip: 64,
            sip_connections: u32::MAX,
        };
        assert_eq!(shares(1024, most).2.len(), 3);
        let streams = Demand {
            sip_connections: 4000,
            ..DEFAULTS
        };
        assert_eq!(Shares::new(8192, &streams).sip_connections, 2048);
        assert!(shares(8192, streams).2[0].starts_with("[limits] sip_connections = 4000 "));
        assert_eq!(Shares::new(65_536, &streams).sip_connections, 4000);
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        raise_descriptor_limit();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(descriptor_limit(), limit.maximum.unwrap_or(u64::MAX));
    }
}
