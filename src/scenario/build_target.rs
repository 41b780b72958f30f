//! What `[target]` means.

use std::collections::HashMap;
use std::path::PathBuf;

use crate::azure::dps;
use crate::azure::limits::{DPS_REGISTRATIONS_PER_MINUTE, HubSize};
use crate::document::diagnostics::quote;
use crate::document::node::Text;
use crate::document::source::SourceId;
use crate::document::values::Refusal;
use crate::document::{Diagnostic, Diagnostics, Given, Origin, Spanned};
use crate::net::dial::Endpoint;
use crate::net::way::{ConnectMap, Way};
use crate::plan::{AzureTarget, HubTarget, Place, Protocol, Target};
use crate::scenario::build::Paths;
use crate::scenario::target::{Mapped, Target as WrittenTarget, TargetKind};
use crate::scenario::written::Scenario;
use crate::scenario::{build_emulator, build_fleet, emulator, host, proxy};
use crate::units::Rate;

/// The target of a plan.
pub(super) fn target(written: &Scenario, paths: &Paths<'_>, diagnostics: &mut Diagnostics) -> Target {
    let table = &written.target;
    let kind = table.kind.or(TargetKind::Emulator);
    if table.kind.value().is_some() || table.kind.is_absent() {
        keys_suit_kind(written, kind, diagnostics);
    }
    let ca_file = table.ca_file.spanned().map(|path| paths.resolve(&path.value.value, path.origin));
    let spoken = build_fleet::spoken_first(&written.fleets, kind);
    match kind {
        TargetKind::Emulator => {
            Target::Emulator(build_emulator::target(written.emulator.as_ref(), diagnostics))
        }
        TargetKind::Azure => azure_target(table, ca_file, &spoken, diagnostics),
        TargetKind::Hub => {
            require("host", "\"contoso.azure-devices.net\"", &table.host, table.origin, diagnostics);
            let host = table.host.clone().check(diagnostics, |text| host::check(&text));
            let way = way(table, diagnostics);
            port_suits_protocols(&host, way.as_ref(), &spoken, diagnostics);
            Target::Hub(HubTarget {
                host: host.or(String::new()),
                ca_file,
                way: way.unwrap_or_default(),
                stated: stated_hub(table, diagnostics),
            })
        }
    }
}

fn azure_target(
    table: &WrittenTarget,
    ca_file: Option<PathBuf>,
    spoken: &[(Protocol, &str)],
    diagnostics: &mut Diagnostics,
) -> Target {
    let way = way(table, diagnostics);
    require("id_scope", "\"${env:ID_SCOPE}\"", &table.id_scope, table.origin, diagnostics);
    let dps = table.dps.clone().check(diagnostics, |text| host::check(&text));
    port_suits_protocols(&dps, way.as_ref(), spoken, diagnostics);
    let id_scope = table.id_scope.clone().check(diagnostics, |text| emulator::check_id_scope(&text));
    let mut allow = Vec::new();
    for pattern in table.allow.value().into_iter().flatten() {
        let pattern = Given::Value(pattern.clone()).check(diagnostics, |text| host::check_pattern(&text));
        allow.extend(pattern.value().cloned());
    }
    let names_none = table.allow.is_absent() || table.allow.value().is_some_and(Vec::is_empty);
    // Without `dps`, it is the global endpoint; with a broken one or a broken way to it, nothing can be said.
    let host = dps.or(dps::GLOBAL_HOST.to_owned());
    let remote = match (&dps, &way) {
        (Given::Broken, _) | (_, None) => false,
        (_, Some(way)) => Place::parse(&host).is_none_or(|place| {
            let unsaid = spoken.is_empty().then(Protocol::default);
            let mut protocols = spoken.iter().map(|(protocol, _)| *protocol).chain(unsaid);
            protocols.any(|protocol| !way.stays_here(&place.endpoint(protocol)))
        }),
    };
    if remote && names_none {
        let origin = table.allow.spanned().map_or(table.origin, |allow| allow.origin);
        diagnostics.push(
            Diagnostic::error(origin, "nothing says which hubs DPS may send the devices to")
                .help("add allow = [\"*.azure-devices.net\"], or better the names of your hubs"),
        );
    }
    Target::Azure(AzureTarget {
        dps: host,
        id_scope: id_scope.or(String::new()),
        allow,
        ca_file,
        way: way.unwrap_or_default(),
        stated: stated_hub(table, diagnostics),
        dps_registrations: table.dps_registrations.or(published_registrations()),
    })
}

/// Complains of a host whose port cannot be right for what the fleets speak. On this machine and behind a connect map it may
/// be one that speaks everything, as the emulator's do.
fn port_suits_protocols(
    host: &Given<String>,
    way: Option<&Way>,
    spoken: &[(Protocol, &str)],
    diagnostics: &mut Diagnostics,
) {
    let (Some(host), Some(way), Some((protocol, fleet))) = (host.spanned(), way, spoken.first()) else {
        return;
    };
    let Some(place) = Place::parse(&host.value) else { return };
    let Some(port) = place.port() else { return };
    let endpoint = place.endpoint(*protocol);
    if way.stays_here(&endpoint) || way.connect.get(&endpoint).is_some() {
        return;
    }
    let (name, own) = (protocol.name(), protocol.default_port());
    if let Some((other, second)) = spoken.iter().find(|(other, _)| other.default_port() != own) {
        let (other, others) = (other.name(), other.default_port());
        diagnostics.push(
            Diagnostic::error(
                host.origin,
                format!(
                    "port {port} is for one protocol, but here fleet `{fleet}` speaks {name} and fleet `{second}` {other}"
                ),
            )
            .help(format!(
                "leave the port out: {name} goes to {own} then and {other} to {others}; or let all fleets speak the same"
            )),
        );
    } else if let Some(other) =
        Protocol::ALL.into_iter().find(|other| other.default_port() != own && other.default_port() == port)
    {
        diagnostics.push(
            Diagnostic::warning(
                host.origin,
                format!(
                    "port {port} is usually that of {}, and fleet `{fleet}` speaks {name} there",
                    other.name()
                ),
            )
            .help(format!("leave the port out for {own}, or let the fleet speak {}", other.name())),
        );
    }
}

/// Registrations of a DPS whose limit nobody had raised.
fn published_registrations() -> Rate {
    Rate::new(DPS_REGISTRATIONS_PER_MINUTE as f64 / 60.0).expect("the published limit is a rate")
}

/// Proxy and connect map; `None` if a complaint was made about them.
fn way(table: &WrittenTarget, diagnostics: &mut Diagnostics) -> Option<Way> {
    let source = table.proxy.spanned().map_or(SourceId::FILE, |proxy| proxy.origin.source);
    let proxy = table.proxy.clone().check(diagnostics, |text| proxy::check(&text, source));
    let mut broken = matches!(proxy, Given::Broken) || matches!(table.connect, Given::Broken);
    let mut connect = ConnectMap::default();
    let mut seen: HashMap<Endpoint, Origin> = HashMap::new();
    for Mapped { host, address } in table.connect.value().into_iter().flatten() {
        let key = Given::Value(host.clone())
            .check(diagnostics, |host| mapped_host(&Text { value: host, written: None }));
        let address = Given::Value(address.clone()).check(diagnostics, |text| mapped_address(&text));
        let (Some(key), Some(address)) = (key.value(), address.value()) else {
            broken = true;
            continue;
        };
        if let Some(first) = seen.insert(key.clone(), host.origin) {
            diagnostics.push(
                Diagnostic::error(
                    host.origin,
                    "this host is mapped twice; the case of letters does not count",
                )
                .related(first, "first mapped here")
                .help("keep one of the two"),
            );
            broken = true;
        }
        connect.insert(&key.host, (key.port > 0).then_some(key.port), address.clone());
    }
    (!broken).then(|| Way { connect, proxy: proxy.value().cloned() })
}

/// A key of `connect`; port 0 stands for all ports.
fn mapped_host(text: &Text) -> Result<Endpoint, Refusal> {
    let host = host::check(text)?;
    Endpoint::parse(&host, 0).ok_or_else(|| {
        Refusal::new(
            format!("{} is not a host", quote(text.shown())),
            "write the whole name of one host, with `:port` if only that port is meant",
        )
    })
}

/// A value of `connect`.
fn mapped_address(text: &Text) -> Result<Endpoint, Refusal> {
    let address = host::check(text)?;
    Endpoint::parse(&address, 0).filter(|endpoint| endpoint.port > 0).ok_or_else(|| {
        Refusal::new(
            format!("{} has no port", quote(text.shown())),
            "write where to connect to, with its port: \"127.0.0.1:8443\"",
        )
    })
}

/// What the hub is said to be; `None` if nothing is said.
fn stated_hub(table: &WrittenTarget, diagnostics: &mut Diagnostics) -> Option<HubSize> {
    if let (Given::Absent, Some(units)) = (&table.tier, table.units.spanned()) {
        diagnostics.push(
            Diagnostic::error(
                units.origin,
                "`units` says nothing without `tier`: a unit of each is another size",
            )
            .help("add the hub's tier: tier = \"S1\""),
        );
    }
    let tier = *table.tier.value()?;
    let most = tier.max_units();
    let units = table.units.clone().check(diagnostics, |units| {
        u32::try_from(units).ok().filter(|units| (1..=most).contains(units)).ok_or_else(|| {
            let name = tier.name();
            let units = if most == 1 { "unit" } else { "units" };
            Refusal::new(
                format!("a hub of tier {name} has at most {most} {units}"),
                format!("use at most {most}, or another tier"),
            )
        })
    });
    Some(HubSize { tier, units: units.or(1) })
}

fn require<T>(name: &str, example: &str, given: &Given<T>, origin: Origin, diagnostics: &mut Diagnostics) {
    if given.is_absent() {
        diagnostics.push(
            Diagnostic::error(origin, format!("`[target]` lacks `{name}`"))
                .help(format!("add for example {name} = {example}")),
        );
    }
}

/// Keys of `[target]` that belong to another kind, and an `[emulator]` that would not be used.
fn keys_suit_kind(written: &Scenario, kind: TargetKind, diagnostics: &mut Diagnostics) {
    use TargetKind::{Azure, Emulator, Hub};
    let table = &written.target;
    let name = match kind {
        Emulator => "emulator",
        Azure => "azure",
        Hub => "hub",
    };
    let allow = match &table.allow {
        Given::Value(Spanned { origin, .. }) => Some(*origin),
        _ => None,
    };
    let place = |text: &Given<_>| text.spanned().map(|text| text.origin);
    let uses: [(&str, Option<Origin>, &[TargetKind], &str); 10] = [
        ("dps", place(&table.dps), &[Azure], "azure"),
        ("id_scope", place(&table.id_scope), &[Azure], "azure"),
        ("allow", allow, &[Azure], "azure"),
        ("host", place(&table.host), &[Hub], "hub"),
        ("ca_file", place(&table.ca_file), &[Azure, Hub], "azure"),
        ("proxy", place(&table.proxy), &[Azure, Hub], "azure"),
        ("connect", table.connect.spanned().map(|connect| connect.origin), &[Azure, Hub], "azure"),
        ("tier", table.tier.spanned().map(|tier| tier.origin), &[Azure, Hub], "azure"),
        ("units", table.units.spanned().map(|units| units.origin), &[Azure, Hub], "azure"),
        ("dps_registrations", table.dps_registrations.spanned().map(|rate| rate.origin), &[Azure], "azure"),
    ];
    for (key, origin, kinds, other) in uses {
        let Some(origin) = origin.filter(|_| !kinds.contains(&kind)) else { continue };
        let help = match (kind, key) {
            (Emulator, "id_scope") => "remove it, or write it into [emulator]".to_owned(),
            _ => format!("remove it, or write kind = \"{other}\""),
        };
        diagnostics.push(
            Diagnostic::error(origin, format!("`{key}` has no meaning for a target of kind \"{name}\""))
                .help(help),
        );
    }
    if let Some(emulator) = written.emulator.as_ref().filter(|_| kind != Emulator) {
        diagnostics.push(
            Diagnostic::error(
                emulator.origin,
                format!("`[emulator]` has no meaning for a target of kind \"{name}\""),
            )
            .help("remove it, or write kind = \"emulator\" in [target]"),
        );
    }
}
