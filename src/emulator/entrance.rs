//! Through which listener a client came in, and what that makes of the name of its hub.
//!
//! SDKs differ in what they can reach. Python's dials the assigned name at 8883 or 443 and takes no port; Node's and others
//! take `host:port`; a script that comes through the CONNECT front knows nothing but names of the real service. What a
//! registration is told as `assignedHub` therefore depends on the listener at which it asks:
//!
//! | listener | told | example |
//! |---|---|---|
//! | of DPS, of a hub | [`Told::Usual`] | `localhost:8444` |
//! | 8883 and 443 for SDKs | [`Told::Plain`] | `127.0.0.1`; `127.0.0.2` where there are several hubs |
//! | CONNECT front | [`Told::Azure`] | `hub.azure-devices.net` |
//!
//! Every one of these names is good in a token and in a user name, whatever the listener.

use std::collections::HashSet;

use super::config::Hub;
use crate::azure::hub::DOMAIN;

/// Through which listener a client came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Entrance {
    /// The hub whose listener it was; `None` for one of DPS.
    pub hub: Option<usize>,
    /// How who registers here is told of its hub.
    pub told: Told,
}

/// How a registration is told of its hub.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Told {
    /// By [`Advertised::usual`].
    #[default]
    Usual,
    /// By [`Advertised::plain`].
    Plain,
    /// By [`Advertised::azure`].
    Azure,
}

/// What registrations are told as `assignedHub`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertised {
    /// What suits most clients: the configured host, or `host:port`.
    pub usual: String,
    /// A host that clients reach at 8883 and 443, without a port.
    pub plain: String,
    /// A name like those of the real service, for who comes through the CONNECT front.
    pub azure: String,
}

/// The names by which a hub goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HubNames {
    /// What registrations are told as `assignedHub`.
    pub advertised: Advertised,
    /// Further names a token may carry, with or without port; the configured host is one in any case.
    pub aliases: Vec<String>,
}

impl Entrance {
    /// The usual listener of a hub, or of DPS.
    pub fn usual(hub: Option<usize>) -> Self {
        Self { hub, told: Told::Usual }
    }
}

impl Advertised {
    /// One name for everybody.
    pub fn everywhere(host: &str) -> Self {
        Self { usual: host.to_owned(), plain: host.to_owned(), azure: host.to_owned() }
    }

    /// The name for who is told so.
    pub fn by(&self, told: Told) -> &str {
        match told {
            Told::Usual => &self.usual,
            Told::Plain => &self.plain,
            Told::Azure => &self.azure,
        }
    }

    /// All of them.
    pub(super) fn all(&self) -> [&String; 3] {
        [&self.usual, &self.plain, &self.azure]
    }
}

/// A name below [`DOMAIN`] for each hub: its configured host if that is one, else made from its short name. No two are
/// the same, nor is one the host of another hub.
pub(super) fn azure_names(hubs: &[Hub]) -> Vec<String> {
    let mut taken: HashSet<String> = hubs.iter().map(|hub| hub.host.to_ascii_lowercase()).collect();
    let name = |hub: &Hub| {
        if is_azure_name(&hub.host) {
            return hub.host.to_ascii_lowercase();
        }
        // Certificates for `*.azure-devices.net` are good for one label of letters, digits and dashes.
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let label: String = hub.name.chars().map(plain).take(LONGEST_LABEL).collect();
        let label = label.trim_matches('-').to_ascii_lowercase();
        let label = if label.is_empty() { "hub" } else { &label };
        let numbered = (2..).map(|number| format!("{label}-{number}.{DOMAIN}"));
        let mut candidates = std::iter::once(format!("{label}.{DOMAIN}")).chain(numbered);
        candidates.find(|name| taken.insert(name.clone())).unwrap_or_default()
    };
    hubs.iter().map(name).collect()
}

/// Whether a host is one label below [`DOMAIN`].
fn is_azure_name(host: &str) -> bool {
    let host = host.to_ascii_lowercase();
    let label = host.strip_suffix(DOMAIN).and_then(|rest| rest.strip_suffix('.'));
    label.is_some_and(|label| !label.is_empty() && !label.contains('.'))
}

/// Of the 63 characters that a label may have, what leaves room for a number.
const LONGEST_LABEL: usize = 56;

#[cfg(test)]
mod tests {
    use super::*;

    fn hub(name: &str, host: &str) -> Hub {
        Hub::new(name, host)
    }

    #[test]
    fn a_hub_has_a_name_of_the_real_services_kind_and_no_two_have_the_same() {
        let hubs = [
            hub("north", "north.azure-devices.localhost"),
            hub("North", "other.example"),
            hub("south", "Contoso.azure-devices.net"),
            hub("contoso", "contoso.azure-devices.localhost"),
            hub("east_1", "a.b.azure-devices.net"),
            hub("-", "azure-devices.net"),
        ];
        let names = azure_names(&hubs);
        assert_eq!(
            names,
            [
                "north.azure-devices.net",
                "north-2.azure-devices.net",
                "contoso.azure-devices.net",
                "contoso-2.azure-devices.net",
                "east-1.azure-devices.net",
                "hub.azure-devices.net",
            ]
        );
    }
}
