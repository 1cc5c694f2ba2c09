//! A call that has come, from either side, before it is known what becomes of it.

use std::net::IpAddr;

use quartet_proto::net::FiveTuple;
use quartet_proto::sip::{Caller, DialogKey, SipEvent};

use super::ForeignId;
use crate::call::Parties;
use crate::cdr::Direction;
use crate::networks::{CallRequest, NetworkId};

/// A call that has come.
#[derive(Debug)]
pub(super) enum Arrival {
    /// By SIP.
    Sip {
        caller: Caller,
        number: String,
        invite: Invite,
    },
    /// From a user of a network.
    Network { network: NetworkId, incoming: CallRequest },
}

/// What an INVITE says beside who calls whom.
#[derive(Debug)]
pub(super) struct Invite {
    pub(super) dialog: DialogKey,
    /// Whom the caller says it calls for, in order.
    pub(super) identities: Vec<String>,
    pub(super) is_private: bool,
    pub(super) five_tuple: FiveTuple,
    /// Where the phone is.
    pub(super) origin: IpAddr,
    pub(super) body: Option<Vec<u8>>,
}

impl Arrival {
    pub(super) fn of_sip(event: SipEvent) -> Option<Self> {
        let SipEvent::Incoming {
            dialog,
            caller,
            from,
            asserted,
            is_private,
            target: number,
            body,
            five_tuple,
            origin,
            ..
        } = event
        else {
            return None;
        };
        let invite = Invite {
            dialog,
            identities: asserted.iter().chain([&from]).map(|name| name.uri.dialled()).collect(),
            is_private,
            five_tuple,
            origin: origin.ip(),
            body,
        };
        Some(Self::Sip { caller, number, invite })
    }

    pub(super) fn parties(&self) -> Parties {
        match self {
            Self::Sip { caller, number, invite } => Parties {
                is_private: invite.is_private,
                ..Parties::new(Direction::Outgoing, caller.name(), number)
            },
            Self::Network { network, incoming } => Parties {
                network: Some(network.to_string()),
                ..Parties::new(Direction::Incoming, &incoming.from, &incoming.to)
            },
        }
    }

    pub(super) fn foreign_id(&self) -> ForeignId {
        match self {
            Self::Sip { invite, .. } => ForeignId::Dialog(invite.dialog),
            Self::Network { network, incoming } => ForeignId::Network(network.clone(), incoming.call),
        }
    }
}
