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
        dialog: DialogKey,
        caller: Caller,
        number: String,
        /// Whom the caller says it calls for, in order.
        identities: Vec<String>,
        is_private: bool,
        five_tuple: FiveTuple,
        /// Where the phone is.
        origin: IpAddr,
        body: Option<Vec<u8>>,
    },
    /// From a user of a network.
    Network { network: NetworkId, incoming: CallRequest },
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
        Some(Self::Sip {
            dialog,
            caller,
            number,
            identities: asserted.iter().chain([&from]).map(|name| name.uri.dialled()).collect(),
            is_private,
            five_tuple,
            origin: origin.ip(),
            body,
        })
    }

    pub(super) fn parties(&self) -> Parties {
        let (from, to, direction, network) = match self {
            Self::Sip { caller, number, .. } => (caller.name(), number, Direction::Outgoing, None),
            Self::Network { network, incoming } => {
                let network = Some(network.to_string());
                (incoming.from.as_str(), &incoming.to, Direction::Incoming, network)
            }
        };
        Parties {
            from: from.to_owned(),
            to: to.clone(),
            shown: None,
            route: None,
            direction,
            network,
        }
    }

    pub(super) fn foreign_id(&self) -> ForeignId {
        match self {
            Self::Sip { dialog, .. } => ForeignId::Dialog(*dialog),
            Self::Network { network, incoming } => ForeignId::Network(network.clone(), incoming.call),
        }
    }
}
