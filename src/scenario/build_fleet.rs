//! What `[fleet.NAME]` means.

use std::time::Duration;

use crate::azure::registration::MAX_ID_LENGTH;
use crate::document::values::Refusal;
use crate::document::{Diagnostic, Diagnostics, Given, Origin, Spanned};
use crate::payload::Longest;
use crate::plan::{
    Arrival, Behave, Deadlines, Enrollment, Keys, Population, Protocol, Roster, SignWith, Skew, Starts,
    TokenLife,
};
use crate::scenario::build::{Paths, refused, unknown_name};
use crate::scenario::enrollment::Keys as WrittenKeys;
use crate::scenario::fleet::{Fleet, Start};
use crate::scenario::target::TargetKind;
use crate::scenario::written::Scenario;
use crate::scenario::{build_chores, build_roster, build_telemetry, payload};
use crate::units::{show_count, spell_duration};

const DEFAULT_KEEP_CONNECTION: Duration = Duration::from_secs(60);

/// With less, pings would be more than the messages, and a slow answer a lost connection. Our own choice.
const LEAST_KEEP_ALIVE: Duration = Duration::from_secs(5);

/// What fleets are held against.
pub(super) struct Context<'a> {
    pub(super) written: &'a Scenario,
    pub(super) enrollments: &'a [Enrollment],
    pub(super) target: TargetKind,
    pub(super) paths: &'a Paths<'a>,
    pub(super) seed: u64,
}

pub(super) fn populations(context: &Context<'_>, diagnostics: &mut Diagnostics) -> Vec<Population> {
    let fleets = &context.written.fleets;
    let mut files = payload::Files::new(context.paths);
    let populations: Vec<Population> =
        fleets.iter().map(|fleet| population(fleet, context, &mut files, diagnostics)).collect();
    build_roster::distinct(fleets, &populations, diagnostics);
    populations
}

fn population(
    fleet: &Fleet,
    context: &Context<'_>,
    files: &mut payload::Files<'_>,
    diagnostics: &mut Diagnostics,
) -> Population {
    let Context { written, enrollments, target, paths, seed } = *context;
    let enrollment = enrollment(fleet, enrollments, diagnostics);
    let keys = enrollment.and_then(|index| enrollments.get(index)).map(|found| &found.keys);
    let ids = build_roster::ids(fleet, paths, diagnostics);
    let listed = build_roster::listed(keys, ids.as_ref());
    let start = start(fleet, paths, diagnostics);
    let traced = match &start {
        Some(Arrival::Trace(trace)) => Some(trace.len()),
        _ => None,
    };
    // A list that cannot be used says how many there are, if not to us.
    let is_listed = enrollment
        .and_then(|index| written.enrollments.get(index))
        .is_some_and(|enrollment| matches!(enrollment.keys, Some(WrittenKeys::List(_)) | None));
    let says = Says { listed, traced, individual: matches!(keys, Some(Keys::Individual { .. })) };
    let count = count(fleet, enrollment.is_some() && (listed.is_some() || !is_listed), &says, diagnostics);
    let arrival = arrival(fleet, start, count, &says, diagnostics);
    starts_before_the_end(
        fleet,
        Starts { arrival: &arrival, count, seed, population: &fleet.name },
        written,
        diagnostics,
    );
    if target == TargetKind::Hub
        && let Some(provision) = fleet.provision.spanned()
    {
        diagnostics.push(
            Diagnostic::error(provision.origin, "`provision` has no meaning for a target of kind \"hub\"")
                .help("remove it: without DPS the devices go straight to the hub"),
        );
    }
    let provision = (target != TargetKind::Hub).then(|| fleet.provision.or(Protocol::default()));
    let connect = connect(fleet, target, diagnostics);
    let deadlines = fleet.behave.or(Behave::default()).habits().deadlines;
    let known_count = fleet.count.value().is_some() || listed.or(traced).is_some();
    let roster = build_roster::roster(fleet, count, keys, ids, diagnostics);
    // What an enrollment of one device calls it at the hub is its own affair, and so are the rows of a list.
    let longest = match (&roster, keys) {
        (Roster::Pattern(pattern), Some(Keys::Group { .. })) => {
            pattern.render(count.saturating_sub(1), "00000000").len()
        }
        _ => MAX_ID_LENGTH,
    };
    let longest = Longest { device_id: longest, registration_id: longest, population: &fleet.name };
    Population {
        name: fleet.name.clone(),
        count,
        roster,
        enrollment: enrollment.unwrap_or(0),
        sign_with: sign_with(fleet, keys, diagnostics),
        arrival,
        provision,
        connect,
        deadlines: Deadlines {
            register: fleet.register_deadline.or(deadlines.register),
            connect: fleet.connect_deadline.or(deadlines.connect),
            send: fleet.send_deadline.or(deadlines.send),
        },
        chores: build_chores::chores(fleet, connect, target, diagnostics),
        behave: behave(fleet, [provision, connect], diagnostics),
        token: token_life(fleet, diagnostics),
        skew: fleet.skew.or(Skew::None),
        keep_alive: keep_alive(fleet, [provision, connect], diagnostics),
        keep_connection: keep_connection(fleet, connect, diagnostics),
        telemetry: fleet.telemetry.as_ref().map(|telemetry| {
            let context = build_telemetry::Context { fleet, connect, count, known_count, written, longest };
            build_telemetry::telemetry(telemetry, &context, files, diagnostics)
        }),
    }
}

/// Which key the devices sign with; the secondary one has to be there.
fn sign_with(fleet: &Fleet, keys: Option<&Keys>, diagnostics: &mut Diagnostics) -> SignWith {
    let has_secondary = match keys {
        Some(Keys::Group { secondary, .. } | Keys::Individual { secondary, .. }) => secondary.is_some(),
        Some(Keys::List(list)) => list.has_secondary_keys(),
        None => true,
    };
    if let Some(Spanned { value: SignWith::Secondary, origin }) = fleet.sign_with.spanned()
        && !has_secondary
    {
        diagnostics.push(
            Diagnostic::error(*origin, "the enrollment has no secondary key to sign with").help(
                "add secondary_key to the enrollment (a column of its list), or sign with the primary key",
            ),
        );
    }
    fleet.sign_with.or(SignWith::Primary)
}

/// The shape of the fleet's starts; `None` if it is not said, or broken.
fn start(fleet: &Fleet, paths: &Paths<'_>, diagnostics: &mut Diagnostics) -> Option<Arrival> {
    let Spanned { value, origin } = fleet.start.spanned()?;
    match value {
        Start::Shape(arrival) => Some(arrival.clone()),
        Start::Trace(path) => match paths.trace(paths.resolve(&path.value, *origin)) {
            Ok(trace) => Some(Arrival::Trace(trace)),
            Err(refusal) => {
                diagnostics.push(refused(*origin, refusal));
                None
            }
        },
    }
}

/// How the fleet talks to its hub; `None` if it only registers.
fn connect(fleet: &Fleet, target: TargetKind, diagnostics: &mut Diagnostics) -> Option<Protocol> {
    let Some(none) = fleet.connect.spanned().filter(|connect| connect.value.is_none()) else {
        return fleet.connect.or(Some(Protocol::default()));
    };
    if target == TargetKind::Hub {
        diagnostics.push(
            Diagnostic::error(none.origin, "devices of a target of kind \"hub\" do nothing but connect")
                .help("remove `connect`, or choose another kind of target"),
        );
    }
    if let Some(telemetry) = &fleet.telemetry {
        diagnostics.push(
            Diagnostic::error(telemetry.origin, "devices that do not connect cannot send")
                .help("remove this table, or `connect = \"none\"`"),
        );
    }
    None
}

/// Which protocols the fleets speak to what they contact first, each with a fleet that does; those that are broken are left
/// out.
pub(super) fn spoken_first(fleets: &[Fleet], target: TargetKind) -> Vec<(Protocol, &str)> {
    let mut spoken: Vec<(Protocol, &str)> = Vec::new();
    for fleet in fleets {
        let given = match target {
            // A fleet that does not connect is complained of elsewhere.
            TargetKind::Hub => fleet.connect.clone().map(Option::unwrap_or_default),
            TargetKind::Azure | TargetKind::Emulator => fleet.provision.clone(),
        };
        let protocol = given.or(Protocol::default());
        if !matches!(given, Given::Broken) && !spoken.iter().any(|(known, _)| *known == protocol) {
            spoken.push((protocol, &fleet.name));
        }
    }
    spoken
}

/// How soon a device tells that it is there.
///
/// * `spoken`: at DPS and at the hub
fn keep_alive(fleet: &Fleet, spoken: [Option<Protocol>; 2], diagnostics: &mut Diagnostics) -> Duration {
    if let Some(keep_alive) = fleet.keep_alive.spanned()
        && !spoken.into_iter().flatten().any(Protocol::is_mqtt)
        && !matches!((&fleet.provision, &fleet.connect), (Given::Broken, _) | (_, Given::Broken))
    {
        diagnostics.push(
            Diagnostic::error(
                keep_alive.origin,
                "`keep_alive` is for mqtt: over https nothing is said between requests",
            )
            .help("remove it, or use mqtt"),
        );
    }
    let keep_alive = fleet.keep_alive.clone().check(diagnostics, |keep_alive| {
        if keep_alive.is_zero() || (keep_alive >= LEAST_KEEP_ALIVE && keep_alive.subsec_nanos() == 0) {
            return Ok(keep_alive);
        }
        Err(Refusal::new(
            format!("a keep-alive of {} is not possible", spell_duration(keep_alive)),
            format!(
                "use whole seconds from \"{}\" on, or \"0s\" for never",
                spell_duration(LEAST_KEEP_ALIVE)
            ),
        ))
    });
    keep_alive.or(fleet.behave.or(Behave::default()).habits().keep_alive)
}

/// Whose habits the devices have.
///
/// * `spoken`: at DPS and at the hub
fn behave(fleet: &Fleet, spoken: [Option<Protocol>; 2], diagnostics: &mut Diagnostics) -> Behave {
    let behave = fleet.behave.or(Behave::default());
    if let Some(given) = fleet.behave.spanned()
        && behave == Behave::Python
        && spoken.contains(&Some(Protocol::Https))
        && !matches!((&fleet.provision, &fleet.connect), (Given::Broken, _) | (_, Given::Broken))
    {
        diagnostics.push(
            Diagnostic::error(given.origin, "Python's SDK does not register or send over https")
                .help("use mqtt or mqtt-ws, or let the devices behave like another SDK"),
        );
    }
    behave
}

/// How long the devices' tokens live.
fn token_life(fleet: &Fleet, diagnostics: &mut Diagnostics) -> TokenLife {
    let habits = fleet.behave.or(Behave::default()).habits();
    let usual = habits.token_life(fleet.token_lifetime.value().copied());
    let life = TokenLife {
        renew_before: fleet.renew_before.or(usual.renew_before),
        jitter: fleet.renew_jitter.or(Duration::ZERO),
        ..usual
    };
    let given = [&fleet.renew_before, &fleet.renew_jitter, &fleet.token_lifetime];
    let is_broken = given.iter().any(|given| matches!(given, Given::Broken));
    let origin = given.iter().find_map(|given| given.spanned()).map(|given| given.origin);
    if let Some(origin) = origin.filter(|_| !is_broken)
        && life.renew_before.saturating_add(life.jitter) > life.lifetime / 2
    {
        diagnostics.push(
            Diagnostic::error(
                origin,
                format!(
                    "a token that lives for {} would be replaced up to {} before its expiry, again and again",
                    spell_duration(life.lifetime),
                    spell_duration(life.renew_before.saturating_add(life.jitter))
                ),
            )
            .help("`renew_before` and `jitter` together may be half of `lifetime` at most"),
        );
    }
    life
}

/// When a device lets go of its hub connection between two messages.
fn keep_connection(fleet: &Fleet, connect: Option<Protocol>, diagnostics: &mut Diagnostics) -> Duration {
    let complaint = match (&fleet.connect, connect) {
        (Given::Broken, _) | (_, Some(Protocol::Https)) => {
            return fleet.keep_connection.or(DEFAULT_KEEP_CONNECTION);
        }
        (_, Some(Protocol::Mqtt | Protocol::MqttWs)) => {
            "`keep_connection` is for https: with mqtt devices stay connected"
        }
        (_, None) => "`keep_connection` has no meaning for devices that do not connect",
    };
    if let Some(keep_connection) = fleet.keep_connection.spanned() {
        diagnostics.push(
            Diagnostic::error(keep_connection.origin, complaint)
                .help("remove it, or write connect = \"https\""),
        );
    }
    Duration::MAX
}

/// Index of the fleet's enrollment; `None` with a complaint if there is none.
fn enrollment(fleet: &Fleet, enrollments: &[Enrollment], diagnostics: &mut Diagnostics) -> Option<usize> {
    let names: Vec<&str> = enrollments.iter().map(|enrollment| enrollment.name.as_str()).collect();
    match &fleet.enrollment {
        Given::Broken => None,
        Given::Value(name) => {
            let found = names.iter().position(|known| *known == name.value.value);
            if found.is_none() {
                let refusal = unknown_name("enrollment", name.value.shown(), &names);
                diagnostics.push(refused(name.origin, refusal));
            }
            found
        }
        Given::Absent if enrollments.len() == 1 => Some(0),
        Given::Absent => {
            diagnostics.push(
                Diagnostic::error(
                    fleet.origin,
                    format!("`[fleet.{}]` does not say which enrollment it uses", fleet.name),
                )
                .help(format!(
                    "add enrollment = \"{}\", or another of the {} enrollments",
                    names.first().unwrap_or(&"plant"),
                    names.len()
                )),
            );
            None
        }
    }
}

/// What besides `count` says how many devices there are.
struct Says {
    /// An individual enrollment, or a list of devices.
    listed: Option<u64>,
    /// A list of starts.
    traced: Option<u64>,
    /// The enrollment is for one device.
    individual: bool,
}

fn count(fleet: &Fleet, has_enrollment: bool, says: &Says, diagnostics: &mut Diagnostics) -> u64 {
    let mut limit = |count: u64, origin: Origin| {
        let (most, message, help) = match (says.listed, says.traced) {
            (Some(1), _) if says.individual => (
                1,
                "an individual enrollment is for one device".to_owned(),
                "remove `count`, or use an enrollment group",
            ),
            (Some(rows), _) if count > rows => (
                rows,
                format!("the list has {} devices", show_count(rows)),
                "lower `count`, or remove it to take them all",
            ),
            (_, Some(starts)) => (
                starts,
                format!("the list of starts has {} instants", show_count(starts)),
                "lower `count`, or add instants",
            ),
            _ => return count,
        };
        if count > most {
            diagnostics.push(Diagnostic::error(origin, message).help(help));
        }
        count.min(most)
    };
    match (&fleet.count, says.listed.or(says.traced)) {
        (Given::Value(count), _) => limit(count.value, count.origin),
        (Given::Absent, Some(count)) => {
            limit(count, fleet.start.spanned().map_or(fleet.origin, |start| start.origin))
        }
        (Given::Absent, None)
            if has_enrollment
                && fleet.ids.is_absent()
                && !matches!(fleet.start.value(), Some(Start::Trace(_))) =>
        {
            diagnostics.push(
                Diagnostic::error(fleet.origin, format!("`[fleet.{}]` lacks `count`", fleet.name))
                    .help("add for example count = 500: how many devices there are"),
            );
            1
        }
        _ => 1,
    }
}

fn arrival(
    fleet: &Fleet,
    start: Option<Arrival>,
    count: u64,
    says: &Says,
    diagnostics: &mut Diagnostics,
) -> Arrival {
    let at_once = Arrival::Burst { at: Duration::ZERO };
    // A broken count is no reason to ask for a start as well.
    let single = count == 1 && (says.listed.is_some() || fleet.count.value() == Some(&1));
    let known = fleet.count.value().is_some() || says.listed.is_some();
    if fleet.start.is_absent() && !single && known {
        diagnostics.push(
            Diagnostic::error(
                fleet.origin,
                format!("`[fleet.{}]` does not say when its devices start", fleet.name),
            )
            .help("add for example start.rate = \"100/s\", or start.burst = { at = \"0s\" } for all at once"),
        );
    }
    start.unwrap_or(at_once)
}

/// Warns of devices that never start.
fn starts_before_the_end(
    fleet: &Fleet,
    starts: Starts<'_>,
    written: &Scenario,
    diagnostics: &mut Diagnostics,
) {
    let (Some(start), Some(duration)) = (fleet.start.spanned(), written.duration.value()) else { return };
    let before_the_end = duration.checked_sub(Duration::from_nanos(1)).unwrap_or_default();
    let too_late = starts.count - starts.started_by(before_the_end);
    if too_late == 0 {
        return;
    }
    diagnostics.push(
        Diagnostic::warning(
            start.origin,
            format!(
                "{} of {} devices never start: the run ends at {}",
                show_count(too_late),
                show_count(starts.count),
                spell_duration(*duration)
            ),
        )
        .help("start them faster, or raise `duration`"),
    );
}
