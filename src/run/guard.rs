//! Who may be loaded: this machine freely, anybody else only when named in the scenario and confirmed.
//!
//! Whether it is this machine is decided by where the bytes go, proxy and connect map included
//! ([`Way::stays_here`](crate::net::way::Way::stays_here)).

use std::io::{BufRead, IsTerminal as _, Write as _};

use crate::net::dial::Endpoint;
use crate::plan::{Place, Plan, Target};
use crate::units::show_count;

/// Why a run does not start.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The host is not a host.
    #[error(
        "`{0}` is not a host name with an optional port; write for example \"contoso.azure-devices-provisioning.net\""
    )]
    Host(String),
    /// Real hosts, and nobody confirmed.
    #[error("not confirmed: the run would load {0}; add --yes if that is what you want")]
    NotConfirmed(String),
}

/// Where the devices of `plan` go first; `None` for the embedded emulator.
///
/// # Errors
/// [`Refused::Host`] if the scenario's text is no host.
pub fn place(plan: &Plan) -> Result<Option<Place>, Refused> {
    let text = match &plan.target {
        Target::Emulator(_) => return Ok(None),
        Target::Azure(azure) => &azure.dps,
        Target::Hub(hub) => &hub.host,
    };
    Place::parse(text).map(Some).ok_or_else(|| Refused::Host(text.clone()))
}

/// What the devices of `plan` open their first connections to, one for each protocol that they speak there and that has
/// a port of its own; nothing for the embedded emulator.
///
/// # Errors
/// [`Refused::Host`] if the scenario's text is no host.
pub fn endpoints(plan: &Plan) -> Result<Vec<Endpoint>, Refused> {
    let Some(place) = place(plan)? else { return Ok(Vec::new()) };
    let mut endpoints = Vec::new();
    for population in &plan.populations {
        let protocol = match plan.target {
            Target::Hub(_) => population.connect,
            _ => population.provision,
        };
        let endpoint = protocol.map(|protocol| place.endpoint(protocol));
        endpoints.extend(endpoint.filter(|endpoint| !endpoints.contains(endpoint)));
    }
    Ok(endpoints)
}

/// Whether devices that go to `endpoints` first load another machine than this one.
pub fn leaves_machine(plan: &Plan, endpoints: &[Endpoint]) -> bool {
    // Without a way it is the embedded emulator.
    plan.target.way().is_some_and(|way| endpoints.iter().any(|endpoint| !way.stays_here(endpoint)))
}

/// Endpoints as one text; "emulator" for none.
pub fn named(endpoints: &[Endpoint]) -> String {
    match endpoints {
        [] => "emulator".to_owned(),
        _ => endpoints.iter().map(Endpoint::to_string).collect::<Vec<_>>().join(" and "),
    }
}

/// Asks for what a run against hosts other than this machine needs: `--yes`, or a "yes" typed after a summary.
///
/// # Errors
/// [`Refused::NotConfirmed`] without either.
pub fn confirm(plan: &Plan, endpoints: &[Endpoint], yes: bool) -> Result<(), Refused> {
    if yes || !leaves_machine(plan, endpoints) {
        return Ok(());
    }
    let target = summary(plan, endpoints);
    if !std::io::stdin().is_terminal() || !std::io::stderr().is_terminal() {
        return Err(Refused::NotConfirmed(target));
    }
    let mut stderr = std::io::stderr().lock();
    let _ = write!(stderr, "This run loads {target}.\nType yes to go on: ");
    let _ = stderr.flush();
    let mut answer = String::new();
    let _ = std::io::stdin().lock().read_line(&mut answer);
    if answer.trim().eq_ignore_ascii_case("yes") { Ok(()) } else { Err(Refused::NotConfirmed(target)) }
}

/// What will hit whom, as the object of a sentence.
fn summary(plan: &Plan, endpoints: &[Endpoint]) -> String {
    let devices: u64 = plan.populations.iter().map(|population| population.count).sum();
    let rate: f64 = plan
        .populations
        .iter()
        .filter_map(|population| {
            let each = population.telemetry.as_ref()?.rhythm.per_second();
            each.is_finite().then_some(population.count as f64 * each)
        })
        .sum();
    let hubs = match &plan.target {
        Target::Azure(azure) if !azure.allow.is_empty() => format!(" and hubs {}", azure.allow.join(", ")),
        _ => String::new(),
    };
    let telemetry = if rate > 0.0 { format!(", up to {rate:.1} messages/s") } else { String::new() };
    let way = detours(plan).map(|detours| format!(" ({detours})")).unwrap_or_default();
    let endpoints = named(endpoints);
    format!("{endpoints}{hubs}{way} with {} devices{telemetry}", show_count(devices))
}

/// The proxy and the mapped hosts, as a half-sentence; `None` if the bytes go straight to the hosts.
pub fn detours(plan: &Plan) -> Option<String> {
    /// Mapped hosts that are named; the rest is counted.
    const NAMED: usize = 8;
    let way = plan.target.way()?;
    let proxy = way.proxy.as_ref().map(|proxy| format!("through the proxy {}", proxy.endpoint));
    let mut mapped: Vec<String> =
        way.connect.iter().map(|(host, address)| format!("{host} at {address}")).collect();
    let more = mapped.len().saturating_sub(NAMED);
    mapped.truncate(NAMED);
    if more > 0 {
        mapped.push(format!("{} more hosts elsewhere", show_count(more as u64)));
    }
    let mapped = (!mapped.is_empty()).then(|| format!("with {}", mapped.join(", ")));
    match (proxy, mapped) {
        (Some(proxy), Some(mapped)) => Some(format!("{proxy}, {mapped}")),
        (proxy, mapped) => proxy.or(mapped),
    }
}

/// What a run against a real service leaves behind there; `None` for this machine.
pub fn left_behind(plan: &Plan, endpoints: &[Endpoint]) -> Option<String> {
    if !leaves_machine(plan, endpoints) {
        return None;
    }
    let devices: u64 = plan.populations.iter().map(|population| population.count).sum();
    Some(match &plan.target {
        Target::Azure(_) => format!(
            "Left behind at the service: up to {} registration records at DPS and as many devices in the hubs. Deleting the \
             enrollment does not delete them; they count against the quotas until you do.",
            show_count(devices)
        ),
        _ => "Left behind at the hub: the messages that it accepted.".to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scenario;

    fn plan(target: &str) -> Plan {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("s.toml");
        let text = format!(
            "version = 1\n[target]\n{target}\n[enrollment.a]\ngroup_key = 'stdin'\n[fleet.x]\ncount = 1\n"
        );
        std::fs::write(&path, text).expect("the folder is writable");
        let variable = |_: &str| Some("canary".to_owned());
        let loaded = scenario::load(&path, &scenario::Options::default(), &variable);
        loaded.unwrap_or_else(|told| panic!("{}", told.render(false, None))).plan
    }

    fn refused(target: &str) -> Option<String> {
        let plan = plan(target);
        let endpoints = endpoints(&plan).expect("a host");
        let refused = confirm(&plan, &endpoints, false).err().map(|refused| refused.to_string());
        assert_eq!(refused.is_some(), leaves_machine(&plan, &endpoints));
        assert_eq!(refused.is_some(), left_behind(&plan, &endpoints).is_some());
        assert_eq!(confirm(&plan, &endpoints, true), Ok(()));
        refused
    }

    #[test]
    fn what_is_asked_names_the_proxy_and_the_mapped_hosts() {
        let many: String = (10..30).map(|n| format!("'h{n}' = '127.0.0.1:{n}', ")).collect();
        for (target, told) in [
            ("kind = 'hub'\nhost = 'a.b'".to_owned(), "would load a.b:8883 with 1 devices"),
            (
                "kind = 'hub'\nhost = 'localhost:1'\nproxy = 'http://u:${env:P}@p.q:3128'".to_owned(),
                "would load localhost:1 (through the proxy p.q:3128) with 1 devices",
            ),
            (
                "kind = 'azure'\nid_scope = 'a'\ndps = 'd.e'\nallow = ['*.h.i']\nproxy = 'http://localhost:1'\n\
                 connect = { 'd.e' = 'f.g:9' }"
                    .to_owned(),
                "d.e:8883 and hubs *.h.i (through the proxy localhost:1, with d.e at f.g:9) with",
            ),
            (
                format!("kind = 'hub'\nhost = 'a.b'\nconnect = {{ {many} 'h9' = 'c.d:1' }}"),
                "h17 at 127.0.0.1:17, 13 more hosts elsewhere)",
            ),
        ] {
            let refused = refused(&target).expect("it leaves this machine");
            assert!(refused.contains(told) && !refused.contains("canary"), "{target}\n{refused}");
        }
    }

    #[test]
    fn each_port_that_a_protocol_has_for_itself_is_looked_at() {
        let fleets = |target: &str, keys: &[&str]| {
            let folder = tempfile::tempdir().expect("a folder");
            let path = folder.path().join("s.toml");
            let fleets: String =
                (0..).zip(keys).map(|(n, keys)| format!("[fleet.x{n}]\ncount = 1\n{keys}\n")).collect();
            let text =
                format!("version = 1\n[target]\n{target}\n[enrollment.a]\ngroup_key = 'stdin'\n{fleets}");
            std::fs::write(&path, text).expect("the folder is writable");
            let loaded = scenario::load(&path, &scenario::Options::default(), &|_| None);
            let plan = loaded.unwrap_or_else(|told| panic!("{}", told.render(false, None))).plan;
            let endpoints = endpoints(&plan).expect("a host");
            (named(&endpoints), confirm(&plan, &endpoints, false).is_err())
        };
        let hub = "kind = 'hub'\nhost = 'a.b'";
        // Only MQTT is mapped to this machine: a fleet that speaks HTTPS leaves it, wherever it stands.
        let half = format!("{hub}\nconnect = {{ 'a.b:8883' = '127.0.0.1:1' }}");
        let azure = "kind = 'azure'\nid_scope = 'a'\ndps = 'd.e'\nallow = ['*.h.i']";
        for (target, keys, told, asks) in [
            (hub, &["", "connect = 'https'", ""][..], "a.b:8883 and a.b:443", true),
            (&half, &["", "connect = 'mqtt'"][..], "a.b:8883", false),
            (&half, &["", "connect = 'https'"][..], "a.b:8883 and a.b:443", true),
            (&half, &["connect = 'https'", ""][..], "a.b:443 and a.b:8883", true),
            (azure, &["provision = 'https'", "connect = 'https'"][..], "d.e:443 and d.e:8883", true),
            (azure, &["connect = 'none'"][..], "d.e:8883", true),
        ] {
            assert_eq!(fleets(target, keys), (told.to_owned(), asks), "{target} {keys:?}");
        }
    }

    #[test]
    fn what_stays_here_all_the_way_is_not_asked_about() {
        for target in [
            "kind = 'hub'\nhost = 'localhost:1'",
            "kind = 'hub'\nhost = 'a.b'\nconnect = { 'A.b:8883' = '127.0.0.1:1' }",
            "kind = 'hub'\nhost = 'a.b:1'\nconnect = { 'a.b' = '[::1]:1' }\nproxy = 'http://127.0.0.1:3128'",
            "kind = 'azure'\nid_scope = 'a'\ndps = 'localhost'\nconnect = { 'a.b' = 'c.d:1' }",
        ] {
            assert_eq!(refused(target), None, "{target}");
        }
    }
}
