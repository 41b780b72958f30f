//! Who may be loaded: this machine freely, anybody else only when named in the scenario and confirmed.

use std::io::{BufRead, IsTerminal as _, Write as _};

use crate::net::dial::Endpoint;
use crate::plan::{Plan, Target};
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

/// The first host that the devices of `plan` contact; `None` for the embedded emulator.
///
/// # Errors
/// [`Refused::Host`] if the scenario's text is no host.
pub fn endpoint(plan: &Plan) -> Result<Option<Endpoint>, Refused> {
    let (text, port) = match &plan.target {
        Target::Emulator(_) => return Ok(None),
        Target::Azure(azure) => (
            &azure.dps,
            plan.populations.iter().find_map(|p| p.provision).map_or(443, |protocol| protocol.default_port()),
        ),
        Target::Hub(hub) => (
            &hub.host,
            plan.populations.iter().find_map(|p| p.connect).map_or(443, |protocol| protocol.default_port()),
        ),
    };
    Endpoint::parse(text, port).map(Some).ok_or_else(|| Refused::Host(text.clone()))
}

/// Asks for what a run against hosts other than this machine needs: `--yes`, or a "yes" typed after a summary.
///
/// # Errors
/// [`Refused::NotConfirmed`] without either.
pub fn confirm(plan: &Plan, endpoint: Option<&Endpoint>, yes: bool) -> Result<(), Refused> {
    let Some(endpoint) = endpoint.filter(|endpoint| !endpoint.is_loopback()) else { return Ok(()) };
    if yes {
        return Ok(());
    }
    let target = summary(plan, endpoint);
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
fn summary(plan: &Plan, endpoint: &Endpoint) -> String {
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
    format!("{endpoint}{hubs} with {} devices{telemetry}", show_count(devices))
}

/// What a run against a real service leaves behind there; `None` for this machine.
pub fn left_behind(plan: &Plan, endpoint: Option<&Endpoint>) -> Option<String> {
    endpoint.filter(|endpoint| !endpoint.is_loopback())?;
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
