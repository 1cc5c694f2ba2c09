//! Where this machine is: its addresses, the networks it is in, and what those outside are told instead.

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use ipnet::IpNet;
use quartet_proto::net::External;

use super::{Exchange, endpoint};
use crate::config::{ExternalAddress, LocalNetworks, Settings};

/// What the system says of that; it changes while the gateway runs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Here {
    /// The addresses that can be offered, for `[media] addresses = "auto"`.
    pub addresses: Vec<IpAddr>,
    /// The networks of its interfaces, for `[media] local_networks = "auto"`.
    pub networks: Vec<IpNet>,
    /// The addresses of the names in `external_address`, those that are known.
    pub names: BTreeMap<String, Vec<IpAddr>>,
}

/// The names that are to be looked up.
pub fn names(settings: &Settings) -> BTreeSet<String> {
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
    all.filter_map(name).collect()
}

impl Here {
    /// The addresses that are meant, as far as they are known.
    pub(super) fn addresses_of(&self, external: &ExternalAddress) -> Vec<IpAddr> {
        match external {
            ExternalAddress::Addresses(addresses) => addresses.clone(),
            ExternalAddress::Name(name) => self.names.get(name).cloned().unwrap_or_default(),
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
    /// The machine is elsewhere, or knows more of it: for new calls, and for what is said of them.
    pub fn set_here(&mut self, here: Here) {
        if self.here == here {
            return;
        }
        self.here = here;
        endpoint::apply(&self.settings, &self.here, &mut self.endpoint);
    }
}
