//! Who the devices of a fleet are, and that no two of them are the same.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::document::diagnostics::quote;
use crate::document::values::Refusal;
use crate::document::{Diagnostic, Diagnostics, Given, Origin, Spanned};
use crate::list::{DeviceList, ListError, id_hash};
use crate::plan::{IdPattern, Keys, Population, Roster};
use crate::scenario::build::{Paths, refused};
use crate::scenario::fleet::Fleet;
use crate::text::Untrusted;

/// How many devices an enrollment or a list has, if either says it.
pub(super) fn listed(keys: Option<&Keys>, ids: Option<&DeviceList>) -> Option<u64> {
    match (keys, ids) {
        (Some(Keys::Individual { .. }), _) => Some(1),
        (Some(Keys::List(list)), _) | (Some(Keys::Group { .. }) | None, Some(list)) => Some(list.len()),
        (Some(Keys::Group { .. }) | None, None) => None,
    }
}

/// The list that `ids` names.
pub(super) fn ids(fleet: &Fleet, paths: &Paths<'_>, diagnostics: &mut Diagnostics) -> Option<DeviceList> {
    let ids = fleet.ids.spanned()?;
    read(&Spanned { value: ids.value.value.clone(), origin: ids.origin }, paths, diagnostics)
}

/// Reads a list of devices; its mistakes become complaints at the place that names it.
pub(super) fn read(
    path: &Spanned<String>,
    paths: &Paths<'_>,
    diagnostics: &mut Diagnostics,
) -> Option<DeviceList> {
    match paths.list(paths.resolve(&path.value, path.origin)) {
        Ok(list) => Some(list),
        Err(refusals) => {
            for refusal in refusals {
                diagnostics.push(refused(path.origin, refusal));
            }
            None
        }
    }
}

/// Checks the list of devices in the file at `path`.
pub(super) fn check(path: &Path) -> Result<DeviceList, Vec<Refusal>> {
    DeviceList::check(path).map_err(|errors| errors.iter().map(refusal).collect())
}

fn refusal(error: &ListError) -> Refusal {
    // Paths and texts in it come from files.
    let text = Untrusted::new(&error.to_string()).terminal();
    match text.rsplit_once("; ") {
        Some((reason, remedy)) => Refusal::new(reason, remedy),
        None => Refusal::new(text, "check the path and the permissions of the file"),
    }
}

/// Who the devices of `fleet` are.
pub(super) fn roster(
    fleet: &Fleet,
    count: u64,
    keys: Option<&Keys>,
    ids: Option<DeviceList>,
    diagnostics: &mut Diagnostics,
) -> Roster {
    let told_by_enrollment = match keys {
        Some(Keys::Individual { registration_id, .. }) => {
            let pattern = IdPattern::parse(registration_id, 1).unwrap_or_else(|_| IdPattern::empty());
            Some((
                Roster::Pattern(pattern),
                "the id of this fleet's device is the enrollment's registration id",
            ))
        }
        Some(Keys::List(list)) => {
            Some((Roster::List(list.clone()), "the devices of this fleet are those of the enrollment's list"))
        }
        _ => None,
    };
    if let Some((roster, reason)) = told_by_enrollment {
        for (name, given) in [("id", &fleet.id), ("ids", &fleet.ids)] {
            if let Some(id) = given.spanned() {
                diagnostics.push(Diagnostic::error(id.origin, reason).help(format!("remove `{name}`")));
            }
        }
        return roster;
    }
    match ids {
        Some(list) => Roster::List(list),
        // With a list that cannot be read, the ids are anybody's guess.
        None if !fleet.ids.is_absent() => Roster::Pattern(IdPattern::empty()),
        None => Roster::Pattern(pattern(fleet, count, diagnostics)),
    }
}

fn pattern(fleet: &Fleet, count: u64, diagnostics: &mut Diagnostics) -> IdPattern {
    let default = format!("{}-{{n:05}}", fleet.name);
    let (pattern, from_environment) = match &fleet.id {
        Given::Value(id) => (id.value.value.as_str(), id.value.written.as_deref()),
        _ => (default.as_str(), None),
    };
    match IdPattern::parse(pattern, count) {
        Ok(pattern) => pattern,
        Err(error) => {
            let message = match from_environment {
                Some(written) => {
                    format!("{} is not a pattern of ids once the environment is filled in", quote(written))
                }
                None => error.to_string(),
            };
            let refusal = match message.split_once("; ") {
                Some((reason, remedy)) => Refusal::new(reason, remedy),
                None => Refusal::new(message, format!("for example id = \"{default}\"")),
            };
            // A name that no id can be made of was complained about already, and stands in no `id`.
            if fleet.id.value().is_some() {
                diagnostics.push(refused(origin(fleet), refusal));
            } else if !diagnostics.has_errors() {
                diagnostics.push(refused(fleet.origin, refusal));
            }
            IdPattern::empty()
        }
    }
}

/// Where a fleet says who its devices are.
fn origin(fleet: &Fleet) -> Origin {
    let named = fleet.id.spanned().or(fleet.ids.spanned());
    named.map_or(fleet.origin, |named| named.origin)
}

/// Says which two fleets share a registration id, which the service compares without case.
pub(super) fn distinct(fleets: &[Fleet], populations: &[Population], diagnostics: &mut Diagnostics) {
    let mut shared = shared_by_patterns(populations);
    shared.extend(shared_by_lists(populations));
    for Shared { one, two, id } in shared.into_iter().take(MAX_TOLD) {
        let (earlier, later) = (one.min(two), one.max(two));
        diagnostics.push(
            Diagnostic::error(
                origin(&fleets[later]),
                format!("devices of two fleets would have the same registration id, {}", quote(&id)),
            )
            .related(fleets[earlier].origin, "the other fleet")
            .help("give each fleet ids of its own: another `id`, an offset as in {n+5000:05}, or another enrollment"),
        );
    }
}

/// How many pairs of fleets are told.
const MAX_TOLD: usize = 10;

/// Two populations, by their index, and an id that both have.
struct Shared {
    one: usize,
    two: usize,
    id: String,
}

fn shared_by_patterns(populations: &[Population]) -> Vec<Shared> {
    let numbered: Vec<(usize, &IdPattern, u64)> = populations
        .iter()
        .enumerate()
        .filter_map(|(index, population)| match &population.roster {
            Roster::Pattern(pattern) => Some((index, pattern, population.count)),
            Roster::List(_) => None,
        })
        .collect();
    let mut shared = Vec::new();
    for (at, &(two, second, seconds)) in numbered.iter().enumerate() {
        let found = numbered[..at].iter().find_map(|&(one, first, firsts)| {
            // Only a fleet of one may have an id without a number.
            let fixed = |of: &IdPattern, count: u64, other: &IdPattern, others: u64| {
                let id = (count == 1).then(|| of.render(0, ""))?;
                other.device_of(&id).filter(|n| *n < others).map(|_| id)
            };
            let id = first
                .shared_id(firsts, second, seconds)
                .or_else(|| fixed(first, firsts, second, seconds))
                .or_else(|| fixed(second, seconds, first, firsts))?;
            // Stands in for a pattern that was refused.
            (!id.is_empty()).then_some(Shared { one, two, id })
        });
        shared.extend(found);
    }
    shared
}

/// Reads each list once more, to hold it against the others: with several lists, 8 bytes are held for each row while that
/// lasts.
fn shared_by_lists(populations: &[Population]) -> Vec<Shared> {
    let (mut lists, mut patterns) = (Vec::<(usize, &DeviceList)>::new(), Vec::new());
    let mut shared: Vec<Shared> = Vec::new();
    for (index, population) in populations.iter().enumerate() {
        match &population.roster {
            Roster::Pattern(pattern) => patterns.push((index, pattern, population.count)),
            // Two fleets of one file need no further look.
            Roster::List(list) => match lists.iter().find(|(_, known)| known.path() == list.path()) {
                Some((one, _)) => {
                    shared.extend(first_id(list).map(|id| Shared { one: *one, two: index, id }))
                }
                None => lists.push((index, list)),
            },
        }
        if shared.len() >= MAX_TOLD {
            return shared;
        }
    }
    let twice = hashes_in_several(&lists);
    if patterns.is_empty() && twice.is_empty() {
        return shared;
    }
    let mut known: HashMap<String, usize> = HashMap::new();
    for &(one, list) in &lists {
        let mut found: Option<Shared> = None;
        // A list that cannot be read any more is told when the run reads it.
        let _ = list.for_each_id(|id| {
            // Noted even when this list's complaint is settled, for the lists after it.
            let is_twice = !twice.is_empty() && twice.contains(&id_hash(id));
            let listed = if is_twice { known.insert(id.to_ascii_lowercase(), one) } else { None };
            if found.is_some() {
                return;
            }
            let numbered = patterns
                .iter()
                .find(|(_, pattern, count)| pattern.device_of(id).is_some_and(|n| n < *count))
                .map(|(two, ..)| *two);
            if let Some(two) = numbered.or(listed.filter(|two| *two != one)) {
                found = Some(Shared { one, two, id: id.to_owned() });
            }
        });
        shared.extend(found);
        if shared.len() >= MAX_TOLD {
            break;
        }
    }
    shared
}

/// The hashes of ids that are in several lists, as far as [`MAX_TWICE`]. No list has an id twice.
fn hashes_in_several(lists: &[(usize, &DeviceList)]) -> HashSet<u64> {
    if lists.len() < 2 {
        return HashSet::new();
    }
    let rows = lists.iter().map(|(_, list)| list.len()).sum::<u64>();
    let mut hashes = Vec::with_capacity(usize::try_from(rows).unwrap_or(0));
    for (_, list) in lists {
        let _ = list.for_each_id(|id| hashes.push(id_hash(id)));
    }
    hashes.sort_unstable();
    hashes.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).take(MAX_TWICE).collect()
}

/// How many ids that are in several lists are looked for: more than are told, for one pair of lists may have them all.
const MAX_TWICE: usize = 1_000;

/// The id in the first row; `None` for a list that cannot be read any more, which is told when the run reads it.
fn first_id(list: &DeviceList) -> Option<String> {
    list.rows().ok()?.next()?.ok().map(|row| row.registration_id)
}
