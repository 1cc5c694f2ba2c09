//! Where this machine is: its addresses, the networks it is in, and what those outside are told instead.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::time::Instant;

use ipnet::IpNet;
use quartet_proto::net::External;
use quartet_proto::sip::locate::Target;

use super::{Exchange, endpoint, trunks};
use crate::config::{Addresses, ExternalAddress, LocalNetworks, Settings, TrunkAddress};
use crate::media::Bind;
use crate::networks::NetworkId;

/// What the system says of that; it changes while the gateway runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// The addresses that can be offered, for `[media] addresses = "auto"`.
    pub addresses: Vec<IpAddr>,
    /// The networks of its interfaces, for `[media] local_networks = "auto"`.
    pub networks: Vec<IpNet>,
    /// The addresses of the names in `external_address`, those that are known.
    pub names: BTreeMap<String, Vec<IpAddr>>,
    /// The hosts of the names and domains of trunks, those that are known.
    pub trunks: BTreeMap<TrunkAddress, Vec<Target>>,
}

/// What is to be looked up.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Hosts of `external_address`.
    pub hosts: BTreeSet<String>,
    /// Hosts and domains of trunks.
    pub trunks: BTreeSet<TrunkAddress>,
}

/// The names that are to be looked up.
pub fn names(settings: &Settings) -> Names {
    let phones = settings
        .phones
        .iter()
        .filter_map(|phone| phone.external_address.as_ref());
    let of_networks = settings
        .network
        .external_addresses()
        .filter_map(|(_, external)| external);
    let all = phones.chain(of_networks).chain([&settings.media.external_address]);
    let name = |external: &ExternalAddress| match external {
        ExternalAddress::Name(name) => Some(name.clone()),
        ExternalAddress::Addresses(_) => None,
    };
    Names {
        hosts: all.filter_map(name).collect(),
        trunks: trunks::names(settings).collect(),
    }
}

impl Here {
    /// The addresses that are meant, as far as they are known.
    pub(super) fn addresses_of(&self, external: &ExternalAddress) -> Vec<IpAddr> {
        match external {
            ExternalAddress::Addresses(addresses) => addresses.clone(),
            ExternalAddress::Name(name) => self.names.get(name).cloned().unwrap_or_default(),
        }
    }

    /// Where media with ICE is bound; `own` stands in the place of what `[media]` says of addresses outside.
    pub(super) fn ice_bind(&self, settings: &Settings, own: Option<&ExternalAddress>) -> Bind {
        // As it is meant, not as it happens to be bound now.
        let listen = settings.sip.listen.iter().map(|listen| listen.address.ip());
        let addresses = match &settings.media.addresses {
            Addresses::Auto => ice_addresses(&self.addresses, listen),
            Addresses::Listed(listed) => listed.clone(),
        };
        Bind {
            addresses,
            components: 1,
            outer: self.external(settings, own).addresses,
        }
    }

    /// What those outside are told; `own` stands in the place of what `[media]` says.
    pub(super) fn external(&self, settings: &Settings, own: Option<&ExternalAddress>) -> External {
        let networks = match &settings.media.local_networks {
            LocalNetworks::Auto => self.networks.iter(),
            LocalNetworks::Listed(listed) => listed.iter(),
        };
        // Another program of this machine is not outside, whatever is listed.
        let machine = self.addresses.iter().copied().map(IpNet::from);
        External {
            addresses: self.addresses_of(own.unwrap_or(&settings.media.external_address)),
            local_networks: networks.copied().chain(machine).collect(),
        }
    }
}

impl Exchange {
    /// Where this machine is, as it was told last.
    pub fn here(&self) -> &Here {
        &self.here
    }

    /// The machine is elsewhere, or knows more of it: for new calls, for what is said of them, and for media with users, which goes on
    /// from where it is now.
    pub fn set_here(&mut self, now: Instant, here: Here) {
        if self.here == here {
            return;
        }
        self.here = here;
        endpoint::apply(&self.settings, &self.here, &mut self.endpoint);
        self.follow_places(now);
        let bind = |network: &NetworkId| {
            let own = self.settings.network.external_address(network.as_str());
            (network.clone(), self.here.ice_bind(&self.settings, own))
        };
        let binds: BTreeMap<_, _> = self.networks.keys().map(bind).collect();
        let keys: Vec<_> = self.calls.keys().copied().collect();
        for key in keys {
            if let Some(call) = self.calls.get_mut(&key) {
                call.rebind(now, &binds);
            }
            self.run_actions(now, key);
        }
        self.drain_events(now);
    }
}

/// Where the legs of E2EE users are bound under `auto`: at loopback only where nobody but this machine is served.
///
/// The remote user names the candidates that our ICE checks are sent to. From a loopback socket those checks would reach the
/// services of this host, which trust whoever comes from there.
pub(super) fn ice_addresses(host: &[IpAddr], mut listen: impl Iterator<Item = IpAddr>) -> Vec<IpAddr> {
    let outside: Vec<IpAddr> = host.iter().copied().filter(|ip| !ip.is_loopback()).collect();
    if outside.is_empty() || listen.all(|ip| ip.is_loopback()) {
        host.to_vec()
    } else {
        outside
    }
}
